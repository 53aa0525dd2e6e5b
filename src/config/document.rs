//! The table as people read it: example file, manual page, help, and what is in force.

use std::fmt::Write;

use super::key::Key;
use super::keys::{KEY, KEY_KEYS, KEYS, TOPIC, TOPIC_KEYS, keys};
use super::settings::Config;

const WIDTH: usize = 100;

/// `example.toml`: every key at its default.
pub fn example() -> String {
    let mut out = comment(
        "Every key of blipmqd, at its default: a file of yours needs only what differs. Command line over environment \
         (BLIPMQ_<KEY>) over file over default. Written from the table in src/config/keys.rs.",
    );
    let config = Config::default();
    for section in KEYS {
        let _ = write!(out, "\n# ---- {} ----\n", section.title);
        for key in section.keys {
            let _ = write!(out, "\n{}{} = {}\n", explained(key), key.name, key.show(&config));
        }
    }
    out += "\n# ---- Topics ----\n\n";
    out += &comment("Settings by topic, as many tables as you like. The first that matches and says something counts.");
    let _ = write!(
        out,
        "#\n# [[{TOPIC}]]\n# pattern = \"orders.>\"\n# ttl_ms = 60000\n# dead_letter = \"dead.{{topic}}\"\n"
    );
    out
}

fn explained<T>(key: &Key<T>) -> String {
    let mut text = comment(key.meaning);
    if !key.cost.is_empty() {
        text += &comment(&format!("Cost: {}", key.cost));
    }
    text += &comment(&format!("Form: {}.{}", key.form.describe(), if key.restart_only { RESTART } else { "" }));
    text
}

const RESTART: &str = " Needs a restart.";

fn comment(text: &str) -> String {
    wrapped(text, WIDTH - 2).iter().map(|line| format!("# {line}\n")).collect()
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.into()),
        }
    }
    lines
}

/// The manual's page.
pub fn manual_page() -> String {
    let mut out = String::from(PAGE_HEAD);
    let config = Config::default();
    for section in KEYS {
        let _ = write!(out, "\n## {}\n\n{TABLE_HEAD}", section.title);
        for key in section.keys {
            let reload = if key.restart_only { "restart" } else { "reload" };
            let default = format!("`{}`", key.show(&config));
            out += &row(key, &[&default, reload]);
        }
    }
    let _ = write!(out, "{TOPICS_HEAD}{ENTRY_HEAD}");
    TOPIC_KEYS.iter().for_each(|key| out += &row(key, &[]));
    let _ = write!(out, "{KEYS_HEAD}{ENTRY_HEAD}");
    KEY_KEYS.iter().for_each(|key| out += &row(key, &[]));
    out + KEYS_TAIL
}

const PAGE_HEAD: &str = "\
# Configuration

`blipmqd` needs no configuration. What you say, it takes from four places, the strongest first:

1. the command line: `--port 5556`, and for every key `--set KEY=VALUE`;
2. the environment: `BLIPMQ_PORT=5556`; the ten keys marked * also without the prefix (`PORT`), where the prefixed one wins;
3. the file given by `--config FILE`: TOML, `port = 5556`;
4. the defaults below. `tls_cert`, `tls_key` and `api_keys_file` are also found as systemd credentials of these names.

Lists are `a,b` in the environment and `[\"a\", \"b\"]` in the file; bytes are numbers or texts such as `\"64 MiB\"`; times are
milliseconds. An unknown key, a wrong value and an impossible combination are problems wherever they stand, also where a
stronger source overrides them. All are reported at once, with the line of the file or the name of the variable or flag;
the exit code is 2 and nothing is started. `blipmqd --validate-config` does that much and says what would be in force and
what power loss could take.

A reload (SIGHUP, or `blipmq admin reload`) asks the same places again. Keys marked *reload* below take effect; if one marked *restart* changed, it is
named and the whole reload is refused.
";
const TABLE_HEAD: &str = "| key | default | change | form | meaning |\n|---|---|---|---|---|\n";
const ENTRY_HEAD: &str = "| key | form | meaning |\n|---|---|---|\n";
const TOPICS_HEAD: &str = "
## Topics: `[[topic]]`

As many tables as you like, in the file (or `BLIPMQ_TOPIC='[{ pattern = \"a.>\", ttl_ms = 1000 }]'`, which replaces them).
For each setting, the first table that matches the topic and has it counts.

";
const KEYS_HEAD: &str = "
## Keys: `[[key]]` in `api_keys_file`

";
const KEYS_TAIL: &str = "
```toml
[[key]]
name = \"billing\"
hash = \"sha256:...\"        # from: blipmq key hash
publish = [\"invoices.>\"]
subscribe = [\"orders.*\"]
```

