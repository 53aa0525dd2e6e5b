//! Who may: what each key allows, what is said to the others, and what is never said to anybody.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use blipmq::client::{ClientError, PublishOptions, SubscribeOptions};
use blipmq::model::Qos;
use blipmq::protocol::native::command;

use crate::support::broker::KEY;
use crate::support::{Broker, Wire, Workspace, eventually};

const RULES: &str = r#"
[[key]]
name = "publisher"
key = "p"
publish = ["in.*"]

[[key]]
name = "subscriber"
key = "s"
subscribe = ["out.>"]

[[key]]
name = "operator"
key = "o"
admin = true
"#;

fn broker(keys: &str, more: &str) -> (Workspace, Broker) {
    let workspace = Workspace::new();
    let file = workspace.write("keys.toml", keys);
    let broker = workspace.start(&format!("wal = \"off\"\napi_keys_file = {file:?}\n{more}"));
    (workspace, broker)
}

fn open(broker: &Broker, version: u16, key: &str) -> Wire {
    let mut wire = broker.wire();
    wire.shake_hands(version, key);
    wire
}

#[test]
fn version_1_is_denied_what_its_key_does_not_name() {
    let (_workspace, broker) = broker(RULES, "");
    let publish = |out: &mut bytes::BytesMut, id, topic: &[u8]| command::publish(out, id, Qos::AtMostOnce, topic, b"x");
    // Version 1 has no word for 403.
    let mut publisher = open(&broker, 1, "p");
    publisher.say(|out| {
        publish(out, 3, b"in.a");
        publish(out, 4, b"in.a.b");
        publish(out, 5, b"out.a");
        command::subscribe(out, 6, b"in.a", Qos::AtMostOnce);
    });
    [4, 5, 6].into_iter().for_each(|id| publisher.expect_nack(id, 401));
    publisher.expect_silence();
    let mut subscriber = open(&broker, 1, "s");
    subscriber.say(|out| {
        command::subscribe(out, 3, b"out.a.b", Qos::AtLeastOnce);
        command::subscribe(out, 4, b"out", Qos::AtLeastOnce);
        command::subscribe(out, 5, b"in.a", Qos::AtMostOnce);
        publish(out, 6, b"out.a");
    });
    assert_eq!((subscriber.frame().correlation, subscriber.frame_is_nack(4)), (3, 401));
    [5, 6].into_iter().for_each(|id| subscriber.expect_nack(id, 401));
    let mut operator = open(&broker, 1, "o");
    operator.say(|out| {
        publish(out, 3, b"in.a");
        command::subscribe(out, 4, b"out.a", Qos::AtMostOnce);
    });
    [3, 4].into_iter().for_each(|id| operator.expect_nack(id, 401));
    broker.until_metric("blipmq_refused_total{reason=\"forbidden\"}", |count| count >= 8.0);
}

#[test]
fn version_2_is_denied_what_its_key_does_not_name() {
    let (_workspace, broker) = broker(RULES, "");
    let mut publisher = open(&broker, 2, "p");
    publisher.say(|out| {
        command::alias(out, 3, 0, b"in.a");
        command::alias(out, 4, 1, b"out.a");
        command::subscribe_with(out, 5, &SubscribeOptions::new("in.a").said());
        command::subscribe_with(out, 6, &SubscribeOptions::new(">").said());
    });
    assert_eq!(publisher.frame().kind, 0x12);
    [4, 5, 6].into_iter().for_each(|id| publisher.expect_nack(id, 403));
    let mut subscriber = open(&broker, 2, "s");
    subscriber.say(|out| {
        command::alias(out, 3, 0, b"out.a");
        command::subscribe_with(out, 4, &SubscribeOptions::new("*.a").said());
        command::subscribe_with(out, 5, &SubscribeOptions::new("out.*").said());
    });
    subscriber.expect_nack(3, 403);
    subscriber.expect_nack(4, 403);
    assert_eq!(subscriber.frame().correlation, 5);
}

