//! Folders of results: read back, summed up in a table, drawn, and held against another.

pub mod compare;
pub mod plot;
pub mod table;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::failure::Failure;

/// The passes of one scenario, in the order in which they were run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What `blipmq --json bench` said of each.
    pub passes: Vec<Value>,
}

/// Reads `<folder>/*.jsonl`: one scenario a file, one pass a line. In the order of the files' names.
pub fn read(folder: &Path) -> Result<Vec<Scenario>, Failure> {
    let mut scenarios = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(|error| Failure::Usage(format!("{}: {error}", folder.display())))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            let text = fs::read_to_string(&path)?;
            let passes = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>();
            let passes = passes.map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            scenarios.insert(name.clone(), Scenario { name, passes });
        }
    }
    if scenarios.is_empty() {
        return Err(Failure::Usage(format!("{} has no results (*.jsonl)", folder.display())));
    }
    Ok(scenarios.into_values().collect())
}

/// Smallest, middle and largest of some figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Smallest.
    pub min: f64,
    /// The middle one; the mean of the two in the middle of an even number.
    pub median: f64,
    /// Largest.
    pub max: f64,
}

impl Spread {
    /// `None` of nothing.
    pub fn of(mut figures: Vec<f64>) -> Option<Spread> {
        figures.sort_by(f64::total_cmp);
        let (min, max) = (*figures.first()?, *figures.last()?);
        let (low, high) = (figures[(figures.len() - 1) / 2], figures[figures.len() / 2]);
        Some(Spread { min, median: low / 2.0 + high / 2.0, max })
    }
}

impl Scenario {
    /// A figure of every pass that has it; `pointer` as in RFC 6901.
    pub fn figures(&self, pointer: &str) -> Vec<f64> {
        self.passes.iter().filter_map(|pass| pass.pointer(pointer)?.as_f64()).collect()
    }

    /// Its spread.
    pub fn spread(&self, pointer: &str) -> Option<Spread> {
        Spread::of(self.figures(pointer))
    }

    /// The pass whose throughput is the middle one.
    pub fn median_pass(&self) -> Option<&Value> {
        let mut passes: Vec<&Value> = self.passes.iter().collect();
        let rate = |pass: &Value| pass["messages_per_second"].as_f64().unwrap_or(0.0);
        passes.sort_by(|one, other| rate(one).total_cmp(&rate(other)));
        passes.get(passes.len() / 2).copied()
    }

    /// Whether every pass kept every message.
    pub fn is_whole(&self) -> bool {
        self.figures("/lost").iter().all(|lost| *lost == 0.0)
    }
}

#[cfg(test)]
pub(crate) fn sample(name: &str, rates: &[f64]) -> Scenario {
    let pass = |rate: &f64| {
        serde_json::json!({
            "name": name,
            "dialect": "BlipMQ v2",
            "broker": "wal = off",
            "workload": { "size": 128, "publishers": 1, "subscribers": 1, "batch": 100 },
            "messages_per_second": rate,
            "bytes_per_second": rate * 128.0,
            "latency_ns": { "p50": 41_000, "p90": 50_000, "p95": 55_000, "p99": 60_000, "p99.9": 70_000, "p99.99": 80_000, "max": 90_000 },
            "broker_cpu_ns_per_message": { "user": 20.0, "system": 30.0, "total": 50.0 },
            "lost": 0,
            "intervals": [{ "from": 1.0, "messages_per_second": rate }, { "from": 2.0, "messages_per_second": rate }],
        })
    };
    Scenario { name: name.to_owned(), passes: rates.iter().map(pass).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_are_read_and_their_spread_is_told() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).is_err());
        let lines: Vec<String> = sample("a", &[3.0, 1.0, 2.0]).passes.iter().map(Value::to_string).collect();
        fs::write(folder.path().join("a.jsonl"), lines.join("\n")).unwrap();
        fs::write(folder.path().join("note.txt"), "no result").unwrap();
        let scenarios = read(folder.path()).unwrap();
        assert_eq!(scenarios.len(), 1);
        let spread = scenarios[0].spread("/messages_per_second");
        assert_eq!(spread, Some(Spread { min: 1.0, median: 2.0, max: 3.0 }));
        assert_eq!(scenarios[0].median_pass().unwrap()["messages_per_second"], 2.0);
        assert!(scenarios[0].is_whole());
        fs::write(folder.path().join("b.jsonl"), "{").unwrap();
        assert!(read(folder.path()).is_err());
    }

    #[test]
    fn an_even_number_of_figures_has_its_middle_between_two() {
        assert_eq!(Spread::of(vec![4.0, 1.0, 2.0, 3.0]), Some(Spread { min: 1.0, median: 2.5, max: 4.0 }));
        assert_eq!(Spread::of(Vec::new()), None);
    }
}