Keys are compared in constant time, as digests; the broker keeps none in plain, and none is ever logged or shown. The hash is
one round of salted SHA-256: right for keys of full chance, as `blipmq key new` makes them, and no protection for words.
A subscription is allowed if one pattern of `subscribe` covers everything it can match.
";

fn row<T>(key: &Key<T>, between: &[&str]) -> String {
    let cost = if key.cost.is_empty() { String::new() } else { format!(" *{}*", plain(key.cost)) };
    let mut cells = vec![format!("`{}`{}", key.name, if key.original { " *" } else { "" })];
    cells.extend(between.iter().map(|cell| cell.to_string()));
    cells.extend([plain(&key.form.describe()), format!("{}{cost}", plain(key.meaning))]);
    format!("| {} |\n", cells.join(" | "))
}

/// Text in which Markdown finds nothing.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        if "|<[]*_`".contains(letter) {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

/// The last part of `blipmqd --help`: every key.
pub fn help() -> String {
    let mut out = String::from("Keys (in the file, as BLIPMQ_<KEY>, or by --set KEY=VALUE):\n");
    let config = Config::default();
    for section in KEYS {
        let _ = write!(out, "\n  {}:\n", section.title);
        for key in section.keys {
            let _ = writeln!(out, "    {} = {}", key.name, key.show(&config));
            for line in wrapped(key.meaning, WIDTH - 8) {
                let _ = writeln!(out, "        {line}");
            }
        }
    }
    let _ = write!(out, "\n  Tables: [[{TOPIC}]] in the file, [[{KEY}]] in api_keys_file; see the manual.\n");
    out + EXIT_CODES
}

const EXIT_CODES: &str = "
Exit codes:
  0 ended well
  1 unexpected
  2 configuration: every problem is named, nothing was started
  3 machine: io_uring, memlock, open files, cores
  4 data directory: locked, not writable, unsupported or damaged
  5 address in use
  6 the log failed while running
  7 panic
";

/// What is in force: the keys that have a flag, and whatever differs from its default.
pub fn report(config: &Config) -> String {
    let default = Config::default();
    let mut out = format!("loss window: {}\n", config.describe_loss_window());
    for key in keys().filter(|key| key.flag || key.show(config) != key.show(&default)) {
        let _ = writeln!(out, "{} = {}", key.name, key.show(config));
    }
    for rule in config.topics.rules.iter() {
        let _ = writeln!(out, "[[{TOPIC}]] {}", rule.pattern);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::raw::Raw;
    use crate::config::resolve::resolve;

    /// Run with `REWRITE=1` to write the files anew.
    fn kept_true(path: &str, text: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        if std::env::var_os("REWRITE").is_some() {
            std::fs::write(&path, text).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == text, "{} is not what the table says: REWRITE=1 cargo test config::document", path.display());
    }

    #[test]
    fn the_example_file_is_what_the_table_says() {
        kept_true("src/config/example.toml", &example());
    }

    #[test]
    fn the_manual_page_is_what_the_table_says() {
        kept_true("src/manual/configuration.md", &manual_page());
    }

    #[test]
    fn the_example_file_is_the_defaults_and_has_every_key() {
        let (raw, problems) = Raw::from_toml(&example(), Path::new("example.toml"), TOPIC);
        assert_eq!(problems, []);
        let said: Vec<&str> = raw.said.iter().map(|said| said.name.as_str()).collect();
        assert_eq!(said, keys().map(|key| key.name).collect::<Vec<_>>());
        let resolved = resolve(vec![raw]);
        assert_eq!(resolved.problems, []);
        assert_eq!(resolved.config, Config::default());
    }

    #[test]
    fn the_topic_table_of_the_example_can_be_uncommented() {
        let start = example().find("# [[topic]]").unwrap();
        let text = example()[start..].replace("# ", "");
        let (raw, _) = Raw::from_toml(&text, Path::new("example.toml"), TOPIC);
        let resolved = resolve(vec![raw]);
        assert_eq!(resolved.problems, []);
        assert_eq!(resolved.config.topics.rules.len(), 1);
    }

    #[test]
    fn help_has_every_key_and_every_exit_code() {
        let help = help();
        assert!(keys().all(|key| help.contains(&format!("    {} = ", key.name))));
        assert!((0..=7).all(|code| help.contains(&format!(" {code} "))));
    }

    #[test]
    fn the_report_says_what_is_unusual_and_what_can_be_lost() {
        let config = Config { wal: true, max_retries: 7, ..Config::default() };
        let report = report(&config);
        assert!(report.starts_with("loss window: fsync_policy = \"every_n:64\""));
        assert!(report.contains("port = 5555\n") && report.contains("max_retries = 7\n"));
        assert!(!report.contains("retry_backoff_ms"), "{report}");
    }
}
