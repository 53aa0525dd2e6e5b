//! The source polices itself: imports go downward, pure rooms stay pure, files stay short, nothing is left undone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What each room may import, beside itself. `manual` is prose; `runtime` and the binaries may import everything.
const IMPORTS: &[(&str, &[&str])] = &[
    ("manual", &[]),
    ("model", &[]),
    ("auth", &["model"]),
    ("config", &["model", "auth"]),
    ("protocol", &["model", "auth"]),
    ("broker", &["model"]),
    ("wal", &["model"]),
    ("shard", &["model", "config", "auth", "protocol", "broker", "wal"]),
    ("admin", &["model", "config", "auth", "protocol", "wal", "shard"]),
    ("client", &["model", "protocol"]),
    ("bench", &["model", "protocol", "client"]),
    ("torture", &["model", "protocol", "wal", "client", "bench"]),
    ("sim", &["model", "config", "auth", "protocol", "broker", "wal", "shard", "admin", "client"]),
    ("runtime", &["model", "config", "auth", "protocol", "broker", "wal", "shard", "admin", "client"]),
    (
        "bin",
        &[
            "model", "config", "auth", "protocol", "broker", "wal", "shard", "admin", "runtime", "client", "bench",
            "sim", "torture",
        ],
    ),
];

/// Rooms and files that open nothing, read no clock and start no thread: they are told, and asked.
const PURE: &[&str] = &[
    "model",
    "auth",
    "config",
    "protocol",
    "broker",
    "wal",
    "shard",
    "admin",
    "sim",
    "client/credit.rs",
    "client/delivery.rs",
    "client/error.rs",
    "client/frames.rs",
    "client/heard.rs",
    "client/options.rs",
    "client/outbox.rs",
    "client/producer.rs",
    "client/session.rs",
];

/// What a pure room may not name.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::thread",
    "std::env",
    "std::process",
    "std::os",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::net::ToSocketAddrs",
    "glommio",
    "nix",
    "libc",
    "socket2",
    "tokio",
    "getrandom",
    "core_affinity",
];

/// The one file in a pure room that reads what the operator wrote.
const READS_FILES: &[&str] = &["config/load.rs"];

const TOP_LEVEL: &[&str] = &[
    ".ci",
    ".gitignore",
    "Cargo.lock",
    "Cargo.toml",
    "HARDWARE.md",
    "LICENSE",
    "README.md",
    "benches",
    "perf",
    "rustfmt.toml",
    "src",
    "tests",
    "tuning",
];

const LINES_MAX: usize = 800;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of Rust, its path relative to `src` or to the root.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// Without comments and what stands in quotes, and without the tests at its end.
    fn code(&self) -> String {
        let tests = self.text.find("#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        let lines = self.text[..tests].lines().filter(|line| !line.trim_start().starts_with("//"));
        let code = lines.map(|line| line.split(" // ").next().unwrap_or(line)).collect::<Vec<_>>().join("\n");
        let code = code.replace("'\"'", "' '").replace("\\\"", " ");
        code.split('"').step_by(2).collect::<Vec<_>>().join(" ")
    }

    fn room(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }
}

fn files_under(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("a folder of ours can be read").path();
        if path.is_dir() {
            found.extend(files_under(&path, extension));
        } else if path.extension().is_some_and(|its| its == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn sources(folder: &str) -> Vec<Source> {
    let base = root().join(folder);
    let read = |path: PathBuf| Source {
        path: path.strip_prefix(&base).expect("found in it").to_str().expect("our names are text").to_owned(),
        text: fs::read_to_string(&path).expect("sources are text"),
    };
    files_under(&base, "rs").into_iter().map(read).collect()
}

/// The rooms' sources: everything in `src` that is in a folder.
fn rooms() -> Vec<Source> {
    sources("src").into_iter().filter(|source| source.path.contains('/')).collect()
}

/// Modules that exist only for tests, as their parents declare them.
fn test_modules() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for source in sources("src") {
        let folder = source.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for declared in source.text.split("#[cfg(test)]\n").skip(1) {
            let declared = declared.trim_start_matches("pub(crate) ").trim_start_matches("pub ");
            if let Some(name) =
                declared.strip_prefix("mod ").and_then(|rest| rest.split_once(';')).map(|(name, _)| name)
            {
                found.insert(format!("{folder}/{name}.rs"));
                found.insert(format!("{folder}/{name}/"));
            }
        }
    }
    found
}

fn is_test(source: &Source, tests: &BTreeSet<String>) -> bool {
    tests.iter().any(|test| source.path == *test || (test.ends_with('/') && source.path.starts_with(test)))
}

/// Every path that the code names, with the braces of `use` written out: `a::{b, c::{d, e}}` is `a::b`, `a::c::d`,
/// `a::c::e`.
fn paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find(|sign: char| sign.is_alphabetic() || sign == '_') {
        rest = &rest[at..];
        rest = path(rest, "", &mut found);
    }
    found
}

