//! Log lines: for people or as JSON, and what is logged can be changed while the process runs.

use std::io::Write;
use std::sync::{OnceLock, PoisonError, RwLock};

use env_logger::{Builder, Logger};
use log::{Log, Metadata, Record};

use crate::config::LogFormat;

/// What is logged if nobody says anything.
const DEFAULT: &str = "info";

/// The process's logger: one that can be replaced.
struct Replaceable {
    format: LogFormat,
    /// As `RUST_LOG` spells it, and the logger made from it. Levels nobody wants are stopped before they come here.
    inner: RwLock<(String, Logger)>,
}

static LOGGER: OnceLock<Replaceable> = OnceLock::new();

/// What is to be logged: what the configuration says, or else what `RUST_LOG` does.
pub fn wanted(level: &str) -> String {
    match level {
        "" => std::env::var(env_logger::DEFAULT_FILTER_ENV).unwrap_or_else(|_| DEFAULT.into()),
        level => level.into(),
    }
}

/// From now on, this much is logged. An embedder may have a logger already: then that one stays.
pub fn start(format: LogFormat, level: &str) {
    let filter = wanted(level);
    let logger =
        LOGGER.get_or_init(|| Replaceable { format, inner: RwLock::new((filter.clone(), make(format, &filter))) });
    if log::set_logger(logger).is_ok() {
        log::set_max_level(logger.inner.read().unwrap_or_else(PoisonError::into_inner).1.filter());
    }
}

/// What is logged now.
pub fn filter() -> String {
    LOGGER
        .get()
        .map_or_else(String::new, |logger| logger.inner.read().unwrap_or_else(PoisonError::into_inner).0.clone())
}

/// Changes what is logged, until the process ends.
pub fn set_filter(filter: &str) -> Result<(), String> {
    let Some(logger) = LOGGER.get() else { return Err("this process has a logger of its own".into()) };
    check(filter)?;
    let made = make(logger.format, filter);
    log::set_max_level(made.filter());
    *logger.inner.write().unwrap_or_else(PoisonError::into_inner) = (filter.to_owned(), made);
    Ok(())
}

/// The parser of filters warns and goes on; an operator wants to know.
pub fn check(filter: &str) -> Result<(), String> {
    let directives = filter.split('/').next().unwrap_or_default();
    for directive in directives.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
        let level = directive.split_once('=').map(|(_, level)| level.trim());
        let known = match level {
            Some(level) => level.parse::<log::LevelFilter>().is_ok(),
            None => directive.parse::<log::LevelFilter>().is_ok() || directive.starts_with("blipmq"),
        };
        if !known {
            return Err(format!("{:?} is no level", level.unwrap_or(directive)));
        }
    }
    Ok(())
}

fn make(format: LogFormat, filter: &str) -> Logger {
    let mut builder = Builder::new();
    builder
        .parse_filters(filter)
        .parse_write_style(&std::env::var(env_logger::DEFAULT_WRITE_STYLE_ENV).unwrap_or_default());
    if format == LogFormat::Json {
        builder.format(|out, record| {
            let line = serde_json::json!({
                "time": out.timestamp_millis().to_string(),
                "level": record.level().as_str(),
                "target": record.target(),
                "message": record.args().to_string(),
            });
            writeln!(out, "{line}")
        });
    }
    builder.build()
}

impl Log for Replaceable {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).1.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).1.log(record);
    }

    fn flush(&self) {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).1.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_means_nothing_is_refused_and_the_old_one_stays() {
        start(LogFormat::Json, "");
        let before = filter();
        assert!(set_filter("blipmq=loud").is_err() && set_filter("loud").is_err());
        assert!(check("").is_ok() && check("debug,blipmq::shard").is_ok());
        assert_eq!(filter(), before);
        set_filter("off,blipmq::runtime=error").unwrap();
        assert_eq!(filter(), "off,blipmq::runtime=error");
        assert_eq!(log::max_level(), log::LevelFilter::Error);
        set_filter(&before).unwrap();
    }
}
