//! What operators ask and order. An order that is to outlive a crash is answered when the log has committed it.

use std::ops::Bound;

use serde_json::{Value, json};

use super::Core;
use super::ask::{AdminQuestion, Answer, Page, Row};
use super::event::Action;
use super::refusal::Refusal;
use super::session::{Conn, Phase};
use super::stats::Reason;
use crate::broker::{Cursor, Subscription};
use crate::model::{ConnId, Lsn, Offset, Pattern, StartAt, TopicName};
use crate::protocol::ErrorCode;
use crate::wal::{Entry, PartitionMeta};

/// Orders whose answers wait for a commit, in the order they were given.
#[derive(Debug, Default)]
pub struct Orders {
    waiting: Vec<Order>,
}

#[derive(Debug)]
struct Order {
    /// What has to be committed first: of each log, everything before.
    ends: Vec<(usize, Lsn)>,
    token: u64,
    answer: Answer,
}

/// What came of an order: its answer, and the log that has to commit everything first.
type Ordered = Result<(Answer, Option<usize>), Refusal>;

impl Core {
    pub(super) fn administer(&mut self, token: u64, question: AdminQuestion) {
        if changes(&question) && self.drain.is_on() {
            return self.answer_admin(token, Err(Refusal::draining()));
        }
        let ordered = match question {
            AdminQuestion::Messages { topic, first, most } => return self.show(token, topic, first, most),
            AdminQuestion::Backup { id, step } => return self.backup(token, &id, step),
            AdminQuestion::Replay { topic, first, end, most } => return self.replay(token, topic, first, end, most),
            AdminQuestion::SetTopic { topic, ttl_ms } => self.set_topic(&topic, ttl_ms),
            AdminQuestion::DeleteTopic { topic, force } => self.delete_topic(&topic, force),
            AdminQuestion::Purge { topic, before } => self.purge(&topic, before),
            AdminQuestion::ResetSubscription { topic, name, to } => self.reset_subscription(&topic, &name, to),
            AdminQuestion::DeleteSubscription { topic, name, force } => self.delete_named(&topic, &name, force),
            AdminQuestion::ForgetPatterns { topic, name, force } => {
                let forgotten = self.forget_patterns(&topic, &name, force);
                return self.answer_when(token, forgotten.map(|entries| (Answer::Done, entries.ends())));
            }
            AdminQuestion::DeletePattern { pattern, name, force } => {
                let deleted = self.delete_pattern(&pattern, &name, force);
                return self.answer_when(token, deleted.map(|entries| (Answer::Done, entries.ends())));
            }
            question => return self.look_up(token, question),
        };
        let end = |log: usize| (log, self.logs[log].log.appended());
        let ordered = ordered.map(|(answer, log)| (answer, log.map(end).into_iter().collect()));
        self.answer_when(token, ordered);
    }

    /// Answers when what an order said in the logs is committed.
    fn answer_when(&mut self, token: u64, ordered: Result<(Answer, Vec<(usize, Lsn)>), Refusal>) {
        match ordered {
            Ok((answer, ends)) => {
                self.orders.waiting.push(Order { ends, token, answer });
                self.answer_orders();
            }
            Err(refusal) => self.answer_admin(token, Err(refusal)),
        }
    }

    /// Questions that change nothing and are answered at once.
    fn look_up(&mut self, token: u64, question: AdminQuestion) {
        let rows = |rows| Ok(Answer::Rows(rows));
        let answer = match question {
            AdminQuestion::Topics { page, pattern } => rows(self.topic_page(&page, pattern.as_ref())),
            AdminQuestion::TopicsNamed { topics } => {
                let known = topics.iter().filter_map(|topic| self.topics.get(topic));
                rows(known.map(|index| self.topic_as_row(*index)).collect())
            }
            AdminQuestion::Topic { topic } => {
                self.known_topic(&topic).map(|index| Answer::Object(self.topic_details(index)))
            }
            AdminQuestion::Subscriptions { page, topic } => rows(self.subscription_page(&page, topic.as_ref())),
            AdminQuestion::Subscription { topic, name } => {
                let found = self.known_subscription(&topic, &name);
                found.map(|index| Answer::Object(self.subscription_details(&self.subscriptions[index].sub)))
            }
            AdminQuestion::Patterns { page } => rows(self.pattern_page(&page)),
            AdminQuestion::DeadLetterTopics => rows(self.dead_letter_topics()),
            AdminQuestion::Connections { page } => rows(self.connection_page(&page)),
            AdminQuestion::CloseConnection { conn } => self.close_connection(conn),
            AdminQuestion::Pending => Ok(Answer::Object(self.pending())),
            other => unreachable!("administer() does {other:?}"),
        };
        self.answer_admin(token, answer);
    }

