//! The configuration read again while the broker runs: all of it takes effect, or none.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::control::Control;
use super::desk::{Desk, Terms as DeskTerms};
use super::doorkeeper::Doorkeeper;
use super::logging;
use super::preflight;
use super::run::Patience;
use super::tls::{Rules, Tls};
use crate::admin::figures::Bounds;
use crate::auth::KeyRing;
use crate::config::Config;
use crate::shard::{Question, Terms};

/// For every shard to have heard. One that hangs hears of it when it goes on.
const PATIENCE: Duration = Duration::from_secs(5);

/// What runs on a configuration, and the configuration it runs on.
pub struct Reloader {
    config: Mutex<Config>,
    /// The key that this broker made for itself, for when none is configured.
    own: KeyRing,
    tls: Option<Arc<Tls>>,
    shards: usize,
    logs: u16,
    control: Control,
    desk: Arc<Desk>,
    patience: Patience,
    doorkeeper: Arc<Doorkeeper>,
}

/// Everything that was read again and found right; nothing has changed yet.
struct Prepared {
    config: Config,
    changed: Vec<&'static str>,
    keys: KeyRing,
    rules: Option<Rules>,
}

impl Reloader {
    /// `own`: empty unless the broker runs on a key that it made.
    #[allow(clippy::too_many_arguments)] // it holds the ends of everything that a configuration reaches
    pub fn new(
        config: Config,
        own: KeyRing,
        tls: Option<Arc<Tls>>,
        logs: u16,
        control: Control,
        desk: Arc<Desk>,
        patience: Patience,
        doorkeeper: Arc<Doorkeeper>,
    ) -> Reloader {
        let shards = control.shards();
        Reloader { config: Mutex::new(config), own, tls, shards, logs, control, desk, patience, doorkeeper }
    }

    /// Reads everything again. The names of the keys that changed, or why nothing did.
    pub fn reload(&self) -> Result<Value, String> {
        // One at a time: a second one compares with what the first has made of it.
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        match self.prepare(&config) {
            Ok(prepared) => {
                let changed = prepared.changed.clone();
                *config = self.apply(prepared);
                self.desk.reloaded(true);
                log::info!(
                    "reload: {}",
                    if changed.is_empty() { "nothing changed".into() } else { changed.join(", ") }
                );
                Ok(json!(changed))
            }
            Err(reason) => {
                self.desk.reloaded(false);
                log::error!("reload refused, nothing changed: {reason}");
                Err(format!("nothing changed: {reason}"))
            }
        }
    }

    fn prepare(&self, old: &Config) -> Result<Prepared, String> {
        let (loaded, changes) = old.reload().map_err(|problems| problems.to_string().trim().replace('\n', "; "))?;
        if !changes.restart_only.is_empty() {
            let (these, others) = (changes.restart_only.join(", "), changes.reloadable.join(", "));
            let others = if others.is_empty() { String::new() } else { format!(" (and {others} would have changed)") };
            return Err(format!("needs a restart: {these}{others}"));
        }
        let config = loaded.config;
        let keys = config.key_ring().map_err(|error| error.to_string())?;
        let keys = if keys.is_empty() { self.own.clone() } else { keys };
        if keys.is_empty() {
            return Err("no key is left: with one of its own the broker needs a restart".into());
        }
        let connections_max = config.limits.connections_max;
        preflight::files(self.shards, self.logs.into(), connections_max).map_err(|failure| failure.what)?;
        logging::check(&config.log_level)?;
        let rules = Rules::read(&config)?;
        for warning in loaded.warnings.into_iter().chain(rules.as_ref().and_then(Rules::warning)) {
            log::warn!("{warning}");
        }
        Ok(Prepared { config, changed: changes.reloadable, keys, rules })
    }

    /// Nothing in here can fail.
    fn apply(&self, prepared: Prepared) -> Config {
        let Prepared { config, changed, keys, rules } = prepared;
        let expiry_s = rules.as_ref().map_or(0, |rules| rules.expiry_s);
        if let Some((tls, rules)) = self.tls.as_ref().zip(rules) {
            tls.replace(rules);
        }
        if changed.contains(&"log_level") {
            // Was checked; a process with a logger of its own keeps that.
            let _ = logging::set_filter(&logging::wanted(&config.log_level));
        }
        self.patience.set(config.shutdown_timeout);
        self.doorkeeper.allow(config.limits.connections_max);
        self.desk.change(desk_terms(&config, &keys, self.shards, expiry_s));
        let terms = Box::new(terms(&config, keys, self.shards, self.logs));
        let answers = self.control.ask_all(&Question::Reload(terms), PATIENCE);
        for (shard, _) in answers.iter().enumerate().filter(|(_, answer)| answer.is_none()) {
            log::warn!("reload: shard {shard} is busy, and will hear of it when it is not");
        }
        config
    }
}

/// What the cores are given of a configuration.
fn terms(config: &Config, keys: KeyRing, shards: usize, logs: u16) -> Terms {
    Terms {
        keys,
        limits: config.limits_for(shards),
        max_retries: config.max_retries,
        retry: config.retry,
        topics: config.topics.clone(),
        retention_ms: config.retention_ms,
        retention_bytes: config.retention_bytes_of_one(logs),
        low_water: config.disk_low_water_bytes,
    }
}

/// What the admin API is given of it.
pub fn desk_terms(config: &Config, keys: &KeyRing, shards: usize, tls_expiry_s: u64) -> DeskTerms {
    let bounds = Bounds {
        connections_max: config.limits.connections_max as u64,
        memory_max: (config.limits_for(shards).memory_max * shards) as u64,
        tls_expiry_s,
    };
    DeskTerms { keys: keys.clone(), bounds, metrics_per_topic: config.metrics_per_topic }
}
