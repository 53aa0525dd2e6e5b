//! Durable subscriptions to patterns: owed every topic that comes, held or not, whatever happens to the broker.

use std::collections::BTreeSet;
use std::fs;

use blipmq::client::blocking::{Client, Subscription};
use blipmq::client::{ClientError, SubscribeOptions};
use blipmq::model::{Limits, Qos};
use blipmq::protocol::native::request::What;
use serde_json::{Value, json};

use crate::support::copies::{back_up, good, restore};
use crate::support::load::QOS_1;
use crate::support::{Broker, PATIENCE, Workspace, eventually, topic_on};

fn billing() -> SubscribeOptions {
    SubscribeOptions::new("orders.>").at_least_once().durable("billing")
}

/// Makes a durable subscription, and goes away.
#[track_caller]
fn subscribed_and_left(broker: &Broker, options: &SubscribeOptions) {
    broker.client().subscribe(options).unwrap().unsubscribe(false).unwrap();
}

/// Topics that nobody has named yet, one on each of two shards.
fn topics(prefix: &str) -> [String; 2] {
    [0, 1].map(|shard| topic_on(shard, 2, &format!("orders.{prefix}")))
}

/// Publishes `count` messages to each of the topics: what they say is where they went, and their number.
fn publish(client: &Client, topics: &[String], count: usize) -> BTreeSet<String> {
    let said = |topic: &String, nth: usize| format!("{topic} {nth}");
    let all = topics.iter().flat_map(|topic| (0..count).map(move |nth| (topic, said(topic, nth))));
    all.map(|(topic, value)| client.publish(topic, value.as_bytes(), &QOS_1).map(|_| value).unwrap()).collect()
}

#[track_caller]
fn received(subscription: &mut Subscription, count: usize) -> BTreeSet<String> {
    let next = |subscription: &mut Subscription| {
        let message = subscription.next_message(Some(PATIENCE)).unwrap().expect("a message comes");
        subscription.ack(&message).unwrap();
        String::from_utf8(message.value.to_vec()).unwrap()
    };
    let values: BTreeSet<String> = (0..count).map(|_| next(subscription)).collect();
    assert_eq!(values.len(), count, "each comes once");
    values
}

fn patterns(broker: &Broker) -> Vec<Value> {
    broker.get("/api/v1/patterns")["items"].as_array().unwrap().clone()
}

#[track_caller]
fn refused(outcome: Result<Subscription, ClientError>) -> (u16, String) {
    match outcome {
        Err(ClientError::Refused { code, text }) => (code, text),
        other => panic!("it is not refused: {:?}", other.map(|_| ())),
    }
}

#[test]
fn it_gets_topics_that_came_while_it_was_away_also_after_kills_and_on_other_numbers_of_cores() {
    let workspace = Workspace::new();
    let broker = workspace.start("cores = 2");
    subscribed_and_left(&broker, &billing());
    let mut owed = publish(&broker.client(), &topics("a"), 3);
    broker.kill();
    // On shards that never had a cursor of it, after a start that knows it from the log alone.
    for (life, cores) in [2, 1, 2].into_iter().enumerate() {
        let broker = workspace.start(&format!("cores = {cores}"));
        owed.extend(publish(&broker.client(), &topics(&format!("{life}-")), 3));
        broker.kill();
    }
    let broker = workspace.start("cores = 2");
    let mut subscription = broker.client().subscribe(&billing()).unwrap();
    assert_eq!(received(&mut subscription, owed.len()), owed);
    // It goes on as it did: nothing comes twice, and what is new comes.
    let new = publish(&broker.client(), &topics("late"), 1);
    assert_eq!(received(&mut subscription, new.len()), new);
}

