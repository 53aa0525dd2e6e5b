//! Whether it lives, whether it may be used, and what is wrong.

use serde_json::{Value, json};

use super::figures::{Figures, ShardFigures, Stage};
use super::response::Response;
use crate::shard::stats::{LogCondition, LogStanding};

/// 503 if a shard hangs: only a restart helps. Says nothing of what a restart would not mend.
pub fn live(figures: &Figures) -> Response {
    let hanging = figures.shards.iter().filter(|shard| figures.hangs(shard)).count();
    let status = if hanging == 0 { "live" } else { "hanging" };
    respond(hanging == 0, &json!({ "status": status }))
}

/// 503 until the logs are recovered and connections are accepted.
pub fn startup(figures: &Figures) -> Response {
    let started = figures.stage != Stage::Starting;
    respond(started, &json!({ "status": if started { "started" } else { "starting" } }))
}

/// 503 while nothing new should be sent here. A full disk is not a reason: subscribers are what empties it.
pub fn ready(figures: &Figures) -> Response {
    let problems = problems(figures);
    let stopping = problems.iter().any(|problem| problem.severity == Severity::NotReady);
    let texts: Vec<&str> = problems.iter().map(|problem| problem.text.as_str()).collect();
    respond(!stopping, &json!({ "status": if stopping { "not ready" } else { "ready" }, "problems": texts }))
}

/// Everything, and 503 if anything is wrong.
pub fn detail(figures: &Figures) -> Response {
    let problems = problems(figures);
    let status = match figures.stage {
        Stage::Starting => "starting",
        Stage::Draining => "draining",
        Stage::Serving if problems.is_empty() => "ok",
        Stage::Serving => "degraded",
    };
    let texts: Vec<&str> = problems.iter().map(|problem| problem.text.as_str()).collect();
    let body = json!({
        "status": status,
        "problems": texts,
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": figures.now_ms.saturating_sub(figures.process.start_ms) / 1000,
        "disk": figures.disk.map(|disk| json!({ "free_bytes": disk.free_bytes, "size_bytes": disk.size_bytes })),
        "shards": figures.shards.iter().map(|shard| shard_detail(figures, shard)).collect::<Vec<_>>(),
    });
    respond(problems.is_empty(), &body)
}

struct Problem {
    severity: Severity,
    text: String,
}

#[derive(PartialEq, Eq)]
enum Severity {
    /// Send nothing here.
    NotReady,
    /// Something does not work.
    Degraded,
}

fn problems(figures: &Figures) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut say = |severity, text: String| problems.push(Problem { severity, text });
    match figures.stage {
        Stage::Starting => say(Severity::NotReady, "the broker is starting".into()),
        Stage::Draining => say(Severity::NotReady, "the broker is draining".into()),
        Stage::Serving => {}
    }
    for (number, shard) in figures.shards.iter().enumerate() {
        if figures.hangs(shard) {
            let seconds = figures.silent_ms(shard) / 1000;
            say(Severity::NotReady, format!("shard {number} has shown no sign of life for {seconds} s"));
        } else if !shard.answered {
            say(Severity::Degraded, format!("shard {number} did not answer in time"));
        }
        for log in &shard.stats.logs {
            match log.state {
                LogCondition::Ready => {}
                LogCondition::Full => say(Severity::Degraded, format!("log {} is full: {}", log.log, log.reason)),
                LogCondition::Stopped => say(Severity::NotReady, format!("log {} stopped: {}", log.log, log.reason)),
            }
        }
    }
    problems
}

fn shard_detail(figures: &Figures, shard: &ShardFigures) -> Value {
    json!({
        "shard": shard.stats.shard,
        "answered": shard.answered,
        "hangs": figures.hangs(shard),
        "tick_age_ms": figures.silent_ms(shard),
        "draining": shard.stats.draining,
        "connections": shard.stats.connections,
        "held_connections": shard.stats.held,
        "logs": shard.stats.logs.iter().map(log_detail).collect::<Vec<_>>(),
    })
}

fn log_detail(log: &LogStanding) -> Value {
    json!({
        "log": log.log.0,
        "state": log.state.name(),
        "reason": if log.reason.is_empty() { Value::Null } else { log.reason.clone().into() },
        "segments": log.counts.segments,
        "disk_bytes": log.counts.disk_bytes,
        "live_bytes": log.counts.live_bytes,
        "index_bytes": log.counts.index_bytes,
        "backlog_bytes": log.counts.backlog_bytes,
        "corruptions": log.counts.corruptions,
    })
}

fn respond(well: bool, body: &Value) -> Response {
    Response::json(if well { 200 } else { 503 }, body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::figures::Vitals;
    use crate::shard::Stats;

    fn well() -> Figures {
        let shard = || ShardFigures {
            answered: true,
            stats: Stats { logs: vec![LogStanding::default()], ..Stats::default() },
            vitals: Vitals { alive_at_ms: 10_000, ..Vitals::default() },
            ..ShardFigures::default()
        };
        Figures { now_ms: 10_100, stage: Stage::Serving, shards: vec![shard(), shard()], ..Figures::default() }
    }

    /// Statuses of live, startup, ready and detail.
    fn statuses(figures: &Figures) -> [u16; 4] {
        [live, startup, ready, detail].map(|page| page(figures).status)
    }

    #[test]
    fn a_broker_that_is_well_says_so_everywhere() {
        assert_eq!(statuses(&well()), [200; 4]);
    }

    #[test]
    fn a_broker_that_starts_lives_and_is_not_ready() {
        assert_eq!(statuses(&Figures::default()), [200, 503, 503, 503]);
    }

    #[test]
    fn a_shard_silent_for_five_seconds_is_seen_everywhere_but_at_startup() {
        let mut figures = well();
        figures.shards[1].vitals.alive_at_ms = 5099;
        assert_eq!(statuses(&figures), [503, 200, 503, 503]);
        assert!(detail(&figures).body.contains("shard 1 has shown no sign of life for 5 s"));
        figures.shards[1].vitals.alive_at_ms = 5100;
        assert_eq!(statuses(&figures), [200; 4]);
    }

    #[test]
    fn a_full_disk_is_visible_and_does_not_keep_subscribers_away() {
        let mut figures = well();
        let log = &mut figures.shards[0].stats.logs[0];
        (log.state, log.reason) = (LogCondition::Full, "no space left".into());
        assert_eq!(statuses(&figures), [200, 200, 200, 503]);
        assert!(ready(&figures).body.contains("log 0 is full: no space left"));
    }

    #[test]
    fn a_stopped_log_and_a_drain_send_clients_elsewhere() {
        let mut figures = well();
        figures.shards[0].stats.logs[0].state = LogCondition::Stopped;
        assert_eq!(statuses(&figures), [200, 200, 503, 503]);
        let draining = Figures { stage: Stage::Draining, ..well() };
        assert_eq!(statuses(&draining), [200, 200, 503, 503]);
    }

    #[test]
    fn a_shard_that_only_answers_late_is_a_problem_of_its_own() {
        let mut figures = well();
        figures.shards[0].answered = false;
        assert_eq!(statuses(&figures), [200, 200, 200, 503]);
    }
}
