//! `blipmq key`: makes API keys and hashes them.

use std::io::{Read, stdin};
use std::path::PathBuf;

use blipmq::auth::{Hashed, Secret, generate};
use clap::{Args, Subcommand};
use serde_json::json;

use super::failure::Failure;
use super::output::Output;

/// Make or hash an API key
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Write a new random key; with --json its hash, too
    New,
    /// Write the salted hash of a key, for `hash = "..."` in api_keys_file. Reads the key from FILE or standard input,
    /// never from the command line, which everybody can read
    Hash {
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

pub fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    match &arguments.action {
        Action::New => new(output),
        Action::Hash { file } => hash(&read(file.as_ref())?, output),
    }
}

fn new(output: &mut Output) -> Result<(), Failure> {
    let key = generate(random()?);
    let hash = Hashed::of(&key, random()?).to_string();
    let text = std::str::from_utf8(key.expose()).expect("generated keys are ASCII");
    output.say(text, &json!({ "key": text, "hash": hash }))
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
