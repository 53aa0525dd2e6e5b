//! Reads what the operator said: the one place here that touches files and the process's environment.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::check::{check, readable_by_others};
use super::key_file;
use super::keys::{TOPIC, keys};
use super::problem::{HIDDEN, Origin, Problem, Problems};
use super::raw::Raw;
use super::resolve::{Resolved, resolve};
use super::settings::Config;
use super::{Changes, environment};

/// Where a configuration comes from. Kept with it, so that a reload asks the same sources again.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Sources {
    pub file: Option<PathBuf>,
    /// Those variables that are ours, as they were when the process began.
    pub environment: Vec<(String, String)>,
    /// Key and value, in their order; the last wins.
    pub flags: Vec<(String, String)>,
    /// Cores this process may use.
    pub cores: usize,
    /// Where systemd keeps this service's credentials.
    pub credentials: Option<PathBuf>,
}

/// A configuration that can be run, and what to say about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<String>,
}

/// Keys that a systemd credential of the same name can give, as the path of the credential.
const CREDENTIALS: [&str; 3] = ["api_keys_file", "tls_cert", "tls_key"];
/// Configuration files are small; a wrong path may not fill the memory.
const FILE_MAX: u64 = 4 << 20;

impl Sources {
    /// This process's environment and cores, with a file and flags.
    pub fn of_process(file: Option<PathBuf>, flags: Vec<(String, String)>) -> Sources {
        let variables = std::env::vars_os().filter_map(|(name, word)| {
            let name = name.into_string().ok().filter(|name| environment::is_ours(name))?;
            Some((name, word.to_string_lossy().into_owned()))
        });
        Sources {
            file,
            environment: variables.collect(),
            flags,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        }
    }
}

/// The values may be secret: only the names are shown.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |pairs: &[(String, String)]| pairs.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        f.debug_struct("Sources")
            .field("file", &self.file)
            .field("environment", &names(&self.environment))
            .field("flags", &names(&self.flags))
            .finish_non_exhaustive()
    }
}

/// Command line over environment over file over systemd credentials over defaults. Every problem at once.
pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
    let (file, mut problems) = file(sources.file.as_deref());
    let (environment, mut warnings) = environment::read(&sources.environment);
    let (flags, mut visible) = flags(sources);
    problems.append(&mut visible);
    let mut resolved = resolve(vec![credentials(sources), file, environment, flags]);
    resolved.config.sources = sources.clone();
    key_file(&mut resolved, &mut warnings);
    check(&mut resolved, sources.cores.max(1));
    problems.append(&mut resolved.problems);
    if !problems.is_empty() {
        problems.sort_by(|a, b| a.origin.cmp(&b.origin));
        return Err(Problems(problems));
    }
    warnings.extend(resolved.config.warnings());
    Ok(Loaded { config: resolved.config, warnings })
}

impl Config {
    /// What the same sources say now, and what of it changed.
    pub fn reload(&self) -> Result<(Loaded, Changes), Problems> {
        let loaded = load(&self.sources)?;
        let changes = self.diff(&loaded.config);
        Ok((loaded, changes))
    }
}

fn file(path: Option<&Path>) -> (Raw, Vec<Problem>) {
    let Some(path) = path else { return Default::default() };
    match read_text(path) {
        Ok(text) => Raw::from_toml(&text, path, TOPIC),
        Err(reason) => {
            let origin = Origin::Flag("--config".into());
            (Raw::default(), vec![Problem { origin, key: String::new(), value: None, reason }])
        }
    }
}

fn flags(sources: &Sources) -> (Raw, Vec<Problem>) {
    let (mut raw, mut problems) = (Raw::default(), Vec::new());
    for (name, word) in &sources.flags {
        let key = keys().find(|key| key.name == name);
        let flag = key.filter(|key| key.flag).map_or_else(|| "--set".into(), |key| format!("--{}", key.dashed()));
        let origin = Origin::Flag(flag);
        if key.is_some_and(|key| key.secret) {
            let reason =
                "every user of this machine can read command lines: use the environment or api_keys_file".into();
            problems.push(Problem { origin, key: name.clone(), value: Some(HIDDEN.into()), reason });
        } else {
            raw.word(name, word, TOPIC, origin);
        }
    }
    (raw, problems)
}