    pub(super) fn answer_admin(&mut self, token: u64, answer: Result<Answer, Refusal>) {
        let answer =
            answer.unwrap_or_else(|refusal| Answer::Refused { code: refusal.code, text: refusal.text.into_owned() });
        self.actions.push_back(Action::Answer { token, answer });
    }

    /// Answers the orders that their logs have committed.
    pub(super) fn answer_orders(&mut self) {
        if self.orders.waiting.is_empty() {
            return;
        }
        for order in std::mem::take(&mut self.orders.waiting) {
            if order.ends.iter().all(|(log, end)| *end <= self.logs[*log].log.committed()) {
                self.actions.push_back(Action::Answer { token: order.token, answer: order.answer });
            } else {
                self.orders.waiting.push(order);
            }
        }
    }

    pub(super) fn known_topic(&self, topic: &TopicName) -> Result<usize, Refusal> {
        self.topics.get(topic).copied().ok_or_else(|| Refusal::unknown("no such topic"))
    }

    fn known_subscription(&self, topic: &TopicName, name: &str) -> Result<usize, Refusal> {
        let of_topic = &self.partitions[self.known_topic(topic)?].subscriptions;
        let found = of_topic.iter().find(|index| !name.is_empty() && self.subscriptions[**index].sub.name == name);
        found.copied().ok_or_else(|| Refusal::unknown("no such subscription"))
    }

    fn topic_page(&self, page: &Page, pattern: Option<&Pattern>) -> Vec<Row> {
        let after = TopicName::parse(page.after.as_bytes()).ok();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.topics
            .range((from, Bound::Unbounded))
            .filter(|(topic, _)| pattern.is_none_or(|pattern| pattern.matches(topic.as_str())))
            .take(page.most)
            .map(|(_, index)| self.topic_as_row(*index))
            .collect()
    }

    fn topic_as_row(&self, index: usize) -> Row {
        Row { key: self.partitions[index].topic.as_str().to_owned(), value: self.topic_details(index) }
    }

    fn topic_details(&self, index: usize) -> Value {
        let partition = &self.partitions[index];
        let mut row = self.topic_row(index);
        row["messages"] = partition.committed.since(partition.start).into();
        row["ttl_ms"] = if partition.ttl_ms == u64::MAX { 0 } else { partition.ttl_ms }.into();
        row["ttl_set"] = (partition.ttl_set != 0).into();
        row["log"] = self.logs.get(partition.log).map(|log| log.id.0).into();
        row["memory_bytes"] = (partition.tail.bytes() + partition.volatile.bytes()).into();
        row
    }

    fn set_topic(&mut self, topic: &TopicName, ttl_ms: Option<u64>) -> Ordered {
        let created = !self.topics.contains_key(topic);
        let index = self.partition(topic)?;
        let log = self.partitions[index].log;
        if self.has_logs() {
            self.logs[log].accepts()?;
        }
        self.partitions[index].ttl_set = match ttl_ms {
            None => 0,
            Some(0) => u64::MAX,
            Some(ms) => ms,
        };
        self.set_ttl(index);
        let mut row = self.topic_details(index);
        row["created"] = created.into();
        if !self.has_logs() {
            return Ok((Answer::Object(row), None));
        }
        if self.partitions[index].id.is_none() {
            self.logged_partition(index);
        } else {
            self.log_settings(index);
        }
        Ok((Answer::Object(row), Some(log)))
    }

    fn log_settings(&mut self, index: usize) {
        let partition = &self.partitions[index];
        let Some(id) = partition.id else { return };
        let meta =
            PartitionMeta { topic: partition.topic.clone(), number: partition.number, ttl_ms: partition.ttl_set };
        self.logs[partition.log].log.append(self.now, Entry::Partition { id, meta });
    }

    fn delete_topic(&mut self, topic: &TopicName, force: bool) -> Ordered {
        let index = self.known_topic(topic)?;
        let partition = &self.partitions[index];
        if !partition.subscriptions.is_empty() && !force {
            let text = format!("the topic has {} subscriptions", partition.subscriptions.len());
            return Err(conflict(text));
        }
        let uncommitted = |log: &super::shard_log::ShardLog| log.waiting.iter().any(|wait| wait.partition == index);
        if self.logs.iter().any(uncommitted) {
            return Err(conflict("messages of the topic are being committed: try again"));
        }
        for subscription in partition.subscriptions.clone() {
            self.remove_subscription(subscription);
        }
        Ok((Answer::Done, self.drop_partition(index)))
    }

