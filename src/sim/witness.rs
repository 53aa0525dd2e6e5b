//! Who hears everything that crosses the border of the cores: bytes to facts.
//!
//! The witness reads what a core is told at the moment it is told, and what it says at the moment it says it, so the
//! facts are those of the broker, whatever the network does with the bytes before or afterwards.

use std::collections::BTreeMap;

use bytes::{Buf, BytesMut};

use super::book::Book;
use super::messages::{MessageId, TopicId};
use super::network::LinkId;
use super::subs::{SubId, SubKey, Wanted};
use super::violation::{Violation, must};
use crate::model::{Instant, Limits, Offset, Qos, SubscriptionMode, record_batch};
use crate::protocol::native::frame::split;
use crate::protocol::native::reply::{Deliver, Published, Source, Subscribed};
use crate::protocol::native::request::{self, How, PublishBatch, Settle, SubscribeWith};
use crate::protocol::native::response::{self, Response};
use crate::protocol::native::{Request, Split};

/// Something that one side has said to the other.
#[derive(Debug)]
pub enum Fact {
    /// The broker has taken a publish, by its own word.
    Published {
        ids: Vec<MessageId>,
        said: Published,
    },
    Refused {
        ids: Vec<MessageId>,
        code: u16,
    },
    /// `said`: version 2 only.
    Subscribed {
        sub: SubId,
        link: LinkId,
        said: Option<Subscribed>,
        credit: (u32, u32),
    },
    /// One frame of deliveries.
    Sent {
        sub: SubId,
        link: LinkId,
        records: u32,
        bytes: usize,
    },
    Delivered(Delivery),
    Credited {
        sub: SubId,
        link: LinkId,
        messages: u32,
        bytes: u32,
    },
    Settled {
        sub: SubId,
        link: LinkId,
        topic: TopicId,
        which: Which,
    },
    Unsubscribed {
        sub: SubId,
        link: LinkId,
    },
}

/// One message, delivered once.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    pub sub: SubId,
    pub link: LinkId,
    pub topic: TopicId,
    pub id: MessageId,
    pub qos: Qos,
    /// Version 2 only, as all that follows.
    pub offset: Option<Offset>,
    pub attempt: Option<u16>,
    pub redelivery: bool,
    /// Its subscription had ended on this link when it came: it was under way between two shards.
    pub late: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum Which {
    Range(Offset, Offset),
    UpTo(Offset),
    Refused(Offset, Offset),
    One(MessageId),
}

/// What is known of one link.
#[derive(Debug)]
struct Watched {
    client: usize,
    /// The broker still holds an older connection of the same client.
    crowded: bool,
    version: u8,
    /// The client broke the rules: what it says is no longer understood.
    blind: bool,
    up: BytesMut,
    down: BytesMut,
    aliases: BTreeMap<u32, TopicId>,
    asked: BTreeMap<u64, Asked>,
    subs: BTreeMap<u64, SubId>,
    /// Ended on this link, while the link is still there; not those that were deleted, of which nothing may come.
    left: BTreeMap<u64, SubId>,
    sources: BTreeMap<(u64, u32), TopicId>,
    /// Version 1: what each delivery tag stands for.
    tags: BTreeMap<u64, (SubId, TopicId, MessageId)>,
}

#[derive(Debug)]
enum Asked {
    Publish(Vec<MessageId>),
    Subscribe(SubId, (u32, u32)),
    /// The subscription of that number ends when the broker comes to it: until then it is delivered to.
    Unsubscribe(u64),
}

#[derive(Debug, Default)]
pub struct Witness {
    links: BTreeMap<LinkId, Watched>,
}

/// After an UNSUBSCRIBE, what was under way may still come; but not when the subscription was deleted.
pub const ENDED: &str = "nothing is delivered to a subscription that has ended";
const DECODABLE: &str = "what a broker says is a frame of its protocol";

impl Witness {
    /// A client has connected.
    pub fn watch(&mut self, link: LinkId, client: usize) {
        let watched = Watched {
            client,
            crowded: false,
            version: 0,
            blind: false,
            up: BytesMut::new(),
            down: BytesMut::new(),
            aliases: BTreeMap::new(),
            asked: BTreeMap::new(),
            subs: BTreeMap::new(),
            left: BTreeMap::new(),
            sources: BTreeMap::new(),
            tags: BTreeMap::new(),
        };
        self.links.insert(link, watched);
    }

