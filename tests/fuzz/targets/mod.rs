//! What is fuzzed: each function takes any bytes, and panics if a promise breaks. `tests/fuzz/run.sh` feeds them by
//! libFuzzer for as long as one likes, `short.rs` for a moment in every test run.

pub mod bytes;
pub mod device;
pub mod image;
pub mod session;

/// Takes any bytes, and panics if a promise breaks.
pub type Target = fn(&[u8]);

/// All of them, by name.
#[allow(dead_code)] // libFuzzer's programs call each by itself
pub const TARGETS: [(&str, Target); 7] = [
    ("session_v1", session::version_1),
    ("session_v2", session::version_2),
    ("record_batch", bytes::record_batch),
    ("log_entry", bytes::log_entry),
    ("config", bytes::config),
    ("log_image", image::log_image),
    ("checkpoint", image::checkpoint),
];
