//! Which log, and so which shard, a topic's partition lives on: a pure function, the same after every restart.

use super::{LogId, ShardId, TopicName};

/// FNV-1a (64 bit) over the topic's bytes, a zero byte, and the partition number as four little-endian bytes; then
/// the 64-bit finaliser of MurmurHash3, because FNV alone is weak in its upper bits; then scaled to `0..logs` by
/// multiplication. Recorded as placement 1 in the data directory's version file: another function needs another
/// number and a migration.
pub fn log_of(topic: &TopicName, partition: u32, logs: u16) -> LogId {
    let mut hash = fnv(0xcbf2_9ce4_8422_2325, topic.as_bytes());
    hash = fnv(hash, &[0]);
    hash = fnv(hash, &partition.to_le_bytes());
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^= hash >> 33;
    LogId((((hash >> 32) * u64::from(logs)) >> 32) as u16)
}

/// The shard that runs a log when there are `shards` of them.
pub fn shard_of(log: LogId, shards: u16) -> ShardId {
    ShardId(log.0 % shards)
}

/// The version of this page's functions, as the data directory records it.
pub const PLACEMENT_VERSION: u32 = 1;

fn fnv(mut hash: u64, bytes: &[u8]) -> u64 {
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> TopicName {
        TopicName::parse(name.as_bytes()).unwrap()
    }

    #[test]
    fn placement_never_changes() {
        let placed: Vec<u16> =
            ["demo", "a", "b", "orders.eu", "orders.us"].iter().map(|name| log_of(&topic(name), 0, 8).0).collect();
        assert_eq!(placed, PLACED, "existing data directories depend on this");
    }

    const PLACED: [u16; 5] = [7, 5, 4, 4, 1];

    #[test]
    fn topics_spread_evenly_over_the_logs() {
        let mut count = [0; 7];
        for n in 0..7000 {
            count[log_of(&topic(&format!("topic-{n}")), 0, 7).index()] += 1;
        }
        assert!(count.iter().all(|n| (850..1150).contains(n)), "{count:?}");
    }

    #[test]
    fn every_log_has_one_shard_whatever_their_number() {
        for shards in 1..5 {
            for log in 0..9 {
                assert!(shard_of(LogId(log), shards).0 < shards);
            }
        }
    }
}
