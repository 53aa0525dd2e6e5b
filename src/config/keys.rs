//! THE TABLE: every key, what it means and what it costs. Reading, help, `example.toml`, the manual's page and reload
//! follow it; a new key is one entry here and one field in `settings`.

use super::form::Form;
use super::key::{Key, optional, place};
use super::key_file::KeyDraft;
use super::resolve::TopicDraft;
use super::settings::Config;
use crate::model::Limits;

/// Keys that are explained together.
pub struct Section {
    pub title: &'static str,
    pub keys: &'static [Key<Config>],
}

/// The whole table, in the order in which it is explained.
pub static KEYS: &[Section] = &[
    Section { title: "Where it listens", keys: LISTENING },
    Section { title: "Who may", keys: WHO_MAY },
    Section { title: "The log", keys: LOG },
    Section { title: "Delivery", keys: DELIVERY },
    Section { title: "Cores and memory", keys: CORES },
    Section { title: "Bounds", keys: BOUNDS },
    Section { title: "Times", keys: TIMES },
    Section { title: "Watching", keys: WATCHING },
];

/// Every key of the table.
pub fn keys() -> impl Iterator<Item = &'static Key<Config>> {
    KEYS.iter().flat_map(|section| section.keys)
}

/// The keys that have a flag of their own on the command line.
pub fn flags() -> impl Iterator<Item = &'static Key<Config>> {
    keys().filter(|key| key.flag)
}

const LISTENING: &[Key<Config>] = &[
    Key::new(
        "bind_addr",
        Form::Address,
        place!(Config: bind_addr),
        "Address the broker listens on.",
        "Anything but loopback without tls_cert lets everybody on the way read keys and messages; a warning says so.",
    )
    .restart()
    .flag()
    .original(),
    Key::new("port", Form::PORT, place!(Config: port), "TCP port the broker listens on. 0: any free one.", "")
        .restart()
        .flag()
        .original(),
    Key::new(
        "metrics_addr",
        Form::Address,
        place!(Config: metrics_addr),
        "Address of metrics, health and admin.",
        "Off loopback, metrics and health are open to whoever reaches the port; admin always asks for a key there.",
    )
    .restart()
    .flag()
    .original(),
    Key::new(
        "metrics_port",
        Form::PORT,
        place!(Config: metrics_port),
        "TCP port of metrics, health and admin. 0: any free one.",
        "",
    )
    .restart()
    .flag()
    .original(),
    Key::new(
        "tls_cert",
        Form::Path,
        place!(Config: tls_cert),
        "PEM file with the certificate chain of the broker's port, which then speaks TLS and nothing else. Empty: no \
         TLS. Needs tls_key. Also taken from the systemd credential of this name. A reload reads the file again; \
         switching TLS on or off needs a restart.",
        "Encryption costs CPU for every byte, and a handshake for every connection.",
    ),
    Key::new(
        "tls_key",
        Form::Path,
        place!(Config: tls_key),
        "PEM file with the private key of tls_cert. Also taken from the systemd credential of this name.",
        "",
    ),
    Key::new(
        "tls_client_ca",
        Form::Path,
        place!(Config: tls_client_ca),
        "PEM file with the authorities that clients' certificates must come from. Empty: clients need none.",
        "A client still needs an API key: the certificate only lets it as far as asking.",
    ),
    Key::new(
        "tls_min_version",
        Form::Choice(&["1.2", "1.3"]),
        place!(Config: tls_min_version),
        "The oldest version of TLS that is spoken. Older ones than 1.2 are not there at all.",
        "",
    ),
];

const WHO_MAY: &[Key<Config>] = &[
    Key::new(
        "allowed_api_keys",
        Form::Secrets,
        place!(Config: allowed_api_keys),
        "API keys, each of which may do everything. With none here and none in api_keys_file, the broker makes a random \
         one and keeps it in <wal_path>/api-key (mode 0600).",
        "Keys in plain: give them by environment, or hashed in api_keys_file. No flag takes them: everybody on the \
         machine can read command lines.",
    )
    .original()
    .secret(),
    Key::new(
        "api_keys_file",
        Form::Path,
        place!(Config: api_keys_file),
        "TOML file of [[key]] tables: keys with names, in plain or hashed, each with the topics it may use. Also taken \
         from the systemd credential of this name.",
        "",
    )
    .flag(),
];

