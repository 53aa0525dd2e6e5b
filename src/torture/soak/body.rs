//! Bodies that know whose they are: a wrong byte anywhere is noticed.

use fastrand::Rng;

/// Life, size, number.
pub const BODY_MIN: usize = 16;
/// The largest that is drawn.
pub const BODY_MAX: usize = 1 << 20;
/// Where the filling of a body may begin within the pattern.
const SHIFTS: usize = 4093;
/// Most bodies are no larger.
const USUAL_MAX: usize = 4096;
/// One in so many may be of any size.
const LARGE: u32 = 32;

/// Makes bodies, and checks them.
#[derive(Debug)]
pub struct Bodies {
    pattern: Vec<u8>,
}

impl Bodies {
    /// Bodies of a seed; another seed's are wrong.
    pub fn new(seed: u64) -> Bodies {
        let mut dice = Rng::with_seed(seed);
        Bodies { pattern: (0..BODY_MAX + SHIFTS).map(|_| dice.u8(..)).collect() }
    }

    /// The body of message `number` of a life.
    pub fn make(&self, life: u32, number: u64, size: usize) -> Vec<u8> {
        assert!((BODY_MIN..=BODY_MAX).contains(&size), "{size} bytes are no body");
        let mut body = Vec::with_capacity(size);
        body.extend(life.to_be_bytes());
        body.extend((size as u32).to_be_bytes());
        body.extend(number.to_be_bytes());
        body.extend(self.filling(life, number, size));
        body
    }

    /// The number of a message of this life; `None` if any of its bytes is not as it was made.
    pub fn number(&self, life: u32, body: &[u8]) -> Option<u64> {
        let (head, filling) = body.split_at_checked(BODY_MIN)?;
        let number = u64::from_be_bytes(head[8..].try_into().ok()?);
        let said = head[..4] == life.to_be_bytes() && head[4..8] == (body.len() as u32).to_be_bytes();
        (said && body.len() <= BODY_MAX && filling == self.filling(life, number, body.len())).then_some(number)
    }

    fn filling(&self, life: u32, number: u64, size: usize) -> &[u8] {
        let from = (number.wrapping_mul(31) ^ u64::from(life)) as usize % SHIFTS;
        &self.pattern[from..from + size - BODY_MIN]
    }
}

/// A size, as many small as large ones in each power of two: mostly up to 4 KiB, now and then up to a whole mebibyte.
pub fn size(dice: &mut Rng) -> usize {
    let most = if dice.u32(..LARGE) == 0 { BODY_MAX } else { USUAL_MAX };
    // A little beyond both ends, so that the ends themselves are drawn.
    let share = dice.f64() * 1.04 - 0.02;
    let size = BODY_MIN as f64 * (most as f64 / BODY_MIN as f64).powf(share);
    (size as usize).clamp(BODY_MIN, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_differs_anywhere_is_not_one() {
        let bodies = Bodies::new(1);
        let body = bodies.make(3, 7, 100);
        assert_eq!(bodies.number(3, &body), Some(7));
        assert_eq!(bodies.number(4, &body), None, "of another life");
        for at in 0..body.len() {
            let mut wrong = body.clone();
            wrong[at] ^= 1;
            assert_eq!(bodies.number(3, &wrong), None, "byte {at}");
        }
        for cut in 0..body.len() {
            assert_eq!(bodies.number(3, &body[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn both_ends_of_the_sizes_are_drawn() {
        let mut dice = Rng::with_seed(1);
        let sizes: Vec<usize> = (0..20_000).map(|_| size(&mut dice)).collect();
        assert!(sizes.iter().all(|size| (BODY_MIN..=BODY_MAX).contains(size)));
        assert!(sizes.contains(&BODY_MIN) && sizes.contains(&BODY_MAX));
    }
}