fn credentials(sources: &Sources) -> Raw {
    let mut raw = Raw::default();
    for name in CREDENTIALS {
        debug_assert!(keys().any(|key| key.name == name));
        let path = sources.credentials.as_ref().map(|directory| directory.join(name)).filter(|path| path.exists());
        if let Some(path) = path {
            raw.word(name, &path.to_string_lossy(), TOPIC, Origin::Credential(name));
        }
    }
    raw
}

fn key_file(resolved: &mut Resolved, warnings: &mut Vec<String>) {
    let Some(path) = resolved.config.api_keys_file.clone() else { return };
    match read_text(&path) {
        Ok(text) => {
            let (keys, problems) = key_file::parse(&text, &path);
            resolved.config.file_keys = keys;
            resolved.problems.extend(problems);
            let mode = path.metadata().map_or(0, |metadata| metadata.permissions().mode());
            warnings.extend(readable_by_others(&path, mode));
        }
        Err(reason) => {
            let origin = resolved.origins.get("api_keys_file").cloned().unwrap_or(Origin::Default);
            let value = Some(path.display().to_string());
            resolved.problems.push(Problem { origin, key: "api_keys_file".into(), value, reason });
        }
    }
}

/// The text of a small file, or why not, with its path.
pub(super) fn read_text(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(FILE_MAX + 1).read_to_string(&mut text));
    match read {
        Ok(length) if length as u64 > FILE_MAX => Err(format!("{} is longer than {FILE_MAX} bytes", path.display())),
        Ok(_) => Ok(text),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FsyncPolicy;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Place {
            Place(tempfile::tempdir().unwrap())
        }

        fn file(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        }
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, word)| (name.to_string(), word.to_string())).collect()
    }

    fn sources(file: Option<PathBuf>, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Sources {
        Sources { file, environment: pairs(environment), flags: pairs(flags), cores: 2, credentials: None }
    }

    fn problems(sources: &Sources) -> Vec<String> {
        load(sources).unwrap_err().0.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn nothing_said_is_the_default() {
        let loaded = load(&Sources::default()).unwrap();
        assert_eq!(loaded.config, Config::default());
        assert_eq!(loaded.warnings, Vec::<String>::new());
    }

    #[test]
    fn the_command_line_wins_over_the_environment_over_the_file_over_the_default() {
        let place = Place::new();
        let file = place.file("b.toml", "port = 1\nmax_retries = 1\nmetrics_port = 1\n");
        let environment = [("BLIPMQ_PORT", "2"), ("PORT", "9"), ("MAX_RETRIES", "2")];
        let config = load(&sources(Some(file), &environment, &[("port", "3")])).unwrap().config;
        assert_eq!((config.port, config.max_retries, config.metrics_port), (3, 2, 1));
        assert_eq!(config.fsync_policy, FsyncPolicy::EveryN(64));
    }

    #[test]
    fn the_ten_original_names_work_without_prefix() {
        let original = [
            ("BIND_ADDR", "127.0.0.2"),
            ("PORT", "1"),
            ("METRICS_ADDR", "127.0.0.3"),
            ("METRICS_PORT", "2"),
            ("WAL_PATH", "/w"),
            ("FSYNC_POLICY", "always"),
            ("MAX_RETRIES", "4"),
            ("RETRY_BACKOFF_MS", "5"),
            ("ALLOWED_API_KEYS", "one,two"),
            ("ENABLE_TOKIO_CONSOLE", "true"),
        ];
        let Loaded { config, warnings } = load(&sources(None, &original, &[])).unwrap();
        assert_eq!(Config::default().diff(&config).changed().len(), 10);
        assert_eq!(config.key_ring().unwrap().authenticate(b"two").unwrap().id.0, 1);
        assert!(warnings.iter().any(|line| line.contains("no tokio here")), "{warnings:?}");
    }

    #[test]
    fn all_problems_come_at_once_each_with_its_place() {
        let place = Place::new();
        let keys = place.file("keys.toml", "[[key]]\nname = \"a\"\n");
        let text = "port = 70000\nbind_adr = \"::1\"\nfsync_policy = \"every_n:0\"\nsegment_bytes = \"1 MiB\"\n\
                    [[topic]]\nttl_ms = -1\nnonsense = 1\n[server]\nport = 1\n";
        let file = place.file("b.toml", text);
        let environment = [
            ("BLIPMQ_METRICS_PORT", "high"),
            ("BLIPMQ_API_KEYS_FILE", keys.to_str().unwrap()),
            ("BLIPMQ_FSYNC_POLCY", "always"),
            ("BLIPMQ_RETRY_BACKOFF_CAP_MS", "1"),
        ];
        let found = problems(&sources(Some(file.clone()), &environment, &[("cores", "many"), ("tls_cert", "c.pem")]));
        let file = file.display();
        let keys = keys.display();
        let expected = [
            format!("{file}:1: port = 70000: expected a whole number from 0 to 65535"),
            format!("{file}:2: bind_adr = '::1': unknown key; did you mean bind_addr?"),
            format!("{file}:3: fsync_policy = "),
            format!("{file}:5: topic[0].pattern: is missing"),
            format!("{file}:6: topic[0].ttl_ms = -1: expected milliseconds"),
            format!("{file}:7: topic[0].nonsense = 1: unknown key"),
            format!("{file}:8: server = (a table): unknown key"),
            "environment BLIPMQ_METRICS_PORT: metrics_port = ".into(),
            "environment BLIPMQ_FSYNC_POLCY: fsync_polcy = ".into(),
            "flag --cores: cores = ".into(),
            format!("{keys}:1: key[0].key: expected either key or hash"),
            "flag --set: tls_cert = ".into(),
            "environment BLIPMQ_RETRY_BACKOFF_CAP_MS: retry_backoff_cap_ms = 1: the cap is shorter".into(),
            format!("{file}:4: segment_bytes = 1048576: a segment must hold the largest frame"),
        ];
        for start in &expected {
            let quoted = start.replace('\'', "\"");
            assert!(found.iter().any(|line| line.starts_with(&quoted)), "{quoted}\nnot in {found:#?}");
        }
        assert_eq!(found.len(), expected.len(), "{found:#?}");
    }

    #[test]
    fn impossible_combinations_are_refused() {
        let cases: &[&[(&str, &str)]] = &[
            &[("metrics_port", "5555")],
            &[("port", "9100"), ("bind_addr", "0.0.0.0")],
            &[("tls_key", "k.pem")],
            &[("tls_client_ca", "ca.pem")],
            &[("retry_backoff_ms", "60000")],
            &[("segment_bytes", "1 MiB")],
            &[("segment_bytes", "67108865")],
            &[("retention_bytes", "64 MiB")],
            &[("wal", "off"), ("max_memory_queue_bytes", "1 MiB")],
            &[("memory_limit", "128 MiB")],
            &[("max_tail_bytes", "1 GiB")],
            &[("memory_limit", "1 GiB"), ("cores", "64")],
        ];
        for case in cases {
            let found = problems(&sources(None, &[], case));
            assert_eq!(found.len(), 1, "{case:?}: {found:#?}");
        }
    }

    #[test]
    fn near_misses_of_impossible_combinations_are_fine() {
        let cases: &[&[(&str, &str)]] = &[
            &[("metrics_port", "5555"), ("metrics_addr", "127.0.0.2")],
            &[("port", "0"), ("metrics_port", "0")],
            &[("segment_bytes", "1 MiB"), ("max_frame_bytes", "64 KiB")],
            &[("max_memory_queue_bytes", "1 MiB")],
            &[("memory_limit", "1 GiB")],
            &[("tls_key", "k.pem"), ("tls_cert", "c.pem"), ("tls_client_ca", "ca.pem")],
        ];
        for case in cases {
            assert!(load(&sources(None, &[], case)).is_ok(), "{case:?}: {:?}", load(&sources(None, &[], case)));
        }
    }

    #[test]
    fn one_wrong_value_is_not_two_problems() {
        let found = problems(&sources(None, &[], &[("port", "x"), ("metrics_port", "5555")]));
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn secrets_are_never_shown() {
        let place = Place::new();
        let keys = place.file("keys.toml", "[[key]]\nname = \"a\"\nkey = \"hunter2-file\"\n");
        let file = place.file("b.toml", "allowed_api_keys = [\"hunter2-toml\"]\n");
        let environment =
            [("BLIPMQ_ALLOWED_API_KEYS", "hunter2-env"), ("BLIPMQ_API_KEYS_FILE", keys.to_str().unwrap())];
        let loaded = load(&sources(Some(file), &environment, &[])).unwrap();
        let report = crate::config::report(&loaded.config);
        let shown = format!("{loaded:?} {loaded:#?} {report} {:?}", loaded.config.key_ring());
        assert!(!shown.contains("hunter2"), "{shown}");

        let wrong = place
            .file("w.toml", "allowed_api_keys = \"hunter2\"\nalowed_keys = [\"hunter2\"]\napi_key = \"hunter2\"\n");
        let found = load(&sources(Some(wrong), &[], &[("allowed_api_keys", "hunter2,")])).unwrap_err();
        assert_eq!(found.0.len(), 4, "{found}");
        assert!(!format!("{found} {found:?}").contains("hunter2"), "{found}");
        let broken = place.file("x.toml", "allowed_api_keys = [\"hunter2\", hunter2\nport = hunter2\n");
        let found = load(&sources(Some(broken), &[], &[])).unwrap_err();
        assert!(!format!("{found} {found:?}").contains("hunter2"), "{found}");
    }

    #[test]
    fn tables_of_topics_come_from_the_file_or_in_one_word() {
        let place = Place::new();
        let file =
            place.file("b.toml", "ttl_ms = 9\n[[topic]]\npattern = \"a.>\"\nttl_ms = 5\n[[topic]]\npattern = \"b\"\n");
        let topic = |name: &str| crate::model::TopicName::parse(name.as_bytes()).unwrap();
        let filed = load(&sources(Some(file.clone()), &[], &[])).unwrap().config;
        assert_eq!((filed.topics.ttl_ms(&topic("a.x")), filed.topics.ttl_ms(&topic("b"))), (5, 9));
        let word = [("BLIPMQ_TOPIC", "[{ pattern = \"b\", ttl_ms = 1, dead_letter = \"dead\" }]")];
        let worded = load(&sources(Some(file), &word, &[])).unwrap().config;
        assert_eq!((worded.topics.ttl_ms(&topic("a.x")), worded.topics.ttl_ms(&topic("b"))), (9, 1));
        assert_eq!(filed.diff(&worded).reloadable, ["topic"]);
        for word in ["x", "[1]", "[{]", "", "[]\nport = 1"] {
            assert_eq!(problems(&sources(None, &[("BLIPMQ_TOPIC", word)], &[])).len(), 1, "{word}");
        }
        assert_eq!(problems(&sources(Some(place.file("t.toml", "topic = [1]\n")), &[], &[])).len(), 1);
    }

    #[test]
    fn a_missing_file_is_a_problem_and_so_is_a_missing_keys_file() {
        let found =
            problems(&sources(Some("/nonexistent/b.toml".into()), &[("BLIPMQ_API_KEYS_FILE", "/nonexistent/k")], &[]));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[1].starts_with("flag --config: cannot read /nonexistent/b.toml: "));
        assert!(found[0].starts_with("environment BLIPMQ_API_KEYS_FILE: api_keys_file = /nonexistent/k: cannot read"));
    }

    #[test]
    fn credentials_are_found_and_anything_said_wins() {
        let place = Place::new();
        place.file("api_keys_file", "[[key]]\nname = \"a\"\nkey = \"k\"\n");
        let other = place.file("other", "[[key]]\nname = \"b\"\nkey = \"k\"\n");
        let mut asked = sources(None, &[], &[]);
        asked.credentials = Some(place.0.path().to_owned());
        assert_eq!(load(&asked).unwrap().config.file_keys[0].name(), "a");
        asked.flags = pairs(&[("api_keys_file", other.to_str().unwrap())]);
        assert_eq!(load(&asked).unwrap().config.file_keys[0].name(), "b");
    }

    #[test]
    fn a_reload_asks_the_same_sources_again() {
        let place = Place::new();
        let file = place.file("b.toml", "max_retries = 1\n");
        let config = load(&sources(Some(file), &[], &[("port", "7")])).unwrap().config;
        assert!(config.reload().unwrap().1.is_empty());
        place.file("b.toml", "max_retries = 2\nwal_path = \"/else\"\nport = 8\n");
        let (loaded, changes) = config.reload().unwrap();
        assert_eq!((changes.reloadable, changes.restart_only), (vec!["max_retries"], vec!["wal_path"]));
        assert_eq!(loaded.config.port, 7, "the flag still wins");
        place.file("b.toml", "max_retries = ???");
        assert!(config.reload().is_err());
    }

    #[test]
    fn a_keys_file_that_everybody_can_read_is_warned_of() {
        let place = Place::new();
        let keys = place.file("keys.toml", "");
        let warned = |mode| {
            std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(mode)).unwrap();
            load(&sources(None, &[], &[("api_keys_file", keys.to_str().unwrap())])).unwrap().warnings.len()
        };
        assert_eq!((warned(0o644), warned(0o640), warned(0o600)), (1, 0, 0));
    }
}