#[test]
fn a_backup_that_is_brought_back_owes_it_what_the_broker_did_and_what_comes_to_the_copy() {
    let workspace = Workspace::new();
    let broker = workspace.start("cores = 2");
    let options = SubscribeOptions::new("orders.*").at_least_once().durable("billing").shared().retries(70, 3);
    let mut subscription = broker.client().subscribe(&options).unwrap();
    let seen = topics("seen");
    received(&mut subscription, publish(&broker.client(), &seen, 3).len());
    seen.iter().for_each(|topic| broker.until_subscription(topic, "settled_to", 3));
    subscription.unsubscribe(false).unwrap();
    let owed = publish(&broker.client(), &topics("owed"), 3);
    let known = patterns(&broker);
    let copy = workspace.path().join("copy");
    good(&back_up(&broker, &copy));
    // What the copied broker does afterwards is nothing to the copy.
    publish(&broker.client(), &topics("later"), 1);
    subscribed_and_left(&broker, &SubscribeOptions::new("orders.>").at_least_once().durable("others"));
    broker.kill();
    for cores in [2, 1] {
        let restored = Workspace::new();
        good(&restore(&copy, &restored.data()));
        let keys = format!("cores = {cores}");
        let broker = restored.start(&keys);
        let unheld = |row: &Value| row["members"] == 0;
        assert!(patterns(&broker) == known && known.len() == 1 && unheld(&known[0]), "{known:?}");
        let mut owed = owed.clone();
        owed.extend(publish(&broker.client(), &topics("new"), 2));
        broker.kill();
        let broker = restored.start(&keys);
        owed.extend(publish(&broker.client(), &topics("newer"), 2));
        let mut subscription = broker.client().subscribe(&options).unwrap();
        assert_eq!(received(&mut subscription, owed.len()), owed, "on {cores} cores");
        let new = publish(&broker.client(), &topics("last"), 1);
        assert_eq!(received(&mut subscription, new.len()), new, "on {cores} cores");
    }
}

/// Changes the one place in the logs of two shards where these bytes stand.
#[track_caller]
fn damage(workspace: &Workspace, said: &str) {
    let files = [0, 1].map(|log| workspace.data().join(format!("shard-{log:04}/00000000000000000000.log")));
    let at = |bytes: &[u8]| bytes.windows(said.len()).rposition(|window| window == said.as_bytes());
    for file in files {
        let mut bytes = fs::read(&file).unwrap();
        if let Some(at) = at(&bytes) {
            bytes[at] ^= 1;
            return fs::write(&file, bytes).unwrap();
        }
    }
    panic!("{said} is in no log");
}

/// A broker on two cores was killed while the subscription was away, and one of its logs was damaged where `at` stands;
/// the next one has started in this mode. Answers with what was published.
fn damaged_while_it_is_away(topics: &[String], at: &str, mode: &str) -> (Workspace, Broker, BTreeSet<String>) {
    let workspace = Workspace::new();
    let broker = workspace.start("cores = 2\nfsync_policy = \"always\"");
    subscribed_and_left(&broker, &billing());
    let owed = publish(&broker.client(), topics, 5);
    broker.kill();
    damage(&workspace, at);
    assert_eq!(workspace.try_start("cores = 2").err().and_then(|ended| ended.code), Some(4), "it is corrupt");
    let broker = workspace.start(&format!("cores = 2\nrecovery = \"{mode}\""));
    (workspace, broker, owed)
}

/// It gets all of these, and of topics that come now and in the next life.
#[track_caller]
fn is_owed(workspace: &Workspace, broker: Broker, mut owed: BTreeSet<String>) {
    owed.extend(publish(&broker.client(), &topics("later"), 2));
    broker.kill();
    let broker = workspace.start("cores = 2");
    assert!(!broker.log().contains("did not know"), "{}", broker.log());
    owed.extend(publish(&broker.client(), &topics("latest"), 2));
    let mut subscription = broker.client().subscribe(&billing()).unwrap();
    assert_eq!(received(&mut subscription, owed.len()), owed);
}

#[test]
fn a_log_that_is_cut_or_mended_at_a_bad_message_goes_on_owing_it_topics() {
    let [here, there] = topics("a");
    for (mode, lost) in [("truncate", vec![2, 3, 4]), ("skip", vec![2])] {
        let (workspace, broker, mut owed) =
            damaged_while_it_is_away(&[here.clone(), there.clone()], &format!("{here} 2"), mode);
        lost.iter().for_each(|nth| assert!(owed.remove(&format!("{here} {nth}"))));
        is_owed(&workspace, broker, owed);
    }
}