const LOG: &[Key<Config>] = &[
    Key::new(
        "wal",
        Form::OnOff,
        place!(Config: wal),
        "The write-ahead log of QoS 1 messages. \"off\" keeps them in memory only.",
        "Off: a crash, a restart or power loss takes every message.",
    )
    .restart()
    .flag(),
    Key::new(
        "wal_path",
        Form::Path,
        place!(Config: wal_path),
        "Data directory: the logs, the generated API key, the lock against a second process.",
        "Wants a filesystem with direct I/O (ext4, xfs) on a device of its own.",
    )
    .restart()
    .flag()
    .original(),
    Key::new(
        "fsync_policy",
        Form::Fsync,
        place!(Config: fsync_policy),
        "When acknowledged QoS 1 messages are safe from power loss. \"always\": before they are acknowledged. \
         \"every_n:N\": at most N acknowledged messages of each log are not yet. \"interval_ms:T\": synced every T ms. \
         \"none\": when the device likes. Killing the process loses nothing acknowledged under any of them.",
        "\"always\" adds one device sync to each acknowledgement's latency, shared by all that wait for the same group.",
    )
    .restart()
    .flag()
    .original(),
    Key::new(
        "recovery",
        Form::Choice(&["refuse", "truncate", "skip"]),
        place!(Config: recovery),
        "What to do at start with a damaged entry that has good ones after it. \"refuse\": do not start, and name it. \
         \"truncate\": cut the log there. \"skip\": leave it out.",
        "\"truncate\" loses everything after the damage, \"skip\" the damaged entries. A torn tail is always cut: \
         nothing in it was acknowledged as synced.",
    )
    .restart()
    .flag(),
    Key::new(
        "segment_bytes",
        Form::Bytes { min: 1 << 20, max: 1 << 36 },
        place!(Config: segment_bytes),
        "Size of a log's segment file; a multiple of 4096.",
        "Space is freed by whole segments; each log keeps one ready ahead of use. Small ones roll often.",
    )
    .restart(),
    Key::new(
        "retention_ms",
        Form::ANY_MILLIS,
        place!(Config: retention_ms),
        "Messages older than this go, acknowledged or not. 0: age takes none.",
        "Without age and bytes, a durable subscription that nobody reads keeps its messages until the disk is full.",
    ),
    Key::new(
        "retention_bytes",
        Form::ANY_BYTES,
        place!(Config: retention_bytes),
        "Bytes each core's log may hold; beyond, the oldest go, acknowledged or not. 0: no bound but the disk.",
        "",
    ),
    Key::new(
        "disk_low_water_bytes",
        Form::ANY_BYTES,
        place!(Config: disk_low_water_bytes),
        "With less free on the filesystem than this, QoS 1 publishes are refused (507) until there is more.",
        "Too little leaves no room for cursors and cleaning, which free space.",
    ),
];