    /// The core has been told that a link is gone.
    pub fn closed(&mut self, book: &mut Book, link: LinkId) {
        let Some(watched) = self.links.remove(&link) else { return };
        watched.subs.into_values().for_each(|sub| book.subs.detach(sub, link));
        watched.left.into_values().for_each(|sub| book.subs.vanished(sub, link));
    }

    /// The process is gone.
    pub fn process_ended(&mut self, book: &mut Book) {
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        links.into_iter().for_each(|link| self.closed(book, link));
    }

    /// The core is told these bytes.
    pub fn up(&mut self, book: &mut Book, now: Instant, link: LinkId, bytes: &[u8]) -> Vec<Fact> {
        let client = self.links.get(&link).map(|watched| watched.client);
        let crowded = self.links.iter().any(|(other, watched)| *other != link && Some(watched.client) == client);
        let Some(watched) = self.links.get_mut(&link).filter(|watched| !watched.blind) else { return Vec::new() };
        watched.crowded = crowded;
        watched.up.extend_from_slice(bytes);
        let mut facts = Vec::new();
        loop {
            match split(&watched.up, Limits::FRAME_MAX) {
                Split::Frame(frame) => {
                    let bytes = watched.up.split_to(frame.end).freeze();
                    let payload = &bytes[frame.payload];
                    match request::decode(watched.version, frame.kind, payload) {
                        Ok(request) => {
                            watched.request(book, now, link, (frame.correlation, payload), request, &mut facts)
                        }
                        Err(malformed) => watched.blind |= malformed.close,
                    }
                }
                Split::More(_) => return facts,
                Split::Bad { .. } => {
                    watched.blind = true;
                    return facts;
                }
            }
        }
    }

    /// The core says these bytes.
    pub fn down(&mut self, book: &mut Book, link: LinkId, bytes: &[u8]) -> Result<Vec<Fact>, Violation> {
        let Some(watched) = self.links.get_mut(&link) else { return Ok(Vec::new()) };
        watched.down.extend_from_slice(bytes);
        let mut facts = Vec::new();
        loop {
            match split(&watched.down, Limits::FRAME_MAX + 1024) {
                Split::Frame(frame) => {
                    let bytes = watched.down.split_to(frame.end).freeze();
                    let payload = &bytes[frame.payload];
                    let response = response::decode(watched.version, frame.kind, payload).map_err(|malformed| {
                        Violation { sentence: DECODABLE, detail: format!("type {}: {}", frame.kind, malformed.text) }
                    })?;
                    watched.response(book, link, (frame.correlation, payload), response, &mut facts)?;
                }
                Split::More(_) => return Ok(facts),
                Split::Bad { text, .. } => return Err(Violation { sentence: DECODABLE, detail: text.into() }),
            }
        }
    }
}

/// What the client says.
impl Watched {
    fn request(
        &mut self,
        book: &mut Book,
        now: Instant,
        link: LinkId,
        (correlation, payload): (u64, &[u8]),
        request: Request<'_>,
        facts: &mut Vec<Fact>,
    ) {
        match request {
            Request::Hello { version, .. } => self.version = version.min(2) as u8,
            Request::Alias { alias, topic } => {
                if let Some(topic) = book.topic(topic) {
                    self.aliases.insert(alias, topic);
                }
            }
            Request::Publish(publish) => {
                let ids: Vec<MessageId> = book.messages.identify(publish.message).into_iter().collect();
                self.handed(book, (now, link), correlation, ids);
            }
            Request::PublishBatch(said) => self.batch_handed(book, (now, link), correlation, &said, payload),
            Request::Subscribe { topic, qos } => self.subscribe(book, correlation, topic, qos),
            Request::SubscribeWith(said) => self.subscribe_with(book, correlation, &said),
            Request::Credit(credit) => {
                if let Some(sub) = self.subs.get(&credit.subscription) {
                    let (messages, bytes) = (credit.messages, credit.bytes);
                    facts.push(Fact::Credited { sub: *sub, link, messages, bytes });
                }
            }
            Request::Settle(settle) => facts.extend(self.settle(link, settle)),
            Request::Ack { .. } => {
                if let Some((sub, topic, id)) = self.tags.remove(&correlation) {
                    facts.push(Fact::Settled { sub, link, topic, which: Which::One(id) });
                }
            }
            Request::Unsubscribe { subscription, delete } => {
                if let Some(sub) = self.subs.get(&subscription) {
                    if delete {
                        book.subs.delete(*sub);
                    }
                    self.asked.insert(correlation, Asked::Unsubscribe(subscription));
                }
            }
            Request::Auth { .. }
            | Request::Ping
            | Request::Poll { .. }
            | Request::GoAway(_)
            | Request::Query { .. } => {}
        }
    }