    /// Forgets a partition that nobody subscribes to and that waits for nothing; gives the log that remembers it.
    fn drop_partition(&mut self, index: usize) -> Option<usize> {
        let partition = self.partitions.remove(index);
        self.topics.remove(&partition.topic);
        self.memory.tail -= partition.tail.bytes();
        self.memory.volatile -= partition.volatile.bytes();
        // The slot will be another topic's: notes about this one's batches must not be taken for that one's.
        let detached = self.tail_order.iter().take(self.tail_detached).filter(|(at, _)| *at == index).count();
        self.tail_detached -= detached;
        self.tail_order.retain(|(at, _)| *at != index);
        let id = partition.id?;
        self.logs[partition.log].log.append(self.now, Entry::PartitionDeleted { id });
        Some(partition.log)
    }

    fn purge(&mut self, topic: &TopicName, before: Option<Offset>) -> Ordered {
        let index = self.known_topic(topic)?;
        let partition = &mut self.partitions[index];
        let start = before.unwrap_or(Offset::MAX).min(partition.committed).max(partition.start);
        let purged = start.since(partition.start);
        partition.start = start;
        self.memory.tail -= partition.tail.forget_before(start);
        let (id, log) = (partition.id, partition.log);
        self.wake_partition(index);
        let row = json!({ "purged": purged, "start": start.0 });
        let Some(id) = id else { return Ok((Answer::Object(row), None)) };
        let log_of = &mut self.logs[log].log;
        log_of.append(self.now, Entry::PartitionStart { id, start });
        log_of.set_live_from(id, start);
        Ok((Answer::Object(row), Some(log)))
    }

    fn subscription_page(&self, page: &Page, topic: Option<&TopicName>) -> Vec<Row> {
        let first = page.after.split('\0').next().and_then(|topic| TopicName::parse(topic.as_bytes()).ok());
        let from = topic.cloned().or(first).map_or(Bound::Unbounded, Bound::Included);
        let to = topic.cloned().map_or(Bound::Unbounded, Bound::Included);
        let mut rows = Vec::new();
        for index in self.topics.range((from, to)).map(|(_, index)| *index) {
            if rows.len() >= page.most {
                break;
            }
            let mut of_topic = self.subscription_keys(index);
            of_topic.retain(|(key, _)| *key > page.after);
            of_topic.truncate(page.most - rows.len());
            rows.extend(of_topic.into_iter().map(|(key, index)| {
                let value = self.subscription_details(&self.subscriptions[index].sub);
                Row { key, value }
            }));
        }
        rows
    }

    /// The subscriptions of a partition, by what they are listed by: their own serial tells nameless ones apart.
    fn subscription_keys(&self, partition: usize) -> Vec<(String, usize)> {
        let partition = &self.partitions[partition];
        let key = |index: &usize| {
            let sub = &self.subscriptions[*index].sub;
            (format!("{}\0{}\0{:020}", partition.topic, sub.name, sub.serial), *index)
        };
        let mut keys: Vec<_> = partition.subscriptions.iter().map(key).collect();
        keys.sort();
        keys
    }

    fn subscription_details(&self, sub: &Subscription) -> Value {
        let mut row = self.subscription_row(sub);
        row["max_retries"] = sub.retry.max_retries.into();
        row["retry_backoff_ms"] = (sub.retry.backoff.base.as_millis() as u64).into();
        row["dead_letter"] = sub.retry.dead_letter.as_ref().map(TopicName::as_str).into();
        row["settled_ranges"] = sub.cursor.ranges().into();
        row["burying"] = sub.burying.records().into();
        row
    }

    fn reset_subscription(&mut self, topic: &TopicName, name: &str, to: StartAt) -> Ordered {
        let index = self.known_subscription(topic, name)?;
        let partition = self.subscriptions[index].sub.partition;
        let offset = self.start_offset(partition, to).min(self.partitions[partition].committed);
        let serving = &mut self.subscriptions[index];
        if !serving.sub.burying.is_empty() {
            return Err(conflict("dead letters of the subscription are being written: try again"));
        }
        serving.place = None;
        let sub = &mut serving.sub;
        sub.cursor = Cursor::new(offset);
        sub.next = offset;
        sub.in_flight = Default::default();
        sub.redelivery = Default::default();
        self.cursor_moved(index);
        self.make_ready(index);
        let row = self.subscription_details(&self.subscriptions[index].sub);
        let logged = self.subscriptions[index].sub.logged_id().map(|_| self.partitions[partition].log);
        if logged.is_some() {
            self.log_cursors();
        }
        Ok((Answer::Object(row), logged))
    }

