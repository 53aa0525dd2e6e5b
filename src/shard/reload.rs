//! New terms while connections are open: what changes for them, and who has to go.

use super::Core;
use super::ask::Terms;
use super::session::{Conn, Phase, Session};
use super::stats::Reason;
use crate::auth::Permissions;
use crate::model::ConnId;
use crate::protocol::ErrorCode;

impl Core {
    /// From now on these, for everybody: who is already connected keeps to them from the next frame on.
    pub(super) fn reload(&mut self, terms: Terms) {
        let Terms { keys, limits, max_retries, retry, topics, retention_ms, retention_bytes, low_water } = terms;
        let options = &mut self.options;
        (options.keys, options.limits, options.topics) = (keys, limits, topics);
        (options.max_retries, options.retry) = (max_retries, retry);
        for log in &mut self.logs {
            log.log.keep(retention_ms, retention_bytes, low_water, options.limits.index_max);
        }
        let partitions: Vec<usize> = self.partitions.iter().map(|(index, _)| index).collect();
        partitions.into_iter().for_each(|index| self.set_ttl(index));
        let in_flight_max = self.options.limits.in_flight_max;
        let subscriptions: Vec<usize> = self.subscriptions.iter().map(|(index, _)| index).collect();
        for index in subscriptions {
            self.subscriptions[index].sub.in_flight_max = in_flight_max;
            self.make_ready(index);
        }
        let conns: Vec<ConnId> = self.conns.iter().flatten().map(|conn| conn.id).collect();
        conns.into_iter().for_each(|id| self.renew(id));
    }

    /// A connection under the new terms: by its key's new rights, or told to go if what it has is no longer allowed.
    /// Also for one that comes from a shard which has not heard of them yet.
    pub(super) fn renew(&mut self, id: ConnId) {
        let Some(mut conn) = self.take_conn(id) else { return };
        if conn.session.phase == Phase::Open && !self.renew_identity(&mut conn.session) {
            self.dismiss(&mut conn);
        }
        self.arm_conn(&mut conn);
        self.put_conn(conn);
    }

    fn renew_identity(&self, session: &mut Session) -> bool {
        let identity = session.identity.as_ref().expect("an open session has an identity");
        let Some(renewed) = self.options.keys.renew(identity) else { return false };
        let allowed = renewed.permissions == identity.permissions || still_allowed(session, &renewed.permissions);
        session.identity = Some(renewed.clone());
        allowed
    }

    fn dismiss(&mut self, conn: &mut Conn) {
        let name = conn.session.identity.as_ref().map_or("", |identity| &identity.name).to_owned();
        log::info!(
            "connection {} from {}: closed, for the key {name} may no longer do what it does",
            conn.id,
            conn.peer
        );
        self.stats.refused[Reason::KeyRevoked as usize] += 1;
        self.say_goodbye(conn.link, ErrorCode::Unauthenticated, "the API key or its rights were withdrawn");
        self.close(conn);
    }
}

/// Whether a session could have come to all it has with these permissions.
fn still_allowed(session: &Session, permissions: &Permissions) -> bool {
    let mut topics = session.aliases.iter().map(|(_, alias)| alias).chain(&session.last);
    let mut subscriptions = session.subscriptions.iter().flatten();
    topics.all(|alias| permissions.may_publish(&alias.topic))
        && subscriptions.all(|subscribed| permissions.may_subscribe(&subscribed.pattern))
}
