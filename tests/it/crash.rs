//! The daemon is killed at random moments under every policy, and nothing acknowledged is lost: a short trial of each.
//!
//! `blipmq torture crash` is the long one.

use crate::support::torture;

/// Spread over the policies, 20 kills.
const KILLS: [(&str, &str); 3] = [("always", "6"), ("every_n:16", "7"), ("interval_ms:50", "7")];

#[test]
fn nothing_acknowledged_is_lost_by_kills_at_random_moments() {
    for (policy, kills) in KILLS {
        let verdict = torture::run(&["crash", "--kills", kills, "--fsync", policy]);
        assert!(verdict["acknowledged"].as_u64() > Some(0), "{verdict}");
        assert_eq!((&verdict["lost"], &verdict["broken"]), (&0.into(), &0.into()), "{policy}: {verdict}");
    }
}
