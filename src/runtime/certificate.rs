//! Until when a certificate is good: the one thing in it that the broker itself wants to know.

/// DER tags on the way there.
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Seconds since 1970 at which a certificate (RFC 5280, DER) ends; `None` if that cannot be read.
pub fn not_after(der: &[u8]) -> Option<u64> {
    let (certificate, _) = expect(der, SEQUENCE)?;
    let (to_be_signed, _) = expect(certificate, SEQUENCE)?;
    let rest = match element(to_be_signed)? {
        (VERSION, _, rest) => rest,
        _ => to_be_signed,
    };
    // Serial number, signature algorithm, issuer; then the validity.
    let (_, _, rest) = element(rest)?;
    let (_, _, rest) = element(rest)?;
    let (_, _, rest) = element(rest)?;
    let (validity, _) = expect(rest, SEQUENCE)?;
    let (_, _, after) = element(validity)?;
    match element(after)? {
        (UTC_TIME, text, _) => {
            let year = number(text, 0, 2)?;
            seconds(if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
        }
        (GENERALIZED_TIME, text, _) => seconds(number(text, 0, 4)?, text.get(4..)?),
        _ => None,
    }
}

fn expect(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    element(der).filter(|(its, ..)| *its == tag).map(|(_, content, rest)| (content, rest))
}

/// Tag, content, and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

/// `MMDDHHMMSSZ` of a year.
fn seconds(year: u64, text: &[u8]) -> Option<u64> {
    let (month, day) = (number(text, 0, 2)?, number(text, 2, 2)?);
    let (hour, minute, second) = (number(text, 4, 2)?, number(text, 6, 2)?, number(text, 8, 2)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) || text.get(10..) != Some(b"Z") {
        return None;
    }
    Some(((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

fn number(text: &[u8], from: usize, count: usize) -> Option<u64> {
    let digits = text.get(from..from + count)?;
    digits.iter().all(u8::is_ascii_digit).then(|| digits.iter().fold(0, |n, digit| n * 10 + u64::from(digit - b'0')))
}

/// Days since 1970-01-01 in the Gregorian calendar, counting years from March so that the leap day comes last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn until(year: i32, month: u8, day: u8) -> Vec<u8> {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, month, day);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_of_a_certificate_is_what_date_says() {
        // date -u -d 2030-01-02 +%s, and so on; from 2050 on the time is spelt otherwise.
        for ((year, month, day), wanted) in
            [((2030, 1, 2), 1_893_542_400), ((2028, 2, 29), 1_835_395_200), ((2060, 1, 1), 2_840_140_800)]
        {
            assert_eq!(not_after(&until(year, month, day)), Some(wanted));
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_end_and_does_no_harm() {
        let der = until(2030, 1, 2);
        for cut in 0..der.len() {
            let _ = not_after(&der[..cut]);
        }
        for at in 0..der.len().min(200) {
            let mut other = der.clone();
            other[at] ^= 0xff;
            let _ = not_after(&other);
        }
        assert_eq!(not_after(b""), None);
        assert_eq!(not_after(&der[1..]), None);
    }
}
