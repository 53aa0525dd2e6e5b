//! Topics and queues of one shard.
