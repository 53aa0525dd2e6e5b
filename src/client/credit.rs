//! What of a subscription's credit has been used, and when to give it back.

/// Returns credit in one piece when half of either kind is used: few frames, and the broker never runs dry.
#[derive(Clone, Copy, Debug, Default)]
pub struct CreditBook {
    messages_half: u32,
    bytes_half: u32,
    messages_used: u32,
    bytes_used: u32,
}

impl CreditBook {
    /// Zero in both grants nothing, now or later: the caller does it all.
    #[must_use]
    pub fn new(messages: u32, bytes: u32) -> CreditBook {
        CreditBook {
            messages_half: messages.div_ceil(2),
            bytes_half: bytes.div_ceil(2),
            messages_used: 0,
            bytes_used: 0,
        }
    }

    /// So much more is used; what to give back, if it is worth it.
    pub fn used(&mut self, messages: u32, bytes: u32) -> Option<(u32, u32)> {
        if self.messages_half == 0 && self.bytes_half == 0 {
            return None;
        }
        self.messages_used = self.messages_used.saturating_add(messages);
        self.bytes_used = self.bytes_used.saturating_add(bytes);
        if self.messages_used < self.messages_half && self.bytes_used < self.bytes_half {
            return None;
        }
        let used = (self.messages_used, self.bytes_used);
        (self.messages_used, self.bytes_used) = (0, 0);
        Some(used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_used_comes_back_and_more_than_half_is_never_held(
            granted in (1u32..1000, 1u32..100_000),
            uses in proptest::collection::vec((1u32..300, 1u32..30_000), 1..50),
        ) {
            let mut book = CreditBook::new(granted.0, granted.1);
            let (mut messages, mut bytes) = (0, 0);
            for (some, more) in uses {
                messages += some;
                bytes += more;
                if let Some((back, bytes_back)) = book.used(some, more) {
                    prop_assert_eq!((back, bytes_back), (messages, bytes));
                    (messages, bytes) = (0, 0);
                }
                prop_assert!(messages < granted.0.div_ceil(2) && bytes < granted.1.div_ceil(2));
            }
        }
    }

    #[test]
    fn where_nothing_was_granted_nothing_is_given_back() {
        assert_eq!(CreditBook::new(0, 0).used(1000, 1000), None);
    }
}
