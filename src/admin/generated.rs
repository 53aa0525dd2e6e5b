//! What the tables write, kept true: files under `tuning/monitoring` and pages of the manual.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::alerts::ALERTS;
use super::metric::{Kind, PREFIX};
use super::{dashboard, page, registry, rules};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Run with `REWRITE=1` to write the file anew.
pub(super) fn kept_true(path: &str, text: &str) {
    let path = root().join(path);
    if std::env::var_os("REWRITE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == text, "{} is not what the tables say: REWRITE=1 cargo test admin::generated", path.display());
}

#[test]
fn the_rules_and_their_tests_are_what_the_table_says() {
    kept_true(&format!("tuning/monitoring/{}", rules::FILE), &rules::rules());
    kept_true("tuning/monitoring/blipmq-alerts.test.yaml", &rules::tests());
}

#[test]
fn the_dashboard_is_what_the_table_says() {
    kept_true("tuning/monitoring/blipmq-dashboard.json", &dashboard::dashboard());
}

#[test]
fn the_page_of_metrics_is_what_the_table_says() {
    kept_true("src/manual/metrics.md", &page::page());
}

/// Every name that a query may use.
fn known() -> BTreeSet<String> {
    let mut known: BTreeSet<String> = BTreeSet::new();
    for metric in registry::metrics() {
        for name in metric.names() {
            if metric.kind == Kind::Histogram {
                known.extend(["_bucket", "_sum", "_count"].map(|part| format!("{name}{part}")));
            }
            known.insert(name);
        }
    }
    known
}

/// Words of `text` that look like names of metrics. In prose, `blipmq_` with nothing after it is the prefix.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.len() > PREFIX.len() && word.starts_with(PREFIX))
}

fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).unwrap();
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.to_string_lossy().ends_with(ending)).collect()
}

#[test]
fn no_page_rule_or_panel_names_a_metric_that_does_not_exist() {
    let known = known();
    let mut pages = files("src/manual", ".md");
    pages.extend(files("tuning/monitoring", ""));
    pages.push(root().join("README.md"));
    for path in pages {
        let text = fs::read_to_string(&path).unwrap_or_default();
        for name in named(&text) {
            assert!(known.contains(name), "{}: there is no metric {name}", path.display());
        }
    }
}

#[test]
fn every_alert_has_a_runbook_with_all_its_parts() {
    let text = fs::read_to_string(root().join("src/manual/runbooks.md")).unwrap();
    for alert in ALERTS {
        let heading = format!("\n## {}\n", alert.name);
        let start = text.find(&heading).unwrap_or_else(|| panic!("{} has no runbook", alert.name)) + heading.len();
        let section = &text[start..];
        let section = &section[..section.find("\n## ").unwrap_or(section.len())];
        for part in ["**Meaning.**", "**Impact.**", "**Diagnosis.**", "**Fix.**", "**Verify.**"] {
            assert!(section.contains(part), "the runbook of {} has no {part}", alert.name);
        }
    }
    let sections = text.matches("\n## Blipmq").count();
    assert_eq!(sections, ALERTS.len(), "there is a runbook for an alert that does not exist");
}
