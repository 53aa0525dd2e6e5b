//! How hard the broker tries.

/// Quality of service of a message or a subscription; a delivery gets the lower of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum Qos {
    /// Never logged, never retried: a slow subscriber loses the oldest.
    #[default]
    AtMostOnce = 0,
    /// Logged, committed, delivered until acknowledged.
    AtLeastOnce = 1,
}

impl Qos {
    pub fn from_u8(byte: u8) -> Option<Qos> {
        match byte {
            0 => Some(Qos::AtMostOnce),
            1 => Some(Qos::AtLeastOnce),
            _ => None,
        }
    }
}