    fn batch_handed(
        &mut self,
        book: &mut Book,
        (now, link): (Instant, LinkId),
        correlation: u64,
        said: &PublishBatch,
        payload: &[u8],
    ) {
        let batch = &payload[said.batch.clone()];
        if record_batch::check(batch).is_ok() {
            let ids = record_batch::records(batch).filter_map(|record| book.messages.identify(record.value)).collect();
            self.handed(book, (now, link), correlation, ids);
        }
    }

    fn handed(&mut self, book: &mut Book, (now, link): (Instant, LinkId), correlation: u64, ids: Vec<MessageId>) {
        ids.iter().for_each(|id| book.messages.read(now, link, *id));
        self.asked.insert(correlation, Asked::Publish(ids));
    }

    fn subscribe(&mut self, book: &mut Book, correlation: u64, topic: &[u8], qos: Qos) {
        let Some(topic) = book.topic(topic) else { return };
        let key = (qos == Qos::AtLeastOnce).then_some(SubKey::Session { client: self.client, topic });
        let attempts_max = book.attempts_default;
        let (shared, auto_acknowledge, dead_letter) = (false, false, None);
        let topics = vec![topic];
        let (spread, retry) = (false, book.retry(0));
        let wanted =
            Wanted { version: 1, qos, shared, auto_acknowledge, attempts_max, retry, dead_letter, topics, spread };
        let sub = match key {
            Some(key) => book.subs.session(key, wanted, self.crowded),
            None => book.subs.wanted(None, wanted),
        };
        self.asked.insert(correlation, Asked::Subscribe(sub, (0, 0)));
    }

    fn subscribe_with(&mut self, book: &mut Book, correlation: u64, said: &SubscribeWith<'_>) {
        let named = SubKey::Named { pattern: said.pattern.to_vec(), name: said.name.into() };
        let wanted = Wanted {
            version: 2,
            qos: said.qos,
            shared: said.mode == SubscriptionMode::Shared,
            auto_acknowledge: said.auto_acknowledge,
            attempts_max: said.max_retries.map_or(book.attempts_default, |retries| retries.saturating_add(1)),
            retry: book.retry(said.retry_delay_ms.into()),
            dead_letter: book.topic(said.dead_letter),
            topics: book.matching(said.pattern),
            spread: book.topic(said.pattern).is_none(),
        };
        let sub = book.subs.wanted((!said.name.is_empty()).then_some(named), wanted);
        self.asked.insert(correlation, Asked::Subscribe(sub, (said.credit_messages, said.credit_bytes)));
    }

    fn settle(&self, link: LinkId, settle: Settle) -> Option<Fact> {
        let sub = *self.subs.get(&settle.subscription)?;
        let topic = *self.sources.get(&(settle.subscription, settle.source))?;
        let which = match settle.how {
            How::Range { first, last } => Which::Range(first, last),
            How::UpTo { last } => Which::UpTo(last),
            How::Refuse { first, last, .. } => Which::Refused(first, last),
        };
        Some(Fact::Settled { sub, link, topic, which })
    }
}

/// What the broker says.
impl Watched {
    fn response(
        &mut self,
        book: &Book,
        link: LinkId,
        (correlation, payload): (u64, &[u8]),
        response: Response<'_>,
        facts: &mut Vec<Fact>,
    ) -> Result<(), Violation> {
        match response {
            Response::Ack { subscription } if subscription != 0 => {
                if let Some(Asked::Unsubscribe(number)) = self.asked.get(&correlation) {
                    let (number, sub) = (*number, self.subs.remove(number));
                    facts.extend(sub.map(|sub| Fact::Unsubscribed { sub, link }));
                    // What is deleted has ended on every shard when that is said.
                    self.left.extend(sub.filter(|sub| !book.subs.of(*sub).deleted).map(|sub| (number, sub)));
                }
                facts.extend(self.subscribed(link, correlation, subscription, None));
            }
            Response::Subscribed(said) => {
                facts.extend(self.subscribed(link, correlation, said.subscription, Some(said)));
            }
            Response::Nack { code, .. } => {
                if let Some(Asked::Publish(ids)) = self.asked.remove(&correlation) {
                    facts.push(Fact::Refused { ids, code });
                }
            }
            Response::Published(said) => {
                if let Some(Asked::Publish(ids)) = self.asked.remove(&correlation) {
                    facts.push(Fact::Published { ids, said });
                }
            }
            Response::Source(said) => self.source(book, &said),
            Response::Deliver { deliver, batch } => {
                self.delivered(book, link, &deliver, payload, &payload[batch], facts)?
            }
            Response::Publish(said) => facts.push(self.delivered_v1(book, link, correlation, &said)?),
            _ => {}
        }
        Ok(())
    }

