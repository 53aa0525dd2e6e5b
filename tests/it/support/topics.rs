//! Topics that live where a story wants them.

use blipmq::model::{ShardId, TopicName, placement};

/// A topic, whose name begins with `prefix`, that shard `shard` of `shards` owns when there are as many logs.
pub fn topic_on(shard: u16, shards: u16, prefix: &str) -> String {
    let owner = |name: &str| {
        let topic = TopicName::parse(name.as_bytes()).expect("a plain name");
        placement::shard_of(placement::log_of(&topic, 0, shards), shards)
    };
    let names = (0..1000).map(|nth| format!("{prefix}{nth}"));
    names.into_iter().find(|name| owner(name) == ShardId(shard)).expect("topics spread over the shards")
}
