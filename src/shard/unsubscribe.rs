//! Subscriptions are left: by their clients, and by connections that end.

use super::Core;
use super::confirm::Entries;
use super::letter::{Ending, Letter};
use super::link::LinkIndex;
use super::refusal::Refusal;
use super::session::Conn;
use crate::broker::{Durability, Member};
use crate::protocol::native::reply;

impl Core {
    /// UNSUBSCRIBE.
    pub(super) fn unsubscribe(&mut self, conn: &mut Conn, correlation: u64, subscription: u64, delete: bool) {
        if conn.session.subscription(subscription).is_none() {
            return self.refuse(conn.link, correlation, &Refusal::unknown("unknown subscription"));
        }
        if delete {
            return self.delete_subscription(conn, correlation, subscription);
        }
        self.end_subscription(conn, subscription, Ending::Left);
        self.reply(conn.link, |out| reply::ack(out, correlation, subscription));
    }

    /// Ends all shards' parts; answers with what that says in the logs of this one, if it has a part.
    pub(super) fn end_subscription(&mut self, conn: &mut Conn, subscription: u64, ending: Ending) -> Option<Entries> {
        let state = conn.session.subscriptions.get_mut(subscription as usize - 1)?.take()?;
        let mut here = None;
        for share in state.shards {
            if share.shard == self.options.shard {
                here = Some(self.unbind(conn.link, subscription, ending));
            } else {
                self.write_letter(share.shard, Letter::Unsubscribe { conn: conn.id, subscription, ending });
            }
        }
        here
    }

    /// Ends this shard's part of a connection's subscription; answers with what that says in the logs.
    pub(super) fn unbind(&mut self, link: LinkIndex, id: u64, ending: Ending) -> Entries {
        let mut entries = Entries::default();
        let bindings = &mut self.links[link].bindings;
        let Ok(at) = bindings.binary_search_by_key(&id, |binding| binding.id) else { return entries };
        let binding = bindings.remove(at);
        if binding.pattern.is_some() {
            self.patterns.retain(|joined| *joined != (link, id));
        }
        let key = binding.pattern_key();
        let goes = match (ending, &key) {
            (Ending::Left, _) => false,
            (Ending::Deleted, _) => true,
            (Ending::Undone, Some(key)) => self.is_of_maker(key, link, id),
            (Ending::Undone, None) => false,
        };
        if let Some(key) = key.filter(|_| goes)
            && !self.is_held(&key)
        {
            self.forget_pattern(&key, &mut entries);
        }
        for (index, fresh) in binding.sources.iter().filter_map(|source| Some((source.subscription?, source.fresh))) {
            self.leave(index, link, id);
            let goes = goes && (fresh || ending == Ending::Deleted);
            if goes && self.subscriptions.get(index).is_some_and(|serving| serving.sub.members.is_empty()) {
                if let Some((log, end)) = self.remove_subscription(index) {
                    entries.add(log, end);
                }
            }
        }
        entries
    }

    /// Ends everything that a link subscribes to on this shard.
    pub(super) fn detach_link(&mut self, link: LinkIndex) {
        while let Some(id) = self.links[link].bindings.last().map(|binding| binding.id) {
            self.unbind(link, id, Ending::Left);
        }
        self.forget_confirmations(self.links[link].conn);
    }

    fn leave(&mut self, index: usize, link: LinkIndex, binding: u64) {
        let serving = &mut self.subscriptions[index];
        let of_binding = |member: &&Member| member.link == link && member.binding == binding;
        let Some(member) = serving.sub.members.iter().find(of_binding).copied() else { return };
        serving.sub.leave(self.now, member.serial);
        serving.place = None;
        if !serving.sub.members.is_empty() {
            return self.make_ready(index);
        }
        serving.detached = Some(self.now);
        let waiting = serving.history.drain(..).map(|held| held.bytes.len()).sum::<usize>();
        self.memory.history -= waiting;
        if serving.sub.durability == Durability::Ephemeral {
            self.remove_subscription(index);
        }
    }
}