#[test]
fn a_subscriber_may_not_publish_by_way_of_dead_letters() {
    let (_workspace, broker) = broker(RULES, "");
    let options = |dead: &str| SubscribeOptions::new("out.a").at_least_once().dead_letter(dead);
    let mut subscriber = open(&broker, 2, "s");
    subscriber.say(|out| command::subscribe_with(out, 3, &options("in.a").said()));
    subscriber.expect_nack(3, 403);
    let mut both = open(&broker, 2, KEY);
    both.say(|out| command::subscribe_with(out, 3, &options("in.a").said()));
    assert_eq!(both.frame().correlation, 3);
}

#[test]
fn a_key_sees_only_the_topics_that_it_has_to_do_with() {
    for cores in [1, 2] {
        let (_workspace, broker) = broker(RULES, &format!("cores = {cores}"));
        let all = broker.client();
        let topics = ["in.a", "in.b", "out.a", "other"];
        for topic in topics {
            all.publish(topic, b"x", &PublishOptions::at_least_once()).unwrap();
        }
        let seen = |key: &str| {
            let client = blipmq::client::blocking::Client::connect(&broker.options().api_key(key)).unwrap();
            let text = client.query(blipmq::protocol::native::request::What::Topics, 100).unwrap();
            topics.map(|topic| text.contains(&format!("\"{topic}\"")))
        };
        assert_eq!(seen("p"), [true, true, false, false]);
        assert_eq!(seen("s"), [false, false, true, false]);
        assert_eq!((seen("o"), seen(KEY)), ([true; 4], [true; 4]));
    }
}

#[test]
fn only_an_operators_key_administers() {
    let (_workspace, broker) = broker(RULES, "");
    for (key, status) in [("p", 403), ("s", 403), ("o", 200), ("x", 401)] {
        let answer = broker.ask_as(Some(key), "GET", "/api/v1/topics");
        assert_eq!(answer.status, status, "{key}: {answer:?}");
    }
}

#[test]
fn wrong_keys_wait_longer_each_time_and_nobody_waits_for_them() {
    let broker = Broker::in_memory("");
    let other = broker.client();
    let mut wrong: Vec<Wire> = (0..4).map(|_| broker.wire()).collect();
    for wire in &mut wrong {
        wire.say(|out| {
            command::hello(out, 1, 1);
            command::auth(out, 2, "wrong");
            command::auth(out, 3, KEY);
        });
        assert_eq!(wire.frame().kind, 0x05);
    }
    other.ping().unwrap();
    broker.open(1).expect_silence();
    for wire in &mut wrong {
        wire.expect_nack(2, 401);
        wire.expect_end();
    }
    broker.until_metric("blipmq_handshake_failures_total{reason=\"wrong_key\"}", |count| count >= 4.0);
    let log = broker.log();
    let said = |count: &str| log.contains(&format!("from 127.0.0.1: invalid API key ({count} from there of late)"));
    assert!(said("1") && said("2") && !said("3") && said("4"), "{log}");
}

