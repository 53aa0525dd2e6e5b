//! What latency must be, and whether it was: `p99=1ms,p99.9=5ms,max=1s`.

use std::str::FromStr;
use std::time::Duration;

use super::latency::{self, Latencies};
use super::size;

/// Latency objectives; all must be met.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Slo(Vec<Objective>);

#[derive(Clone, Debug, PartialEq)]
struct Objective {
    name: String,
    quantile: f64,
    most: Duration,
}

impl FromStr for Slo {
    type Err = String;

    fn from_str(text: &str) -> Result<Slo, String> {
        text.split(',').map(objective).collect::<Result<_, _>>().map(Slo)
    }
}

fn objective(text: &str) -> Result<Objective, String> {
    let (name, most) = text.trim().split_once('=').ok_or("expected objectives such as p99=1ms,p99.9=5ms")?;
    let quantile = match name {
        "max" => Some(100.0),
        _ => name.strip_prefix('p').and_then(|percent| percent.parse::<f64>().ok()),
    };
    let quantile = quantile.filter(|percent| (0.0..=100.0).contains(percent));
    let quantile = quantile.ok_or_else(|| format!("{name} is not a percentile: expected p50, p99.9 or max"))?;
    Ok(Objective { name: name.to_owned(), quantile: quantile / 100.0, most: size::duration(most)? })
}

impl Slo {
    /// The objectives that were missed, in words.
    pub fn missed(&self, latencies: &Latencies) -> Vec<String> {
        let miss = |objective: &Objective| {
            let most = objective.most.as_nanos() as u64;
            let was = latencies.value_at_quantile(objective.quantile);
            let spoken = latency::spoken;
            (was > most).then(|| format!("{} was {}, not {}", objective.name, spoken(was), spoken(most)))
        };
        self.0.iter().filter_map(miss).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objectives_are_read_and_held_against_what_was() {
        let slo: Slo = "p50=1ms, p99=2ms,max=1s".parse().unwrap();
        let mut latencies = latency::empty();
        latencies.record_n(500_000, 90).unwrap();
        latencies.record_n(5_000_000, 10).unwrap();
        assert_eq!(slo.missed(&latencies), ["p99 was 5.00 ms, not 2.00 ms"]);
        for text in ["", "p99", "p101=1ms", "q=1ms", "p99=1"] {
            assert!(text.parse::<Slo>().is_err(), "{text}");
        }
    }
}
