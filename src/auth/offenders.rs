//! Who has tried wrong keys of late, and how long the next refusal waits.
//!
//! Only refusals wait: a right key is never slowed by its neighbours' wrong ones. Keys of full chance need no such
//! help; it spares the broker a client that tries again and again, and the log its lines.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::model::{Instant, Limits};

/// Addresses with their wrong keys. Lives on one core.
#[derive(Debug, Default)]
pub struct Offenders {
    by_address: BTreeMap<IpAddr, Offender>,
}

#[derive(Debug)]
struct Offender {
    failures: u32,
    last: Instant,
}

/// One more wrong key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offence {
    /// How many there were from that address; zero if nobody could count.
    pub failures: u32,
    /// How long the refusal waits.
    pub delay: Duration,
}

impl Offenders {
    /// A wrong key came from `peer`.
    pub fn note(&mut self, peer: IpAddr, now: Instant) -> Offence {
        let address = network(peer);
        if !self.by_address.contains_key(&address) && self.by_address.len() >= Limits::OFFENDERS_MAX {
            return Offence { failures: 0, delay: Limits::DENIAL_MAX };
        }
        let offender = self.by_address.entry(address).or_insert(Offender { failures: 0, last: now });
        offender.failures = offender.failures.saturating_add(1);
        offender.last = now;
        Offence { failures: offender.failures, delay: delay(offender.failures) }
    }

    /// Forgets those who have tried none for long enough.
    pub fn forget(&mut self, now: Instant) {
        self.by_address.retain(|_, offender| now.since(offender.last) < Limits::OFFENCE);
    }
}

fn delay(failures: u32) -> Duration {
    let doublings = (failures - 1).min(16);
    (Limits::DENIAL * (1 << doublings)).min(Limits::DENIAL_MAX)
}

/// Who has one address of version 6 has 2^64 of them.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_delay_grows_by_address_to_its_bound_and_is_forgiven() {
        let (mut offenders, mut now) = (Offenders::default(), Instant(0));
        let one = address("192.0.2.1");
        let delays: Vec<Duration> = (0..9).map(|_| offenders.note(one, now).delay).collect();
        assert_eq!(delays[..3], [Limits::DENIAL, Limits::DENIAL * 2, Limits::DENIAL * 4]);
        assert_eq!(delays[8], Limits::DENIAL_MAX);
        assert_eq!(offenders.note(address("192.0.2.2"), now), Offence { failures: 1, delay: Limits::DENIAL });
        now = now + Limits::OFFENCE;
        offenders.forget(now);
        assert_eq!(offenders.note(one, now).failures, 1);
        for _ in 0..100 {
            offenders.note(one, now);
        }
        assert_eq!(offenders.note(one, now).delay, Limits::DENIAL_MAX);
    }

    #[test]
    fn a_network_of_version_6_is_one_and_a_mapped_address_is_what_it_maps() {
        let (mut offenders, now) = (Offenders::default(), Instant(0));
        offenders.note(address("2001:db8::1"), now);
        assert_eq!(offenders.note(address("2001:db8::ffff:2"), now).failures, 2);
        assert_eq!(offenders.note(address("2001:db8:0:1::1"), now).failures, 1);
        offenders.note(address("192.0.2.1"), now);
        assert_eq!(offenders.note(address("::ffff:192.0.2.1"), now).failures, 2);
    }

    #[test]
    fn beyond_the_bound_nobody_is_remembered_and_everybody_waits_longest() {
        let (mut offenders, now) = (Offenders::default(), Instant(0));
        for nth in 0..Limits::OFFENDERS_MAX as u32 {
            offenders.note(IpAddr::V4(nth.into()), now);
        }
        assert_eq!(offenders.note(address("192.0.2.1"), now), Offence { failures: 0, delay: Limits::DENIAL_MAX });
        assert_eq!(offenders.note(address("0.0.0.1"), now).failures, 2);
        assert_eq!(offenders.by_address.len(), Limits::OFFENDERS_MAX);
    }
}
