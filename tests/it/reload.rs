//! The configuration read again while clients are connected: all of it, or nothing.

use std::time::Duration;

use blipmq::client::{ClientError, PublishOptions, SubscribeOptions};
use blipmq::model::Qos;
use blipmq::protocol::native::{Response, command};
use nix::sys::signal::Signal;

use crate::support::broker::KEY;
use crate::support::{Broker, Certificates, Wire, Workspace, eventually};

/// A reload that is taken; gives what `blipmq admin reload` says.
#[track_caller]
fn reload(broker: &Broker) -> String {
    let output = broker.command(&["--json", "admin", "reload"], "");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A reload that is refused; gives why.
#[track_caller]
fn refused(broker: &Broker) -> String {
    let output = broker.command(&["admin", "reload"], "");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn with_keys(workspace: &Workspace, keys: &str) -> String {
    let file = workspace.write("keys.toml", keys);
    format!("wal = \"off\"\napi_keys_file = {file:?}\n")
}

fn open(broker: &Broker, version: u16, key: &str) -> Wire {
    let mut wire = broker.wire();
    wire.shake_hands(version, key);
    wire
}

const ONE_AND_TWO: &str = "[[key]]\nname = \"one\"\nkey = \"1\"\n[[key]]\nname = \"two\"\nkey = \"2\"\n";

#[test]
fn connections_of_a_key_that_was_withdrawn_are_closed_and_no_others() {
    for cores in [1, 2] {
        let workspace = Workspace::new();
        let keys = with_keys(&workspace, ONE_AND_TWO) + &format!("cores = {cores}");
        let broker = workspace.start(&keys);
        let mut staying: Vec<Wire> = [1, 2].map(|version| open(&broker, version, "1")).into();
        let mut going: Vec<Wire> = (0..8).map(|nth| open(&broker, 1 + nth % 2, "2")).collect();
        workspace.write("keys.toml", "[[key]]\nname = \"one\"\nkey = \"1\"\n");
        assert!(reload(&broker).contains("api_keys_file"));
        for (nth, wire) in going.iter_mut().enumerate() {
            if nth % 2 == 1 {
                let frame = wire.frame();
                let said = frame.response(2);
                assert!(matches!(said, Response::GoAway(ref away) if away.code == 401), "{said:?}");
            }
            wire.expect_end();
        }
        staying.iter_mut().for_each(Wire::expect_silence);
        broker.until_metric("blipmq_refused_total{reason=\"key_revoked\"}", |count| count >= 8.0);
        let mut late = broker.wire();
        late.say(|out| {
            command::hello(out, 1, 1);
            command::auth(out, 2, "2");
        });
        assert_eq!(late.frame().kind, 0x05);
        late.expect_nack(2, 401);
        late.expect_end();
    }
}

#[test]
fn another_key_under_the_same_name_is_another_key() {
    let workspace = Workspace::new();
    let keys = with_keys(&workspace, ONE_AND_TWO);
    let broker = workspace.start(&keys);
    let mut wire = open(&broker, 1, "2");
    workspace.write("keys.toml", &ONE_AND_TWO.replace("key = \"2\"", "key = \"22\""));
    reload(&broker);
    wire.expect_end();
    open(&broker, 1, "22").expect_silence();
}

#[test]
fn narrower_rights_close_who_uses_what_is_gone_and_bind_the_others() {
    let workspace = Workspace::new();
    let rights =
        |topics: &str| format!("[[key]]\nname = \"app\"\nkey = \"a\"\npublish = [{topics}]\nsubscribe = [{topics}]\n");
    let keys = with_keys(&workspace, &rights("\"a\", \"b\""));
    let broker = workspace.start(&keys);
    let mut published = open(&broker, 1, "a");
    published.say(|out| command::publish(out, 3, Qos::AtMostOnce, b"b", b"hi"));
    published.expect_silence();
    let mut subscribed = open(&broker, 2, "a");
    subscribed.say(|out| command::subscribe_with(out, 3, &SubscribeOptions::new("b").said()));
    assert_eq!(subscribed.frame().correlation, 3);
    let mut allowed = open(&broker, 2, "a");
    allowed.say(|out| command::alias(out, 3, 0, b"a"));
    assert_eq!(allowed.frame().kind, 0x12);
    workspace.write("keys.toml", &rights("\"a\""));
    reload(&broker);
    published.expect_end();
    subscribed.until_end();
    allowed.say(|out| command::alias(out, 4, 1, b"b"));
    allowed.expect_nack(4, 403);
    allowed.expect_silence();
}

#[test]
fn new_limits_hold_for_new_connections_and_for_those_that_are_open() {
    let workspace = Workspace::new();
    let keys = |more: &str| format!("wal = \"off\"\n{more}");
    let broker = workspace.start(&keys("max_aliases = 1"));
    let mut before = broker.open(2);
    before.say(|out| command::alias(out, 3, 1, b"demo"));
    before.expect_nack(3, 429);
    workspace.configure(&keys("max_aliases = 2\nmax_connections = 2"));
    let said = reload(&broker);
    assert!(said.contains("max_aliases") && said.contains("max_connections"), "{said}");
    before.say(|out| command::alias(out, 4, 1, b"demo"));
    assert_eq!(before.frame().kind, 0x12);
    let mut second = broker.open(2);
    second.say(|out| command::alias(out, 3, 2, b"demo"));
    second.expect_nack(3, 429);
    let mut third = broker.wire();
    assert_eq!(third.nack().1, 429);
    third.expect_end();
    second.expect_silence();
}

#[test]
fn a_new_timeout_holds_for_who_is_silent_already() {
    let workspace = Workspace::new();
    let broker = workspace.start("wal = \"off\"");
    let mut silent = broker.open(1);
    workspace.configure("wal = \"off\"\nidle_timeout_ms = 100");
    reload(&broker);
    silent.expect_end();
    broker.until_metric("blipmq_refused_total{reason=\"idle_timeout\"}", |count| count >= 1.0);
}

#[test]
fn new_retention_takes_what_is_too_old() {
    let workspace = Workspace::new();
    let broker = workspace.start("");
    broker.client().publish("t", b"old", &PublishOptions::at_least_once()).unwrap();
    assert_eq!(broker.topic("t")["start"], 0);
    workspace.configure("retention_ms = 1");
    assert!(reload(&broker).contains("retention_ms"));
    broker.until_topic("t", "start", 1);
}

#[test]
fn a_new_time_to_live_holds_for_topics_that_are_there() {
    let workspace = Workspace::new();
    let broker = workspace.start("wal = \"off\"");
    broker.client().publish("t", b"x", &PublishOptions::at_least_once()).unwrap();
    workspace.configure("wal = \"off\"\n[[topic]]\npattern = \"t\"\nttl_ms = 77");
    assert!(reload(&broker).contains("topic"));
    assert_eq!(broker.topic("t")["ttl_ms"], 77);
}

#[test]
fn what_is_logged_changes() {
    let workspace = Workspace::new();
    let broker = workspace.start("wal = \"off\"\nlog_level = \"error\"");
    drop(broker.client());
    workspace.configure("wal = \"off\"\nlog_level = \"debug\"");
    reload(&broker);
    let ended = || broker.log().lines().filter(|line| line.contains("ended:")).count();
    let before = ended();
    drop(broker.client());
    eventually("the end of a connection is logged", || (ended() > before).then_some(()));
    workspace.configure("wal = \"off\"\nlog_level = \"loud\"");
    assert!(refused(&broker).contains("loud"));
}

#[test]
fn a_file_that_is_wrong_changes_nothing_and_says_why() {
    let workspace = Workspace::new();
    let good = with_keys(&workspace, ONE_AND_TWO);
    let broker = workspace.start(&good);
    let mut wire = open(&broker, 2, "2");
    workspace.configure(&format!("{good}max_aliases = \"many\"\nmax_topics = 0"));
    let why = refused(&broker);
    assert!(why.contains("nothing changed") && why.contains("max_aliases") && why.contains("max_topics"), "{why}");
    workspace.configure(&good);
    workspace.write("keys.toml", "[[key]]\nname = \"one\"\n");
    let why = refused(&broker);
    assert!(why.contains("expected either key or hash"), "{why}");
    std::fs::remove_file(workspace.path().join("keys.toml")).unwrap();
    assert!(refused(&broker).contains("keys.toml"));
    wire.expect_silence();
    open(&broker, 1, "2").expect_silence();
    let log = broker.log();
    assert!(log.lines().filter(|line| line.contains("reload refused")).count() == 3, "{log}");
}

#[test]
fn what_needs_a_restart_is_refused_by_name_and_takes_the_rest_with_it() {
    let workspace = Workspace::new();
    let broker = workspace.start("wal = \"off\"\nmax_aliases = 1");
    workspace.configure("wal = \"off\"\nmax_aliases = 2\nmetrics_addr = \"127.0.0.2\"\noverflow = \"drop_new\"");
    let why = refused(&broker);
    assert!(why.contains("needs a restart: metrics_addr, overflow") && why.contains("max_aliases"), "{why}");
    assert_eq!(broker.client().welcome().unwrap().aliases_max, 1);
}

#[test]
fn a_signal_does_the_same() {
    let workspace = Workspace::new();
    let broker = workspace.start("wal = \"off\"\nmax_aliases = 1");
    workspace.configure("wal = \"off\"\nmax_aliases = 2");
    broker.signal(Signal::SIGHUP);
    eventually("the new bound holds", || (broker.client().welcome().unwrap().aliases_max == 2).then_some(()));
    workspace.configure("wal = \"off\"\nmax_aliases = 3\nport = 1");
    broker.signal(Signal::SIGHUP);
    eventually("the refusal is logged", || broker.log().contains("needs a restart: port").then_some(()));
    assert_eq!(broker.client().welcome().unwrap().aliases_max, 2);
    broker.stop();
}

/// On the broker's own machine, without a key.
#[track_caller]
fn reload_here(broker: &Broker) {
    broker.post("/api/v1/reload", &serde_json::Value::Null);
}

#[test]
fn a_key_that_the_broker_made_is_still_its_key() {
    let workspace = Workspace::new();
    let keys = "wal = \"off\"\nallowed_api_keys = []\n";
    let broker = workspace.start(keys);
    let own = std::fs::read_to_string(workspace.data().join("api-key")).unwrap();
    let mut wire = open(&broker, 1, own.trim());
    workspace.configure(&format!("{keys}max_aliases = 5"));
    reload_here(&broker);
    wire.expect_silence();
    workspace.configure(&format!("{keys}max_aliases = 5").replace("[]", "[\"another\"]"));
    reload_here(&broker);
    wire.expect_end();
    open(&broker, 1, "another").expect_silence();
}

#[test]
fn only_a_key_that_may_administer_reloads() {
    let workspace = Workspace::new();
    let keys = with_keys(&workspace, "[[key]]\nname = \"app\"\nkey = \"a\"\npublish = [\"a\"]\n");
    let broker = workspace.start(&keys);
    for (key, status) in [(Some("a"), 403), (Some("wrong"), 401), (Some(KEY), 200), (None, 200)] {
        let answer = broker.ask_as(key, "POST", "/api/v1/reload");
        assert_eq!(answer.status, status, "{key:?}: {answer:?}");
    }
}

#[test]
fn a_new_certificate_is_for_new_connections_and_a_bad_one_is_refused() {
    let (old, new) = (Certificates::new(), Certificates::new());
    let workspace = Workspace::new();
    let place = |certificates: &Certificates| {
        let (cert, key) = certificates.issue("broker");
        std::fs::copy(cert, workspace.path().join("cert.pem")).unwrap();
        std::fs::copy(key, workspace.path().join("key.pem")).unwrap();
    };
    place(&old);
    let keys = "wal = \"off\"\ntls_cert = \"cert.pem\"\ntls_key = \"key.pem\"\n";
    let broker = workspace.start(keys);
    let connect = |certificates: &Certificates| {
        blipmq::client::blocking::Client::connect(&broker.options().tls(certificates.trusting()))
    };
    let client = connect(&old).unwrap();
    assert!(broker.metric("blipmq_tls_certificate_expiry_seconds") > 1e9);
    place(&new);
    reload(&broker);
    client.ping().unwrap();
    connect(&new).unwrap().ping().unwrap();
    assert!(matches!(connect(&old), Err(ClientError::Tls(_))));
    workspace.write("key.pem", "no key at all");
    assert!(refused(&broker).contains("tls_key"));
    connect(&new).unwrap().ping().unwrap();
    client.ping().unwrap();
    workspace.configure("wal = \"off\"");
    assert!(refused(&broker).contains("needs a restart: tls_cert"));
    let reloads = |result: &str| broker.metric(&format!("blipmq_reloads_total{{result=\"{result}\"}}"));
    assert_eq!((reloads("done"), reloads("refused")), (1.0, 2.0));
}

#[test]
fn nothing_is_lost_while_it_reloads_again_and_again() {
    let workspace = Workspace::new();
    let keys = |nth: usize| format!("max_aliases = {}", 10 + nth);
    let broker = workspace.start(&keys(0));
    let client = broker.client();
    let mut subscription = client.subscribe(&SubscribeOptions::new("t").at_least_once()).unwrap();
    for nth in 0..20usize {
        workspace.configure(&keys(nth));
        broker.signal(Signal::SIGHUP);
        client.publish("t", &nth.to_be_bytes(), &PublishOptions::at_least_once()).unwrap();
    }
    for nth in 0..20usize {
        let message = subscription.next_message(Some(Duration::from_secs(30))).unwrap().expect("a message comes");
        assert_eq!(message.value, nth.to_be_bytes()[..]);
    }
}