/// Reads one path, and what is in its braces; returns what follows it.
fn path<'a>(text: &'a str, prefix: &str, found: &mut Vec<String>) -> &'a str {
    let end = text.find(|sign: char| !(sign.is_alphanumeric() || sign == '_' || sign == ':')).unwrap_or(text.len());
    let (here, rest) = text.split_at(end);
    let whole = format!("{prefix}{here}");
    let Some(mut inside) = rest.strip_prefix('{').filter(|_| here.ends_with("::")) else {
        found.push(whole);
        return rest;
    };
    loop {
        inside = inside.trim_start_matches([' ', '\n', ',']);
        match inside.chars().next() {
            Some(sign) if sign.is_alphabetic() || sign == '_' => inside = path(inside, &whole, found),
            Some('}') => return &inside[1..],
            Some(sign) => inside = &inside[sign.len_utf8()..],
            None => return inside,
        }
    }
}

#[test]
fn imports_go_downward() {
    let tests = test_modules();
    let mut wrong = Vec::new();
    for source in rooms() {
        let room = source.room();
        let allowed = IMPORTS.iter().find(|(name, _)| *name == room);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("src/{room} is not in the table of rooms"));
        for named in paths(&source.code()) {
            let other = named.strip_prefix("crate::").or_else(|| named.strip_prefix("blipmq::"));
            let Some(other) = other.and_then(|path| path.split("::").next()) else { continue };
            let is_room = IMPORTS.iter().any(|(name, _)| *name == other);
            if is_room && other != room && !allowed.contains(&other) && !is_test(&source, &tests) {
                wrong.push(format!("src/{} names {named}: {room} may not import {other}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_rooms_open_nothing_and_read_no_clock() {
    let tests = test_modules();
    let mut wrong = Vec::new();
    for source in rooms() {
        let pure = PURE.iter().any(|pure| source.path == *pure || source.room() == *pure);
        if !pure || READS_FILES.contains(&source.path.as_str()) || is_test(&source, &tests) {
            continue;
        }
        for named in paths(&source.code()) {
            let is_impure = |impure: &&&str| named == **impure || named.starts_with(&format!("{impure}::"));
            if let Some(impure) = IMPURE.iter().find(is_impure) {
                wrong.push(format!("src/{} names {impure}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_runtime_is_unsafe() {
    for source in sources("src").into_iter().filter(|source| source.room() != "runtime") {
        let named = paths(&source.code());
        assert!(!named.iter().any(|word| word == "unsafe"), "src/{} is unsafe", source.path);
    }
}

#[test]
fn nothing_is_left_undone() {
    // Spelt in two parts, so that this file may say them.
    let marks =
        [["to", "do!("], ["unimple", "mented!("], ["db", "g!("], ["FIX", "ME"], ["XX", "X"]].map(|mark| mark.concat());
    for folder in ["src", "tests", "benches", "tuning", "perf", ".ci"] {
        for extension in ["rs", "md", "sh", "toml", "conf", "service"] {
            for path in files_under(&root().join(folder), extension) {
                let text = fs::read_to_string(&path).expect("our files are text");
                for mark in &marks {
                    assert!(!text.contains(mark), "{} says {mark}", path.display());
                }
            }
        }
    }
}

#[test]
fn files_are_short_and_say_what_they_are_about() {
    for folder in ["src", "tests", "benches"] {
        for source in sources(folder) {
            let lines = source.text.lines().count();
            assert!(lines <= LINES_MAX, "{folder}/{} has {lines} lines: it is two ideas", source.path);
            assert!(source.text.starts_with("//! "), "{folder}/{} does not say what it is about", source.path);
        }
    }
}

#[test]
fn the_top_level_holds_what_it_should_and_nothing_else() {
    let ignored = fs::read_to_string(root().join(".gitignore")).unwrap_or_default();
    let ignored: Vec<&str> = ignored.lines().map(|line| line.trim_matches('/')).collect();
    for entry in fs::read_dir(root()).expect("the root can be read") {
        let name = entry.expect("the root can be read").file_name().into_string().expect("our names are text");
        let known = name == ".git" || TOP_LEVEL.contains(&name.as_str()) || ignored.contains(&name.as_str());
        assert!(known, "{name} has no place at the top level");
    }
}

#[test]
fn braces_of_imports_are_written_out() {
    let code = "use std::{fs, net::{IpAddr, TcpStream}, time::Instant as Now};\nlet x = crate::a::b(c::D);";
    let found = paths(code);
    for wanted in ["std::fs", "std::net::IpAddr", "std::net::TcpStream", "std::time::Instant", "crate::a::b", "c::D"] {
        assert!(found.iter().any(|path| path == wanted), "{wanted} is not in {found:?}");
    }
}