#[test]
fn a_log_that_lost_its_word_of_it_has_it_again_from_the_others() {
    let [here, _] = topics("a");
    for mode in ["truncate", "skip"] {
        let (workspace, broker, mut owed) = damaged_while_it_is_away(std::slice::from_ref(&here), "orders.>", mode);
        let said = "log 0: did not know the subscription billing to orders.>";
        assert_eq!(broker.log().matches(said).count(), 1, "{}", broker.log());
        if mode == "truncate" {
            owed.clear();
        }
        is_owed(&workspace, broker, owed);
    }
}

#[test]
fn without_a_log_it_is_owed_topics_that_come_as_long_as_the_process_lives() {
    let broker = Broker::in_memory("cores = 2");
    subscribed_and_left(&broker, &billing());
    let owed = publish(&broker.client(), &topics("a"), 3);
    let mut subscription = broker.client().subscribe(&billing()).unwrap();
    assert_eq!(received(&mut subscription, owed.len()), owed);
}

#[test]
fn deleted_by_its_holder_it_has_no_cursor_in_topics_that_come_later() {
    let workspace = Workspace::new();
    let broker = workspace.start("cores = 2");
    broker.client().subscribe(&billing()).unwrap();
    publish(&broker.client(), &topics("a"), 1);
    broker.client().subscribe(&billing()).unwrap().unsubscribe(true).unwrap();
    let nothing_comes_back = |broker: &Broker, later: &str| {
        publish(&broker.client(), &topics(later), 1);
        assert_eq!((patterns(broker), broker.rows(What::Subscriptions)), (vec![], vec![]));
    };
    nothing_comes_back(&broker, "b");
    broker.kill();
    nothing_comes_back(&workspace.start("cores = 1"), "c");
}

#[test]
fn who_shares_it_may_delete_it_for_himself_and_it_stays_for_the_others() {
    let broker = Broker::new("cores = 2");
    let (one, other) = (broker.client(), broker.client());
    let held = one.subscribe(&billing().shared()).unwrap();
    other.subscribe(&billing().shared()).unwrap().unsubscribe(true).unwrap();
    held.unsubscribe(false).unwrap();
    let owed = publish(&broker.client(), &topics("a"), 2);
    let mut subscription = broker.client().subscribe(&billing().shared()).unwrap();
    assert_eq!(received(&mut subscription, owed.len()), owed);
}

#[test]
fn an_operator_deletes_it_by_its_pattern_with_all_its_cursors() {
    let broker = Broker::new("cores = 2");
    let holder = broker.client();
    let subscription = holder.subscribe(&billing().retries(70, 3).dead_letter("dead")).unwrap();
    publish(&broker.client(), &topics("a"), 1);
    let known = &patterns(&broker)[0];
    assert_eq!(
        (&known["pattern"], &known["name"], &known["members"]),
        (&json!("orders.>"), &json!("billing"), &json!(1))
    );
    assert_eq!((&known["retry_delay_ms"], &known["max_retries"]), (&json!(70), &json!(3)));
    let path = "/api/v1/topics/orders.%3E/subscriptions/billing";
    assert_eq!(broker.call("DELETE", path, &Value::Null).status, 409, "somebody holds it");
    subscription.unsubscribe(false).unwrap();
    // A shard may hear later than others that nobody holds it: what is refused in part can be ordered again.
    eventually("it is deleted", || (broker.call("DELETE", path, &Value::Null).status == 200).then_some(()));
    assert_eq!(broker.call("DELETE", path, &Value::Null).status, 404, "it is gone");
    publish(&broker.client(), &topics("b"), 1);
    assert_eq!((patterns(&broker), broker.rows(What::Subscriptions)), (vec![], vec![]));
}

#[test]
fn an_operator_who_deletes_it_in_one_topic_keeps_it_from_topics_that_come_later() {
    let broker = Broker::new("cores = 2");
    subscribed_and_left(&broker, &billing());
    let others = SubscribeOptions::new("*.*").at_least_once().durable("others");
    subscribed_and_left(&broker, &others);
    let [topic, other] = topics("a");
    publish(&broker.client(), &[topic.clone(), other.clone()], 1);
    let path = format!("/api/v1/topics/{topic}/subscriptions/billing");
    assert_eq!(broker.call("DELETE", &path, &Value::Null).status, 200);
    assert_eq!(broker.call("DELETE", &path, &Value::Null).status, 404);
    let names =
        |topic: &str| -> Vec<Value> { broker.subscriptions(topic).iter().map(|row| row["name"].clone()).collect() };
    publish(&broker.client(), &topics("b"), 1);
    assert_eq!(names(&topic), ["others"]);
    assert_eq!(names(&other).len(), 2, "cursors in other topics stay");
    assert!(topics("b").iter().all(|topic| names(topic) == ["others"]));
    // Who subscribes again makes it again.
    let mut subscription = broker.client().subscribe(&billing().earliest()).unwrap();
    assert_eq!(received(&mut subscription, 4).len(), 4);
}

