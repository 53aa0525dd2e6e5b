//! What has come and for whom: events of one connection until their owner looks.

use std::collections::{HashMap, VecDeque};

use crate::client::heard::SessionEvent;
use crate::client::session::{Owner, owner_of};
use crate::client::{ClientError, DeliveredBatch, PolledMessage};
use crate::protocol::native::reply::Published;

/// Something that was sent without waiting for an answer, and refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub correlation: u64,
    pub code: u16,
    pub text: String,
}

impl From<Refusal> for ClientError {
    fn from(refusal: Refusal) -> ClientError {
        ClientError::Refused { code: refusal.code, text: refusal.text }
    }
}

/// What an owner is told of what it sent.
#[derive(Clone, Debug)]
pub(super) enum Told {
    Published { correlation: u64, published: Published },
    Pong { correlation: u64 },
    Refused(Refusal),
}

/// Events, sorted by who is to see them.
#[derive(Debug, Default)]
pub(super) struct Mailboxes {
    /// Calls that wait for their answer.
    calls: HashMap<u64, Option<SessionEvent>>,
    owners: HashMap<Owner, VecDeque<Told>>,
    last_owner: Owner,
    deliveries: HashMap<u64, VecDeque<DeliveredBatch>>,
    messages: HashMap<u64, VecDeque<PolledMessage>>,
    strays: VecDeque<Refusal>,
    goodbye: Option<(u16, u32, String)>,
}

/// Refusals kept that nobody waits for. Beyond: the oldest go.
const STRAYS_MAX: usize = 1024;

/// Calls are made by nobody in particular.
pub(super) const CALLS: Owner = 0;

impl Mailboxes {
    pub(super) fn put(&mut self, event: SessionEvent) {
        match event {
            SessionEvent::Delivered(batch) => {
                self.deliveries.entry(batch.deliver.subscription).or_default().push_back(batch);
            }
            SessionEvent::Message(message) => {
                self.messages.entry(message.subscription).or_default().push_back(message);
            }
            SessionEvent::Published { correlation, published } => {
                self.tell(correlation, Told::Published { correlation, published });
            }
            SessionEvent::Refused { correlation, code, text } => self.refused(Refusal { correlation, code, text }),
            SessionEvent::Pong { correlation } if owner_of(correlation) != CALLS => {
                self.tell(correlation, Told::Pong { correlation });
            }
            SessionEvent::Done { correlation, .. }
            | SessionEvent::Pong { correlation }
            | SessionEvent::Aliased { correlation, .. }
            | SessionEvent::Subscribed { correlation, .. }
            | SessionEvent::Answer { correlation, .. } => self.answer(correlation, event),
            SessionEvent::GoAway { code, retry_after_ms, text } => self.goodbye = Some((code, retry_after_ms, text)),
            SessionEvent::Ready => {}
        }
    }

    /// Where a call's answer is wanted.
    pub(super) fn expect(&mut self, correlation: u64) {
        self.calls.insert(correlation, None);
    }

    /// The answer of a call, if it has come.
    pub(super) fn answered(&mut self, correlation: u64) -> Option<SessionEvent> {
        self.calls.get_mut(&correlation)?.take()
    }

    /// Nobody waits for this answer any more.
    pub(super) fn forget(&mut self, correlation: u64) {
        self.calls.remove(&correlation);
    }

    /// A new owner.
    pub(super) fn open(&mut self) -> Result<Owner, ClientError> {
        for _ in 0..Owner::MAX {
            self.last_owner = self.last_owner.wrapping_add(1);
            if self.last_owner != CALLS && !self.owners.contains_key(&self.last_owner) {
                self.owners.insert(self.last_owner, VecDeque::new());
                return Ok(self.last_owner);
            }
        }
        Err(ClientError::Misuse("65,535 publishers and subscriptions share this connection already"))
    }

    pub(super) fn close(&mut self, owner: Owner) {
        self.owners.remove(&owner);
    }

    /// What `owner` has been told.
    pub(super) fn told(&mut self, owner: Owner) -> Option<Told> {
        self.owners.get_mut(&owner)?.pop_front()
    }

    pub(super) fn delivered(&mut self, subscription: u64) -> Option<DeliveredBatch> {
        self.deliveries.get_mut(&subscription)?.pop_front()
    }

    pub(super) fn message(&mut self, subscription: u64) -> Option<PolledMessage> {
        self.messages.get_mut(&subscription)?.pop_front()
    }

    /// Messages of a version 1 subscription that are here.
    pub(super) fn waiting(&self, subscription: u64) -> u64 {
        self.messages.get(&subscription).map_or(0, |messages| messages.len() as u64)
    }

    /// A subscription ended: what was delivered and not looked at goes.
    pub(super) fn ended(&mut self, subscription: u64) {
        self.deliveries.remove(&subscription);
        self.messages.remove(&subscription);
    }

    pub(super) fn take_strays(&mut self) -> Vec<Refusal> {
        self.strays.drain(..).collect()
    }

    pub(super) fn take_deliveries(&mut self) -> Vec<DeliveredBatch> {
        self.deliveries.drain().flat_map(|(_, batches)| batches).collect()
    }

    /// The one stray refusal of what `correlation` named.
    pub(super) fn take_stray(&mut self, correlation: u64) -> Option<Refusal> {
        let at = self.strays.iter().position(|refusal| refusal.correlation == correlation)?;
        self.strays.remove(at)
    }

    /// Why the connection ended, as far as the broker said.
    pub(super) fn farewell(&self) -> ClientError {
        match (&self.goodbye, self.strays.back()) {
            (Some((code, retry_after_ms, text)), _) => {
                ClientError::GoAway { code: *code, retry_after_ms: *retry_after_ms, text: text.clone() }
            }
            (None, Some(refusal)) => refusal.clone().into(),
            (None, None) => ClientError::Closed,
        }
    }

    fn answer(&mut self, correlation: u64, event: SessionEvent) {
        if let Some(slot) = self.calls.get_mut(&correlation) {
            *slot = Some(event);
        }
    }

    fn tell(&mut self, correlation: u64, told: Told) {
        if let Some(owner) = self.owners.get_mut(&owner_of(correlation)) {
            owner.push_back(told);
        } else if let Told::Published { published, .. } = told {
            self.answer(correlation, SessionEvent::Published { correlation, published });
        }
    }

    fn refused(&mut self, refusal: Refusal) {
        let correlation = refusal.correlation;
        if let Some(slot) = self.calls.get_mut(&correlation) {
            let Refusal { code, text, .. } = refusal;
            *slot = Some(SessionEvent::Refused { correlation, code, text });
        } else if let Some(owner) = self.owners.get_mut(&owner_of(correlation)) {
            owner.push_back(Told::Refused(refusal));
        } else {
            if self.strays.len() == STRAYS_MAX {
                self.strays.pop_front();
            }
            self.strays.push_back(refusal);
        }
    }
}
