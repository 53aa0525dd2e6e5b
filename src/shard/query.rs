//! What is there: topics and subscriptions, gathered from all shards.

use serde_json::{Value, json};

use super::Core;
use super::letter::Letter;
use super::session::Conn;
use crate::auth::Permissions;
use crate::broker::{Durability, Subscription};
use crate::model::{ConnId, SubscriptionMode};
use crate::protocol::native::reply;
use crate::protocol::native::request::What;

/// Answers to one QUERY, until every shard has given its own.
#[derive(Debug)]
pub struct Gathering {
    missing: usize,
    limit: usize,
    rows: Vec<String>,
}

/// Rows of one answer at most.
const ROWS_MAX: usize = 100_000;

impl Core {
    pub(super) fn query(&mut self, conn: &mut Conn, correlation: u64, what: What, limit: u32) {
        let limit = (limit as usize).min(ROWS_MAX);
        let identity = conn.session.identity.as_ref().expect("an open session has an identity");
        let sees = identity.permissions.clone();
        let rows = self.rows(what as u8, limit, &sees);
        let missing = usize::from(self.options.shards) - 1;
        for shard in self.other_shards() {
            let letter =
                Letter::Query { conn: conn.id, correlation, what: what as u8, limit: limit as u32, sees: sees.clone() };
            self.write_letter(shard, letter);
        }
        let gathering = Gathering { missing, limit, rows };
        if missing == 0 {
            return self.answer(conn.link, correlation, gathering);
        }
        self.queries.insert((conn.id, correlation), gathering);
    }

    pub(super) fn gather(&mut self, id: ConnId, correlation: u64, rows: Vec<String>) {
        let Some(gathering) = self.queries.get_mut(&(id, correlation)) else { return };
        gathering.rows.extend(rows);
        gathering.missing -= 1;
        if gathering.missing > 0 {
            return;
        }
        let gathering = self.queries.remove(&(id, correlation)).expect("just found");
        if let Some(link) = self.conn(id).map(|conn| conn.link) {
            self.answer(link, correlation, gathering);
        }
    }

    fn answer(&mut self, link: usize, correlation: u64, mut gathering: Gathering) {
        gathering.rows.sort();
        gathering.rows.truncate(gathering.limit);
        let json = format!("[{}]", gathering.rows.join(","));
        self.reply(link, |out| reply::answer(out, correlation, json.as_bytes()));
    }

    /// This shard's rows, each a JSON object: of the topics that the asker has to do with.
    pub(super) fn rows(&self, what: u8, limit: usize, sees: &Permissions) -> Vec<String> {
        let seen = |index: &usize| sees.may_see(&self.partitions[*index].topic);
        if what == What::Topics as u8 {
            let topics = self.topics.values().filter(|index| seen(index)).take(limit);
            topics.map(|index| self.topic_row(*index).to_string()).collect()
        } else {
            let all = self.subscriptions.iter().filter(|(_, serving)| seen(&serving.sub.partition)).take(limit);
            all.map(|(_, serving)| self.subscription_row(&serving.sub).to_string()).collect()
        }
    }

    pub(super) fn topic_row(&self, index: usize) -> Value {
        let partition = &self.partitions[index];
        json!({
            "topic": partition.topic.as_str(),
            "partition": partition.number,
            "shard": self.options.shard.0,
            "start": partition.start.0,
            "committed": partition.committed.0,
            "next": partition.next().0,
            "ttl_ms": partition.ttl_ms,
            "subscriptions": partition.subscriptions.len(),
            "published": partition.published,
        })
    }

    pub(super) fn subscription_row(&self, sub: &Subscription) -> Value {
        let partition = &self.partitions[sub.partition];
        json!({
            "topic": partition.topic.as_str(),
            "partition": partition.number,
            "shard": self.options.shard.0,
            "name": sub.name,
            "qos": sub.qos as u8,
            "mode": if sub.mode == SubscriptionMode::Shared { "shared" } else { "exclusive" },
            "durability": match sub.durability {
                Durability::Ephemeral => "ephemeral",
                Durability::Named { .. } => "durable",
                Durability::Session { .. } => "session",
            },
            "members": sub.members.len(),
            "settled_to": sub.cursor.floor().0,
            "next": sub.next.0,
            "in_flight": sub.outstanding(),
            "lag": partition.committed.since(sub.cursor.floor()),
            "delivered": sub.counters.delivered,
            "redelivered": sub.counters.redelivered,
            "settled": sub.counters.settled,
            "dropped": sub.counters.dropped,
            "expired": sub.counters.expired,
            "dead": sub.counters.dead,
            "missed": sub.counters.missed,
        })
    }
}
