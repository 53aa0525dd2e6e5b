//! `blipmq key`: makes API keys, hashes them, and takes them out of a keys file.

use std::io::{Read, stdin};
use std::path::{Path, PathBuf};

use blipmq::auth::{Hashed, Secret, generate};
use blipmq::config::{Rights, with_key, without_key};
use clap::{Args, Subcommand};
use serde_json::json;

use super::failure::Failure;
use super::key_place::Place;
use super::output::Output;

/// Make, hash or revoke an API key
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Write a new random key; with --json its hash, too; with --file put it, hashed, into a keys file
    New(New),
    /// Write the salted hash of a key, for `hash = "..."` in api_keys_file. Reads the key from FILE or standard input,
    /// never from the command line, which everybody can read
    Hash {
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Take a key out of a keys file. It opens the broker until that reads the file again: blipmq admin reload
    Revoke {
        /// The key's name
        name: String,
        /// The broker's api_keys_file
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
}

#[derive(Args)]
struct New {
    /// The key's name in the file, in logs and in metrics
    #[arg(long, requires = "file")]
    name: Option<String>,
    /// The broker's api_keys_file; made if it is not there
    #[arg(long, value_name = "FILE", requires = "name")]
    file: Option<PathBuf>,
    /// A topic or pattern that it may publish to; may be said again. Without any right said, it may everything
    #[arg(long, value_name = "PATTERN", requires = "file")]
    publish: Vec<String>,
    /// A topic or pattern that it may subscribe to; may be said again
    #[arg(long, value_name = "PATTERN", requires = "file")]
    subscribe: Vec<String>,
    /// It may use the admin API
    #[arg(long, requires = "file")]
    admin: bool,
}

pub fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    match &arguments.action {
        Action::New(new) => make(new, output),
        Action::Hash { file } => hash(&read(file.as_ref())?, output),
        Action::Revoke { name, file } => revoke(name, file, output),
    }
}

fn make(new: &New, output: &mut Output) -> Result<(), Failure> {
    let key = generate(random()?);
    let hashed = Hashed::of(&key, random()?);
    if let Some((name, file)) = new.name.as_ref().zip(new.file.as_ref()) {
        let rights = Rights { publish: new.publish.clone(), subscribe: new.subscribe.clone(), admin: new.admin };
        let place = Place::find(file, true)?;
        place.replace(&with_key(place.text(), name, &hashed, &rights).map_err(in_file(file))?)?;
        to_reload();
    }
    let text = std::str::from_utf8(key.expose()).expect("generated keys are ASCII");
    output.say(text, &json!({ "key": text, "hash": hashed.to_string() }))
}

fn revoke(name: &str, file: &Path, output: &mut Output) -> Result<(), Failure> {
    let place = Place::find(file, false)?;
    place.replace(&without_key(place.text(), name).map_err(in_file(file))?)?;
    to_reload();
    output.say(&format!("{name} is out of {}", file.display()), &json!({ "revoked": name }))
}

fn in_file(file: &Path) -> impl Fn(String) -> Failure {
    let file = file.display().to_string();
    move |error| Failure::Local(format!("{file}: {error}"))
}

/// Beside the output: that may be a key on its way into a file.
fn to_reload() {
    eprintln!("the broker hears of it by: blipmq admin reload");
}

fn hash(key: &Secret, output: &mut Output) -> Result<(), Failure> {
    let hash = Hashed::of(key, random()?).to_string();
    output.say(&hash, &json!({ "hash": hash }))
}

fn read(file: Option<&PathBuf>) -> Result<Secret, Failure> {
    let mut text = String::new();
    match file {
        Some(path) => {
            text = std::fs::read_to_string(path).map_err(|e| Failure::Local(format!("{}: {e}", path.display())))?;
        }
        None => {
            // One byte more than the longest key and its line end tells a longer one apart.
            stdin().take(Secret::MAX as u64 + 3).read_to_string(&mut text)?;
        }
    }
    Secret::from_file_text(&text).map_err(|error| Failure::Key(error.to_string()))
}

fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Failure::Local(format!("no randomness: {error}")))?;
    Ok(bytes)
}