    fn delete_named(&mut self, topic: &TopicName, name: &str, force: bool) -> Ordered {
        let index = self.known_subscription(topic, name)?;
        let sub = &self.subscriptions[index].sub;
        if !sub.members.is_empty() && !force {
            return Err(conflict(format!("{} connections hold the subscription", sub.members.len())));
        }
        let logged = sub.logged_id().map(|_| self.partitions[sub.partition].log);
        self.remove_subscription(index);
        Ok((Answer::Done, logged))
    }

    fn dead_letter_topics(&self) -> Vec<Row> {
        let named = self.subscriptions.iter().filter_map(|(_, serving)| serving.sub.retry.dead_letter.as_ref());
        let mut topics: Vec<&TopicName> = named.collect();
        topics.sort();
        topics.dedup();
        topics.into_iter().map(|topic| Row { key: topic.as_str().to_owned(), value: Value::Null }).collect()
    }

    fn connection_page(&self, page: &Page) -> Vec<Row> {
        let conns = self.conns.iter().flatten().map(|conn| (connection_key(conn.id), conn));
        let after = conns.filter(|(key, _)| *key > page.after).take(page.most);
        after.map(|(key, conn)| Row { key, value: self.connection_row(conn) }).collect()
    }

    fn connection_row(&self, conn: &Conn) -> Value {
        let session = &conn.session;
        json!({
            "id": conn.id.to_string(),
            "shard": conn.id.shard.0,
            "peer": conn.peer.to_string(),
            "key": session.identity.as_ref().map(|identity| identity.name.to_string()),
            "version": session.version,
            "state": match session.phase {
                Phase::Hello | Phase::Auth => "handshake",
                Phase::Open => "open",
                Phase::Closing => "closing",
            },
            "opened_ms_ago": self.now.since(conn.opened).as_millis() as u64,
            "heard_ms_ago": self.now.since(conn.heard).as_millis() as u64,
            "waits_for": conn.hold.map(|hold| format!("{hold:?}").to_lowercase()),
            "aliases": session.aliases.len(),
            "subscriptions": session.subscriptions.iter().flatten().count(),
            "unread_bytes": conn.unread.len() + conn.partial.len(),
            "unsent_bytes": self.links[conn.link].backlog(),
            "moves": session.moves,
        })
    }

    fn close_connection(&mut self, id: ConnId) -> Result<Answer, Refusal> {
        let Some(mut conn) = self.take_conn(id) else { return Err(Refusal::unknown("no such connection")) };
        log::info!("connection {id} from {}: closed by an operator", conn.peer);
        self.say_goodbye(conn.link, ErrorCode::Draining, "closed by an operator");
        self.close(&mut conn);
        self.put_conn(conn);
        Ok(Answer::Done)
    }

    fn pending(&self) -> Value {
        let logs = self.logs.iter().map(|log| {
            json!({ "log": log.id.0, "uncommitted_batches": log.waiting.len(), "backlog_bytes": log.log.backlog() })
        });
        let peers = self.other_shards().map(|shard| {
            let peer = &self.peers[shard.index()];
            json!({ "shard": shard.0, "outstanding_bytes": peer.outstanding, "parked_publishes": peer.parked.len() })
        });
        json!({
            "shard": self.options.shard.0,
            "logs": logs.collect::<Vec<_>>(),
            "peers": peers.collect::<Vec<_>>(),
            "held_connections": self.conns.iter().flatten().filter(|conn| conn.hold.is_some()).count(),
            "reads": self.reads.len() + self.browses.len(),
            "dead_letters": self.graves.len(),
            "replays": self.replays.len(),
            "queries": self.queries.len(),
            "orders": self.orders.waiting.len(),
            "draining": self.drain.is_on(),
        })
    }
}

/// Zero-padded, so that it sorts as the numbers do.
fn connection_key(id: ConnId) -> String {
    format!("{:05}:{:010}", id.shard.0, id.slot)
}

fn conflict(text: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(ErrorCode::Conflict, Reason::BadRequest, text)
}

/// Whether it needs a log that is not being closed.
fn changes(question: &AdminQuestion) -> bool {
    use AdminQuestion::{DeletePattern, DeleteSubscription, DeleteTopic, ForgetPatterns};
    use AdminQuestion::{Purge, Replay, ResetSubscription, SetTopic};
    matches!(
        question,
        SetTopic { .. }
            | DeleteTopic { .. }
            | Purge { .. }
            | Replay { .. }
            | ResetSubscription { .. }
            | DeleteSubscription { .. }
            | ForgetPatterns { .. }
            | DeletePattern { .. }
    )
}