/// Everything that may be shown of a broker that was given secrets in every way there is.
#[test]
fn no_secret_is_ever_shown() {
    const SECRETS: [&str; 5] = ["hunter2-file", "hunter2-toml", "hunter2-env", "hunter2-wrong", "hunter2-hashed"];
    let workspace = Workspace::new();
    let hashed = blipmq::auth::Hashed::of(&blipmq::auth::Secret::new(b"hunter2-hashed").unwrap(), [7; 16]);
    let keys =
        format!("[[key]]\nname = \"file\"\nkey = \"hunter2-file\"\n[[key]]\nname = \"hashed\"\nhash = \"{hashed}\"\n");
    let credentials = workspace.path().join("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::write(credentials.join("api_keys_file"), keys).unwrap();
    let config = workspace.configure("wal = \"off\"\nallowed_api_keys = [\"hunter2-toml\"]\nlog_level = \"trace\"");
    let mut command = workspace.daemon();
    command.arg("--config").arg(config).env("CREDENTIALS_DIRECTORY", &credentials);
    command.env("BLIPMQ_ALLOWED_API_KEYS", "hunter2-env,secret");
    let broker = workspace.spawn(command).expect("it starts");
    // The environment is stronger than the file: its keys replace those of the file's list.
    for key in ["hunter2-file", "hunter2-env", "hunter2-hashed"] {
        open(&broker, 2, key).expect_silence();
        assert_eq!(broker.ask_as(Some(key), "GET", "/api/v1/topics").status, 200);
    }
    let mut wrong = broker.wire();
    wrong.say(|out| {
        command::hello(out, 1, 2);
        command::auth(out, 2, "hunter2-wrong");
    });
    wrong.until_end();
    assert_eq!(broker.ask_as(Some("hunter2-wrong"), "GET", "/api/v1/topics").status, 401);
    workspace.configure("wal = \"off\"\nallowed_api_keys = [\"hunter2-toml\", 5]\nallowed_keys = \"hunter2-toml\"");
    let refused = broker.command(&["admin", "reload"], "");
    assert_eq!(refused.status.code(), Some(1));
    let mut shown = broker.log() + &broker.lines.join("\n") + &text(&refused);
    for path in ["/metrics", "/health", "/api/v1/connections", "/api/v1/topics", "/debug/shards", "/debug/pending"] {
        shown += &broker.ask_as(Some("hunter2-env"), "GET", path).text;
    }
    shown += &fs::read_to_string(format!("/proc/{}/cmdline", broker.pid())).unwrap();
    assert!(shown.contains("TRACE") || shown.contains("DEBUG"), "the log tells everything: {shown}");
    for secret in SECRETS {
        assert!(!shown.contains(secret), "{secret} is shown: {shown}");
    }
    let digest = hashed.to_string();
    assert!(!shown.contains(digest.rsplit(':').next().unwrap()), "{shown}");
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_key_is_made_put_into_the_file_withdrawn_and_gone_after_a_reload() {
    let (workspace, broker) = broker("# kept\n[[key]]\nname = \"old\"\nkey = \"old\"\n", "");
    let file = workspace.path().join("keys.toml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let path = file.to_str().unwrap();
    let run = |words: &[&str]| broker.command(words, "");
    let made = run(&["key", "new", "--name", "app", "--file", path, "--publish", "a.>", "--subscribe", "b"]);
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    let key = String::from_utf8(made.stdout.clone()).unwrap().lines().next().unwrap().to_owned();
    assert!(text(&made).contains("blipmq admin reload"), "{made:?}");
    let kept = fs::read_to_string(&file).unwrap();
    assert!(kept.starts_with("# kept\n") && !kept.contains(&key) && kept.contains("sha256:"), "{kept}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(run(&["admin", "reload"]).status.code(), Some(0));
    let mut wire = open(&broker, 2, &key);
    wire.say(|out| {
        command::alias(out, 3, 0, b"a.x");
        command::alias(out, 4, 1, b"b");
    });
    assert_eq!(wire.frame().kind, 0x12);
    wire.expect_nack(4, 403);
    let again = run(&["key", "new", "--name", "app", "--file", path]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    let revoked = run(&["key", "revoke", "app", "--file", path]);
    assert_eq!(revoked.status.code(), Some(0), "{revoked:?}");
    assert!(text(&revoked).contains("blipmq admin reload"), "{revoked:?}");
    wire.expect_silence();
    assert_eq!(run(&["admin", "reload"]).status.code(), Some(0));
    wire.until_end();
    let left = fs::read_to_string(&file).unwrap();
    assert!(left.contains("# kept") && left.contains("\"old\"") && !left.contains("app"), "{left}");
    let unknown = run(&["key", "revoke", "nobody", "--file", path]);
    assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
    open(&broker, 1, "old").expect_silence();
}

#[test]
fn a_refusal_says_who_was_refused_and_the_client_hears_403() {
    let (_workspace, broker) = broker(RULES, "");
    let client = blipmq::client::blocking::Client::connect(&broker.options().api_key("p")).unwrap();
    let Err(ClientError::Refused { code, text }) = client.publish("x", b"", &PublishOptions::default()) else {
        panic!("it may")
    };
    assert_eq!((code, text.as_str()), (403, "this key may not publish to x"));
    eventually("it is counted", || (broker.metric("blipmq_refused_total{reason=\"forbidden\"}") == 1.0).then_some(()));
}