const DELIVERY: &[Key<Config>] = &[
    Key::new(
        "max_retries",
        Form::Number { min: 0, max: 65_534 },
        place!(Config: max_retries),
        "Redeliveries of an unacknowledged QoS 1 message after the first delivery; then it is a dead letter.",
        "",
    )
    .original(),
    Key::new(
        "retry_backoff_ms",
        Form::Millis { min: 1, max: Form::MILLIS_MAX },
        place!(Config: retry.base),
        "Wait before the first redelivery; doubles with each, with a quarter of jitter.",
        "Shorter than a consumer's work makes duplicates.",
    )
    .original(),
    Key::new(
        "retry_backoff_cap_ms",
        Form::Millis { min: 1, max: Form::MILLIS_MAX },
        place!(Config: retry.cap),
        "Longest wait before a redelivery.",
        "",
    ),
    Key::new(
        "dead_letter_topic",
        Form::Template,
        place!(Config: topics.dead_letter),
        "Topic for messages that ran out of retries, where neither the subscription nor a [[topic]] names one; {topic} \
         stands for the message's own. Empty: they are dropped, counted.",
        "Dead letters take space until somebody reads them.",
    ),
    Key::new(
        "ttl_ms",
        Form::ANY_MILLIS,
        place!(Config: topics.ttl_ms),
        "Messages older than this are not delivered any more, where neither the message nor a [[topic]] says \
         otherwise. 0: they do not expire.",
        "",
    ),
    Key::new(
        "overflow",
        Form::Choice(&["block", "drop_oldest", "drop_new"]),
        place!(Config: overflow),
        "With wal = \"off\": what happens to a QoS 1 publish when max_memory_queue_bytes of its topic are unacknowledged. \
         \"block\": the publisher's socket is not read. \"drop_oldest\", \"drop_new\": as it says, counted.",
        "\"block\" lets one slow subscriber stop a publisher; the others lose messages.",
    )
    .restart(),
];

const CORES: &[Key<Config>] = &[
    Key::new(
        "cores",
        Form::Cores,
        place!(Config: cores),
        "Cores to run on, one shard each. 0: all that this process may use; a number: so many of them; a list such as \
         \"0,2\" or \"0-3\": these (\"2-2\" is core 2 alone).",
        "The number of logs is fixed when the data directory is made; another number of cores later is safe, but may \
         leave some with more logs than others.",
    )
    .restart()
    .flag(),
    Key::new(
        "memory_limit",
        Form::ANY_BYTES,
        place!(Config: memory_limit),
        "Bytes of messages the whole broker may hold, in equal parts for each core. 0: 512 MiB a core.",
        "At the bound the longest QoS 0 backlogs lose their oldest, QoS 1 publishers' sockets are not read, and new \
         connections are refused with 429; each is counted.",
    ),
    Key::new(
        "spin_ms",
        Form::Millis { min: 0, max: 1000 },
        place!(Config: spin),
        "How long an idle core looks for work before it sleeps.",
        "Lowers wake-up latency, and burns the core meanwhile; on a shared machine it lowers throughput.",
    )
    .restart(),
];