    fn subscribed(&mut self, link: LinkId, correlation: u64, number: u64, said: Option<Subscribed>) -> Option<Fact> {
        let Some(Asked::Subscribe(sub, credit)) = self.asked.remove(&correlation) else { return None };
        self.subs.insert(number, sub);
        Some(Fact::Subscribed { sub, link, said, credit })
    }

    fn source(&mut self, book: &Book, said: &Source<'_>) {
        if let Some(topic) = book.topic(said.topic.as_bytes()) {
            self.sources.insert((said.subscription, said.source), topic);
        }
    }

    fn delivered(
        &mut self,
        book: &Book,
        link: LinkId,
        said: &Deliver,
        payload: &[u8],
        batch: &[u8],
        facts: &mut Vec<Fact>,
    ) -> Result<(), Violation> {
        let here = self.subs.get(&said.subscription).map(|sub| (*sub, false));
        let wanted = here.or_else(|| self.left.get(&said.subscription).map(|sub| (*sub, true)));
        must(wanted.is_some(), ENDED, || format!("{link:?} {said:?}"))?;
        let (sub, late) = wanted.expect("checked");
        let known = self.sources.get(&(said.subscription, said.source)).copied();
        must(known.is_some(), "a source is named before it delivers", || format!("{link:?} {said:?}"))?;
        let header = record_batch::check(batch);
        must(header.is_ok(), "a delivered batch is whole", || format!("{link:?} {said:?}: {header:?}"))?;
        let (topic, base) = (known.expect("checked"), header.expect("checked").base_offset);
        if !late {
            facts.push(Fact::Sent { sub, link, records: said.count, bytes: payload.len() });
        }
        let before = facts.len();
        for record in record_batch::records(batch) {
            let offset = base.plus(u64::from(record.offset_delta));
            if offset < said.first_offset || offset >= said.first_offset.plus(u64::from(said.count)) {
                continue;
            }
            let id = published(book, record.value, || format!("{link:?} offset {offset}"))?;
            let (attempt, redelivery, qos) = (Some(said.attempt), said.redelivery, said.qos);
            let offset = Some(offset);
            facts.push(Fact::Delivered(Delivery { sub, link, topic, id, qos, offset, attempt, redelivery, late }));
        }
        let all = facts.len() - before == said.count as usize;
        must(all, "a delivery has all the records that it says it has", || format!("{link:?} {said:?} base {base}"))
    }

    fn delivered_v1(
        &mut self,
        book: &Book,
        link: LinkId,
        tag: u64,
        said: &request::Publish<'_>,
    ) -> Result<Fact, Violation> {
        let topic = book.topic(said.topic);
        let sub = self.subs.values().find(|sub| book.subs.of(**sub).wanted.topics.first().copied() == topic).copied();
        let (Some(topic), Some(sub)) = (topic, sub) else {
            return Err(Violation {
                sentence: "only what was subscribed to is delivered",
                detail: format!("{link:?}: {}", String::from_utf8_lossy(said.topic)),
            });
        };
        let id = published(book, said.message, || format!("{link:?} tag {tag}"))?;
        if said.qos == Qos::AtLeastOnce {
            self.tags.insert(tag, (sub, topic, id));
        }
        let (offset, attempt, redelivery, late) = (None, None, false, false);
        Ok(Fact::Delivered(Delivery { sub, link, topic, id, qos: said.qos, offset, attempt, redelivery, late }))
    }
}

fn published(book: &Book, value: &[u8], place: impl Fn() -> String) -> Result<MessageId, Violation> {
    let id = book.messages.identify(value);
    id.ok_or_else(|| Violation { sentence: "nothing is delivered that was not published", detail: place() })
}

impl Witness {
    /// Bytes that were said and are not yet a whole frame; none when all is said.
    pub fn unfinished(&self, link: LinkId) -> usize {
        self.links.get(&link).map_or(0, |watched| watched.down.remaining())
    }
}