#[test]
fn what_a_refused_subscribe_has_made_on_other_shards_goes() {
    let broker = Broker::new("cores = 2");
    let [here, there] = topics("a");
    publish(&broker.client(), &[here.clone(), there.clone()], 1);
    let holder = broker.client();
    let held = holder.subscribe(&SubscribeOptions::new(&there).at_least_once().durable("billing")).unwrap();
    assert_eq!(refused(broker.client().subscribe(&billing())).0, 409, "it is held in one topic");
    held.unsubscribe(false).unwrap();
    eventually("it is undone", || {
        (patterns(&broker).is_empty() && broker.subscriptions(&here).is_empty()).then_some(())
    });
    assert_eq!(refused(broker.client().subscribe(&billing().shared())).0, 409, "the cursor that was there stays");
}

#[test]
fn its_mode_is_remembered_and_its_settings_change_with_who_subscribes() {
    let broker = Broker::new("cores = 2");
    subscribed_and_left(&broker, &billing());
    assert_eq!(
        refused(broker.client().subscribe(&billing().shared())),
        (409, "the subscription has another mode".into())
    );
    subscribed_and_left(&broker, &billing().retries(70, 3));
    publish(&broker.client(), &topics("a"), 1);
    for topic in topics("a") {
        let row = broker.get(&format!("/api/v1/topics/{topic}/subscriptions/billing"));
        assert_eq!((&row["retry_backoff_ms"], &row["max_retries"]), (&json!(70), &json!(3)));
    }
}

#[test]
fn so_many_are_remembered_and_one_more_is_refused_until_one_goes() {
    let broker = Broker::in_memory("cores = 2\nmax_subscriptions_per_connection = 2000");
    let client = broker.client();
    let one = |nth: usize| SubscribeOptions::new(&format!("t{nth}.>")).at_least_once().durable("n");
    let mut all: Vec<Subscription> =
        (0..Limits::PATTERN_SUBSCRIPTIONS_MAX).map(|nth| client.subscribe(&one(nth)).unwrap()).collect();
    let more = || client.subscribe(&one(Limits::PATTERN_SUBSCRIPTIONS_MAX));
    assert_eq!(refused(more()), (429, "too many durable subscriptions to patterns".into()));
    // Those that are not to be remembered are not counted, and those that are known are not new.
    client.subscribe(&SubscribeOptions::new("t.>").qos(Qos::AtMostOnce)).unwrap();
    all.pop().unwrap().unsubscribe(false).unwrap();
    all.push(client.subscribe(&one(Limits::PATTERN_SUBSCRIPTIONS_MAX - 1)).unwrap());
    all.pop().unwrap().unsubscribe(true).unwrap();
    more().unwrap();
}

#[test]
fn a_topic_that_there_is_no_room_to_owe_to_all_is_not_made() {
    let broker = Broker::new("max_subscriptions = 2");
    subscribed_and_left(&broker, &billing());
    let client = broker.client();
    for topic in ["orders.a", "orders.b"] {
        client.publish(topic, b"owed", &QOS_1).unwrap();
    }
    let Err(ClientError::Refused { code, text }) = client.publish("orders.c", b"missed", &QOS_1) else {
        panic!("nobody would get it")
    };
    assert!(code == 429 && text.contains("too many subscriptions"), "{code} {text}");
    client.publish("other", b"nobody's", &QOS_1).unwrap();
    let mut subscription = broker.client().subscribe(&billing()).unwrap();
    (0..2).for_each(|_| assert!(subscription.next_message(Some(PATIENCE)).unwrap().is_some()));
}