const BOUNDS: &[Key<Config>] = &[
    Key::new(
        "max_connections",
        Form::Number { min: 1, max: 1_000_000 },
        place!(Config: limits.connections_max),
        "Open connections. Beyond: refused with 429.",
        "Each needs a file descriptor: the start fails if the limit on open files is lower.",
    ),
    Key::new(
        "max_connections_per_address",
        Form::Number { min: 1, max: 1_000_000 },
        place!(Config: limits.connections_per_address_max),
        "Open connections from one address. Beyond: refused with 429.",
        "",
    ),
    Key::new(
        "max_frame_bytes",
        Form::Bytes { min: 4096, max: Limits::FRAME_MAX as u64 },
        place!(Config: limits.frame_max),
        "Bytes of one frame after its length field. Beyond: 413, and close.",
        "A connection in the middle of a frame holds that much.",
    )
    .restart(),
    Key::new(
        "max_topics",
        Form::Number { min: 1, max: 10_000_000 },
        place!(Config: limits.topics_max),
        "Topics on each core. Beyond: refused with 429.",
        "",
    ),
    Key::new(
        "max_subscriptions",
        Form::Number { min: 1, max: 10_000_000 },
        place!(Config: limits.subscriptions_max),
        "Subscriptions on each core. Beyond: refused with 429.",
        "",
    ),
    Key::new(
        "max_subscriptions_per_connection",
        Form::Number { min: 1, max: 1_000_000 },
        place!(Config: limits.subscriptions_per_connection_max),
        "Subscriptions of one connection. Beyond: refused with 429.",
        "",
    ),
    Key::new(
        "max_aliases",
        Form::Number { min: 1, max: 1 << 24 },
        place!(Config: limits.aliases_max),
        "Topic aliases of one connection. Beyond: refused with 429.",
        "",
    ),
    Key::new(
        "max_in_flight",
        Form::Number { min: 1, max: Limits::BATCH_RECORDS_MAX as u64 },
        place!(Config: limits.in_flight_max),
        "Messages of one subscription delivered and not acknowledged. Beyond: it waits.",
        "",
    ),
    Key::new(
        "max_outbox_bytes",
        Form::Bytes { min: 4096, max: 1 << 32 },
        place!(Config: limits.outbox_max),
        "Bytes waiting for one connection's socket. Beyond: it gets no deliveries until it drains; if its replies alone \
         exceed it, it is closed with 429.",
        "",
    ),
    Key::new(
        "max_qos0_backlog_bytes",
        Form::Bytes { min: 4096, max: 1 << 36 },
        place!(Config: limits.qos0_backlog_max),
        "Bytes of QoS 0 messages kept for one topic's slow subscribers. Beyond: the oldest go, counted.",
        "",
    ),
    Key::new(
        "max_tail_bytes",
        Form::Bytes { min: 1 << 16, max: 1 << 40 },
        place!(Config: limits.tail_max),
        "Bytes of committed QoS 1 messages each core keeps in memory. Beyond: the oldest are read from the log.",
        "Subscribers further behind cost reads from the device.",
    ),
    Key::new(
        "max_log_backlog_bytes",
        Form::Bytes { min: 1 << 16, max: 1 << 36 },
        place!(Config: limits.log_backlog_max),
        "Bytes appended to one log and not yet written. Beyond: publishers' sockets are not read.",
        "",
    ),
    Key::new(
        "max_index_bytes",
        Form::Bytes { min: 1 << 16, max: 1 << 40 },
        place!(Config: limits.index_max),
        "Bytes of one log's index, which says where the messages of each topic are. On the way there it gets coarser; \
         there QoS 1 publishes to its topics are refused.",
        "Messages of many topics in turn and of months take the most: 48 bytes for each batch, or for each MiB of the \
         log and topic in it.",
    ),
    Key::new(
        "max_mesh_bytes",
        Form::Bytes { min: 1 << 16, max: 1 << 32 },
        place!(Config: limits.mesh_max),
        "Bytes on their way from one core to one other. Beyond: the sockets that feed it are not read.",
        "",
    ),
    Key::new(
        "max_memory_queue_bytes",
        Form::Bytes { min: 4096, max: 1 << 40 },
        place!(Config: limits.memory_queue_max),
        "With wal = \"off\": bytes of unacknowledged QoS 1 messages of one topic. Beyond: see overflow.",
        "",
    ),
];

const TIMES: &[Key<Config>] = &[
    Key::new(
        "handshake_timeout_ms",
        Form::Millis { min: 1, max: Form::MILLIS_MAX },
        place!(Config: limits.handshake_timeout),
        "From connected to authenticated. Beyond: 401, and close. So long may also a large frame stall while others wait \
         for the memory; beyond: 429, and close.",
        "",
    ),
    Key::new(
        "idle_timeout_ms",
        Form::ANY_MILLIS,
        place!(Config: limits.idle_timeout),
        "Silence of a client before it is closed. 0: never.",
        "Clients that only listen must then send PING.",
    ),
    Key::new(
        "session_expiry_ms",
        Form::ANY_MILLIS,
        place!(Config: limits.session_expiry),
        "How long a version 1 session that ended without unsubscribing keeps its unacknowledged messages.",
        "",
    ),
    Key::new(
        "shutdown_timeout_ms",
        Form::ANY_MILLIS,
        place!(Config: shutdown_timeout),
        "How long a shutdown waits for acknowledgements of what is in flight. The rest stays in the log.",
        "",
    ),
];

