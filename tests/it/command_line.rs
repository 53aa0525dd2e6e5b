//! `blipmq` against a running broker: what it prints, and its exit codes.

use std::io::{BufRead, BufReader, Read};
use std::process::Output;

use serde_json::Value;

use crate::support::{Broker, eventually};

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

/// Ended well; gives what was printed.
#[track_caller]
fn done(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

#[track_caller]
fn objects(output: &Output) -> Vec<Value> {
    done(output).lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

#[test]
fn what_is_published_is_printed_by_a_subscriber() {
    let broker = Broker::in_memory("");
    let mut subscriber = broker.command_spawned(&["sub", "demo", "--count", "3"]);
    eventually("it subscribes", || (!broker.subscriptions("demo").is_empty()).then_some(()));
    let said = done(&broker.command(&["pub", "demo", "hello"], ""));
    assert!(said.contains("published 1 to demo"), "{said}");
    done(&broker.command(&["pub", "demo", "-"], "from a pipe"));
    done(&broker.command(&["pub", "demo", "--qos", "0", "last"], ""));
    let mut printed = String::new();
    subscriber.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    assert_eq!(printed, "hello\nfrom a pipe\nlast\n");
    assert!(subscriber.wait().unwrap().success());
}

#[test]
fn lines_become_messages_in_their_order() {
    let broker = Broker::in_memory("");
    done(&broker.command(&["sub", "lines", "--name", "d", "--timeout", "1ms"], ""));
    let lines: String = (0..1000).map(|nth| format!("line {nth}\n")).collect();
    let said = done(&broker.command(&["pub", "lines", "--lines"], &lines));
    assert!(said.contains("published 1000 to lines"), "{said}");
    let printed = done(&broker.command(&["sub", "lines", "--name", "d", "--count", "1000"], ""));
    assert_eq!(printed, lines);
    broker.until_subscription("lines", "settled_to", 1000);
}

#[test]
fn what_is_not_acknowledged_comes_again_and_what_is_does_not() {
    let broker = Broker::in_memory("");
    done(&broker.command(&["sub", "work", "--name", "d", "--timeout", "1ms"], ""));
    done(&broker.command(&["pub", "work", "--lines"], "one\ntwo\nthree\n"));
    let sub = |words: &[&str]| {
        let all = [&["sub", "work", "--name", "d"], words].concat();
        done(&broker.command(&all, ""))
    };
    assert_eq!(sub(&["--count", "2", "--no-ack"]), "one\ntwo\n");
    assert_eq!(sub(&["--count", "2"]), "one\ntwo\n");
    assert_eq!(sub(&["--count", "1"]), "three\n");
}

#[test]
fn json_is_one_object_a_line() {
    let broker = Broker::in_memory("");
    done(&broker.command(&["sub", "j.a", "--name", "d", "--timeout", "1ms"], ""));
    let published = objects(&broker.command(&["pub", "j.a", "hi", "--key", "k", "--header", "a=b", "--json"], ""));
    assert_eq!(published.len(), 1);
    let messages = objects(&broker.command(&["sub", "j.a", "--name", "d", "--count", "1", "--json"], ""));
    let message = &messages[0];
    assert_eq!((&message["topic"], &message["value"], &message["key"]), (&"j.a".into(), &"hi".into(), &"k".into()));
    assert_eq!((&message["offset"], &message["qos"], &message["attempt"]), (&0.into(), &1.into(), &1.into()));
    let topics = objects(&broker.command(&["topics", "--json"], ""));
    assert_eq!((&topics[0]["topic"], &topics[0]["published"]), (&"j.a".into(), &1.into()));
    let subs = objects(&broker.command(&["subs", "--json"], ""));
    assert_eq!((&subs[0]["name"], &subs[0]["durability"]), (&"d".into(), &"durable".into()));
    let pings = objects(&broker.command(&["ping", "--count", "3", "--interval", "1ms", "--json"], ""));
    assert_eq!(pings.len(), 3);
    assert!(pings.iter().all(|ping| ping["us"].is_u64()));
}

#[test]
fn topics_and_subscriptions_are_tables_for_people() {
    let broker = Broker::in_memory("");
    done(&broker.command(&["sub", "a.b", "--name", "mine", "--timeout", "1ms"], ""));
    let topics = done(&broker.command(&["topics"], ""));
    assert!(
        topics.starts_with("TOPIC") && topics.lines().nth(1).is_some_and(|row| row.starts_with("a.b ")),
        "{topics}"
    );
    let subs = done(&broker.command(&["subs"], ""));
    assert!(subs.lines().nth(1).is_some_and(|row| row.contains("mine") && row.contains("exclusive")), "{subs}");
    assert!(done(&broker.command(&["ping"], "")).starts_with("pong from "));
}

#[test]
fn a_list_that_may_go_on_says_so() {
    let broker = Broker::in_memory("");
    for topic in ["a.b", "a.c"] {
        done(&broker.command(&["sub", topic, "--name", "mine", "--timeout", "1ms"], ""));
    }
    let whole = broker.command(&["topics", "--limit", "3"], "");
    assert!(whole.status.success() && whole.stderr.is_empty(), "{whole:?}");
    let part = broker.command(&["topics", "--limit", "2"], "");
    assert_eq!(done(&part).lines().count(), 3, "a heading, and two");
    assert!(String::from_utf8_lossy(&part.stderr).contains("--limit"), "{part:?}");
}

#[test]
fn a_subscriber_that_waits_prints_messages_as_they_come() {
    let broker = Broker::in_memory("");
    let mut subscriber = broker.command_spawned(&["sub", "live.>", "-v"]);
    let mut printed = BufReader::new(subscriber.stdout.take().unwrap());
    eventually("it subscribes", || {
        broker.command(&["pub", "live.a", "hello"], "");
        (!broker.subscriptions("live.a").is_empty()).then_some(())
    });
    broker.command(&["pub", "live.a", "hello"], "");
    let mut line = String::new();
    printed.read_line(&mut line).unwrap();
    assert!(line.starts_with("live.a\t0\t") && line.ends_with("\thello\n"), "{line}");
    subscriber.kill().unwrap();
    subscriber.wait().unwrap();
}

#[test]
fn each_way_to_fail_has_its_exit_code() {
    let broker = Broker::in_memory("");
    let code = |words: &[&str]| broker.command(words, "").status.code().unwrap();
    assert_eq!(code(&["pub", "a.*", "hi"]), 1, "refused");
    assert_eq!(code(&["publish"]), 2, "wrong arguments");
    assert_eq!(code(&["ping", "--addr", "127.0.0.1:1"]), 3, "nobody there");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "wrong").unwrap();
    assert_eq!(code(&["ping", "--key-file", file.path().to_str().unwrap()]), 4, "wrong key");
    assert_eq!(code(&["ping", "--key-file", "/nowhere"]), 4, "no key");
    assert_eq!(code(&["sub", "quiet", "--count", "1", "--timeout", "1ms"]), 5, "too few in time");
}

#[test]
fn a_subscriber_of_a_broker_that_ends_ends_with_exit_code_3() {
    let broker = Broker::in_memory("");
    let mut subscriber = broker.command_spawned(&["sub", "demo"]);
    eventually("it subscribes", || (!broker.subscriptions("demo").is_empty()).then_some(()));
    broker.stop();
    assert_eq!(subscriber.wait().unwrap().code(), Some(3));
}

#[test]
fn the_key_that_a_broker_made_is_found_in_its_directory() {
    let workspace = crate::support::Workspace::new();
    let broker = workspace.start("wal = \"off\"\nallowed_api_keys = []");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_blipmq"));
    command.env_clear().args(["ping", "--addr", &broker.address.to_string(), "--data-dir"]).arg(workspace.data());
    done(&command.output().unwrap());
}

#[test]
fn start_positions_are_words_offsets_and_times() {
    let broker = Broker::in_memory("");
    done(&broker.command(&["sub", "from", "--name", "keeper", "--timeout", "1ms"], ""));
    done(&broker.command(&["pub", "from", "--lines"], "zero\none\ntwo\n"));
    let from = |start: &str| done(&broker.command(&["sub", "from", "--from", start, "--count", "1"], ""));
    assert_eq!(from("earliest"), "zero\n");
    assert_eq!(from("2"), "two\n");
    assert_eq!(from("-1h"), "zero\n");
}
