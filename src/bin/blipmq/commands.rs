//! Which commands there are.

mod admin;
mod backup;
mod bench;
mod checklist;
mod connect;
mod copy;
mod duration;
mod failure;
#[cfg(test)]
mod fake_broker;
mod http;
mod key;
mod key_place;
mod list;
mod message;
mod output;
mod ping;
mod publish;
mod restore;
mod start;
mod subscribe;
mod table;
mod top;
mod torture;
mod wal;

use std::io::stdout;
use std::process::ExitCode;

use blipmq::protocol::native::request::What;
use clap::{Parser, Subcommand};

use failure::Failure;
use output::Output;

/// Talks to a BlipMQ broker.
#[derive(Parser)]
#[command(name = "blipmq", version, after_help = failure::EXIT_CODES)]
struct Arguments {
    /// Write JSON, one object a line
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Pub(publish::Arguments),
    Sub(subscribe::Arguments),
    /// List topics
    Topics(list::Arguments),
    /// List subscriptions
    Subs(list::Arguments),
    Ping(ping::Arguments),
    Wal(wal::Arguments),
    Backup(backup::Arguments),
    Checklist(checklist::Arguments),
    Restore(restore::Arguments),
    Key(key::Arguments),
    Admin(admin::Arguments),
    Top(top::Arguments),
    Bench(Box<bench::Arguments>),
    Torture(torture::Arguments),
}

pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut output = Output::new(arguments.json, Box::new(stdout()));
    let done = run(arguments.command, &mut output).and_then(|()| output.flush());
    match done {
        Ok(()) | Err(Failure::ReaderGone) => ExitCode::SUCCESS,
        Err(failure) => {
            // What was written before the failure is still wanted.
            let _ = output.flush();
            eprintln!("blipmq: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(command: Command, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Pub(arguments) => publish::run(&arguments, output),
        Command::Sub(arguments) => subscribe::run(&arguments, output),
        Command::Topics(arguments) => list::run(What::Topics, &arguments, output),
        Command::Subs(arguments) => list::run(What::Subscriptions, &arguments, output),
        Command::Ping(arguments) => ping::run(&arguments, output),
        Command::Wal(arguments) => wal::run(&arguments, output),
        Command::Backup(arguments) => backup::run(&arguments, output),
        Command::Checklist(arguments) => checklist::run(&arguments, output),
        Command::Restore(arguments) => restore::run(&arguments, output),
        Command::Key(arguments) => key::run(&arguments, output),
        Command::Admin(arguments) => admin::run(&arguments, output),
        Command::Top(arguments) => top::run(&arguments, output),
        Command::Bench(arguments) => bench::run(&arguments, output),
        Command::Torture(arguments) => torture::run(&arguments, output),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind, Write};
    use std::sync::{Arc, Mutex};

    use clap::CommandFactory;

    use super::fake_broker::{FakeBroker, KEY};
    use super::*;

    /// A reader that goes away after so many bytes.
    #[derive(Clone)]
    struct Reader {
        got: Arc<Mutex<Vec<u8>>>,
        most: usize,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
            let mut got = self.got.lock().unwrap();
            if got.len() + bytes.len() > self.most {
                return Err(ErrorKind::BrokenPipe.into());
            }
            got.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> Result<(), Error> {
            Ok(())
        }
    }

    /// What a command wrote and its exit code, against `broker`, for a reader that takes `most` bytes.
    fn command_for(broker: &FakeBroker, key: &str, most: usize, words: &[&str]) -> (String, u8) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), key).unwrap();
        let common = ["--addr", broker.addr(), "--key-file", file.path().to_str().unwrap()];
        let arguments = Arguments::parse_from(["blipmq"].iter().chain(words).chain(&common));
        let reader = Reader { got: Arc::default(), most };
        let mut output = Output::new(arguments.json, Box::new(reader.clone()));
        let done = run(arguments.command, &mut output).and_then(|()| output.flush());
        let code = done.map_or_else(|failure| failure.exit_code(), |()| 0);
        let text = String::from_utf8(reader.got.lock().unwrap().clone()).unwrap();
        (text, code)
    }

    fn command(broker: &FakeBroker, words: &[&str]) -> (String, u8) {
        command_for(broker, KEY, usize::MAX, words)
    }

    #[test]
    fn the_arguments_of_all_commands_are_consistent() {
        super::Arguments::command().debug_assert();
    }

    #[test]
    fn a_message_goes_in_and_comes_out() {
        let broker = FakeBroker::start(&[]);
        let (said, code) = command(&broker, &["pub", "demo", "hi", "--key", "k", "--header", "a=b", "--ttl", "5s"]);
        assert_eq!((said.as_str(), code), ("published 1 to demo, last offset 0, synced\n", 0));
        let (said, code) = command(&broker, &["sub", "demo", "--from", "earliest", "--count", "1", "--json"]);
        let message: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!((message["value"].as_str(), message["key"].as_str(), code), (Some("hi"), Some("k"), 0));
        assert_eq!(message["headers"][0], serde_json::json!({ "name": "a", "value": "b" }));
    }

    #[test]
    fn no_more_is_acknowledged_than_was_asked_for() {
        let broker = FakeBroker::start(&["one", "two", "three"]);
        let (said, code) = command(&broker, &["sub", "demo", "--from", "earliest", "--count", "2"]);
        assert_eq!((said.as_str(), code), ("one\ntwo\n", 0));
        assert_eq!(broker.settled(), ["0..=1"]);
        assert_eq!(broker.delivered(), 2);
    }

    #[test]
    fn without_acknowledging_nothing_is_settled() {
        let broker = FakeBroker::start(&["one", "two"]);
        let (said, code) = command(&broker, &["sub", "demo", "--from", "0", "--count", "2", "--no-ack", "-v"]);
        assert_eq!((said.as_str(), code), ("demo\t0\t0\tone\ndemo\t0\t1\ttwo\n", 0));
        assert_eq!(broker.settled(), [] as [String; 0]);
    }

    #[test]
    fn a_qos_0_subscription_has_nothing_to_acknowledge() {
        let broker = FakeBroker::start(&["one"]);
        let words = ["sub", "demo", "--from", "earliest", "--qos", "0", "--timeout", "100ms"];
        assert_eq!(command(&broker, &words), ("one\n".into(), 0));
        assert_eq!(broker.settled(), [] as [String; 0]);
    }

    #[test]
    fn too_few_in_time_is_told_apart() {
        let broker = FakeBroker::start(&["one"]);
        let words = ["sub", "demo", "--from", "earliest", "--count", "2", "--timeout", "100ms"];
        assert_eq!(command(&broker, &words), ("one\n".into(), 5));
        assert_eq!(broker.settled(), ["0..=0"]);
        let (_, code) = command(&broker, &["sub", "demo", "--from", "earliest", "--timeout", "100ms"]);
        assert_eq!(code, 0, "without --count, silence is the end");
    }

    #[test]
    fn a_reader_that_has_gone_is_no_failure_and_gets_nothing_acknowledged() {
        let broker = FakeBroker::start(&["one", "two"]);
        let (said, code) = command_for(&broker, KEY, 3, &["sub", "demo", "--from", "earliest"]);
        assert_eq!((said.as_str(), code), ("", 0));
        assert_eq!(broker.settled(), [] as [String; 0]);
    }

    #[test]
    fn lists_are_tables_or_objects() {
        let broker = FakeBroker::start(&[]);
        assert_eq!(command(&broker, &["topics"]), ("TOPIC  NEXT\ndemo   7\n".into(), 0));
        assert_eq!(command(&broker, &["subs", "--json"]), ("{\"next\":7,\"topic\":\"demo\"}\n".into(), 0));
    }

    #[test]
    fn each_failure_has_its_exit_code() {
        let broker = FakeBroker::start(&[]);
        assert_eq!(command_for(&broker, "wrong", 99, &["ping"]).1, 4);
        assert_eq!(command_for(&broker, " ", 99, &["ping"]).1, 4);
        assert_eq!(command(&broker, &["pub", "closed", "x"]).1, 1);
        assert_eq!(command(&broker, &["pub", "a.*", "x"]).1, 1);
        assert_eq!(command(&FakeBroker::gone(), &["ping"]).1, 3);
        let (said, code) = command(&broker, &["ping", "--count", "2", "--interval", "1ms"]);
        assert_eq!((said.lines().count(), code), (2, 0));
    }
}