const WATCHING: &[Key<Config>] = &[
    Key::new(
        "log_format",
        Form::Choice(&["human", "json"]),
        place!(Config: log_format),
        "How log lines look; json is one object a line.",
        "",
    )
    .restart()
    .flag(),
    Key::new(
        "log_level",
        Form::Text,
        place!(Config: log_level),
        "What is logged: error, warn, info, debug or trace, or by part, such as \"info,blipmq::runtime=debug\". Empty: what \
         RUST_LOG says, or else info.",
        "debug and trace write lines for every connection.",
    )
    .flag(),
    Key::new(
        "metrics_per_topic",
        Form::Number { min: 0, max: 100_000 },
        place!(Config: metrics_per_topic),
        "Topics that get metrics of their own, at most. 0: none do.",
        "Each adds several time series to every scrape.",
    ),
    Key::new(
        "hdr_dir",
        Form::Path,
        place!(Config: hdr_dir),
        "Folder for dumps of the broker's own latencies: at SIGUSR1, on POST /debug/dump, and at the end of a drain; \
         the newest 32 are kept. Empty: <wal_path>/hdr.",
        "",
    )
    .restart(),
    Key::new(
        "enable_tokio_console",
        Form::Switch,
        place!(Config: enable_tokio_console),
        "Accepted for files of the original BlipMQ, and does nothing but warn: there is no tokio here.",
        "",
    )
    .restart()
    .original(),
];

/// The name of the array of tables in the configuration file.
pub const TOPIC: &str = "topic";

/// What a `[[topic]]` table may say.
pub static TOPIC_KEYS: &[Key<TopicDraft>] = &[
    Key::new(
        "pattern",
        Form::Pattern,
        optional!(TopicDraft: pattern),
        "Topics this table is for: a name, or a pattern (* for one token, > for the rest).",
        "",
    ),
    Key::new("ttl_ms", Form::ANY_MILLIS, optional!(TopicDraft: ttl_ms), "As ttl_ms above, for these topics.", ""),
    Key::new(
        "dead_letter",
        Form::Template,
        optional!(TopicDraft: dead_letter),
        "As dead_letter_topic above, for these topics.",
        "",
    ),
];

/// The name of the array of tables in `api_keys_file`.
pub const KEY: &str = "key";

/// What a `[[key]]` table of `api_keys_file` may say.
pub static KEY_KEYS: &[Key<KeyDraft>] = &[
    Key::new("name", Form::Text, optional!(KeyDraft: name), "The key's name in logs and metrics; unique.", ""),
    Key::new("key", Form::Secret, optional!(KeyDraft: key), "The key in plain. This or hash.", "").secret(),
    Key::new(
        "hash",
        Form::Hash,
        optional!(KeyDraft: hash),
        "The key's salted hash, as `blipmq key hash` writes it.",
        "",
    )
    .secret(),
    Key::new(
        "publish",
        Form::Patterns,
        optional!(KeyDraft: publish),
        "Topics and patterns it may publish to.",
        "Without publish, subscribe and admin a key may everything; with one of them, what is not said is denied.",
    ),
    Key::new(
        "subscribe",
        Form::Patterns,
        optional!(KeyDraft: subscribe),
        "Topics and patterns it may subscribe to.",
        "",
    ),
    Key::new("admin", Form::Switch, optional!(KeyDraft: admin), "Whether it may use the admin API.", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_plain() {
        let mut names: Vec<&str> = keys().map(|key| key.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || b"_0".contains(&byte))));
        assert!(!names.contains(&TOPIC));
    }

    #[test]
    fn the_ten_keys_of_the_original_are_here() {
        let mut original: Vec<&str> = keys().filter(|key| key.original).map(|key| key.name).collect();
        original.sort_unstable();
        assert_eq!(
            original,
            [
                "allowed_api_keys",
                "bind_addr",
                "enable_tokio_console",
                "fsync_policy",
                "max_retries",
                "metrics_addr",
                "metrics_port",
                "port",
                "retry_backoff_ms",
                "wal_path"
            ]
        );
    }

    #[test]
    fn no_flag_takes_a_secret() {
        assert!(flags().all(|key| !key.secret));
    }
}
