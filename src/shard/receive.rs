//! What a connection says: bytes to frames, frames to requests, and each request to the verb that does it.

use bytes::{Buf, BytesMut};

use super::Core;
use super::letter::Settle;
use super::refusal::Refusal;
use super::session::{Conn, Hold, Phase};
use super::stats::Reason;
use crate::model::{ConnId, Offset, Qos};
use crate::protocol::ErrorCode;
use crate::protocol::native::frame::{Frame, Split, split};
use crate::protocol::native::request::{self, Credit, How, PublishBatch, Request};
use crate::protocol::native::{kind, reply};

/// Bytes received, and how far they are handled.
pub(super) struct Input {
    pub bytes: BytesMut,
    pub at: usize,
}

/// What becomes of the rest of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Go,
    /// The frame at hand was not handled; it waits.
    Hold(Hold),
    /// The frame at hand was handled, and nothing after it will be.
    Close,
}

impl Core {
    pub(super) fn received(&mut self, id: ConnId, bytes: BytesMut) {
        let Some(mut conn) = self.take_conn(id) else { return };
        self.stats.bytes_in += bytes.len() as u64;
        conn.heard = self.now;
        if conn.hold.is_some() || conn.session.phase == Phase::Closing {
            self.keep_unread(&mut conn, bytes);
        } else {
            self.read(&mut conn, bytes);
        }
        self.put_conn(conn);
    }

    fn keep_unread(&mut self, conn: &mut Conn, bytes: BytesMut) {
        if conn.session.phase != Phase::Closing {
            let (all, large) = conn.counted;
            self.count_input(conn, all + bytes.len(), large);
            conn.unread.unsplit(bytes);
        }
    }

    /// Handles as much of `bytes` as may be handled now.
    pub(super) fn read(&mut self, conn: &mut Conn, bytes: BytesMut) {
        let mut input = Input { bytes, at: 0 };
        let mut flow = Flow::Go;
        if !conn.partial.is_empty() {
            flow = self.finish_partial(conn, &mut input);
        }
        if flow == Flow::Go {
            flow = self.read_frames(conn, &mut input);
        }
        self.end_run();
        match flow {
            Flow::Go => self.keep_partial(conn, &input),
            Flow::Hold(hold) => self.hold(conn, hold, input),
            Flow::Close => self.close(conn),
        }
    }

    /// Completes the frame whose beginning came earlier: only that frame is copied.
    fn finish_partial(&mut self, conn: &mut Conn, input: &mut Input) -> Flow {
        let frame_max = self.options.limits.frame_max;
        loop {
            let wanted = match split(&conn.partial, frame_max) {
                Split::More(wanted) if self.set_aside(conn, wanted) => wanted - conn.partial.len(),
                Split::More(_) => {
                    rejoin(conn, input);
                    return Flow::Hold(Hold::Frame);
                }
                Split::Bad { .. } if speaks_tls(conn, &conn.partial) => return self.tls_on_plain_port(conn),
                Split::Bad { code, correlation, text } => return self.bad_frame(conn, code, correlation, text),
                Split::Frame(frame) => {
                    self.count_input(conn, 0, 0);
                    let mut whole = Input { bytes: std::mem::take(&mut conn.partial), at: 0 };
                    let flow = self.frame(conn, &mut whole, &frame);
                    if let Flow::Hold(_) = flow {
                        whole.bytes.unsplit(std::mem::take(&mut input.bytes).split_off(input.at));
                        *input = whole;
                    }
                    return flow;
                }
            };
            let rest = &input.bytes[input.at..];
            if rest.is_empty() {
                return Flow::Go;
            }
            let taken = wanted.min(rest.len());
            conn.partial.reserve(wanted);
            conn.partial.extend_from_slice(&rest[..taken]);
            input.at += taken;
        }
    }

    fn read_frames(&mut self, conn: &mut Conn, input: &mut Input) -> Flow {
        let frame_max = self.options.limits.frame_max;
        loop {
            match split(&input.bytes[input.at..], frame_max) {
                Split::Frame(frame) => {
                    let flow = self.frame(conn, input, &frame);
                    if flow != Flow::Go {
                        return flow;
                    }
                }
                Split::More(_) if input.at == input.bytes.len() => return Flow::Go,
                Split::More(wanted) if self.set_aside(conn, wanted) => return Flow::Go,
                Split::More(_) => return Flow::Hold(Hold::Frame),
                Split::Bad { .. } if speaks_tls(conn, &input.bytes[input.at..]) => return self.tls_on_plain_port(conn),
                Split::Bad { code, correlation, text } => return self.bad_frame(conn, code, correlation, text),
            }
        }
    }

    fn keep_partial(&mut self, conn: &mut Conn, input: &Input) {
        conn.partial.extend_from_slice(&input.bytes[input.at..]);
        debug_assert!(conn.partial.len() <= conn.counted.0, "room was set aside for a frame before it is kept");
    }

    /// Handles the frame at `input.at` and moves past it, unless it has to wait.
    #[inline]
    fn frame(&mut self, conn: &mut Conn, input: &mut Input, frame: &Frame) -> Flow {
        if conn.session.phase != Phase::Open {
            if self.links[conn.link].backlog() > self.options.limits.outbox_max {
                return Flow::Hold(Hold::Output);
            }
            let flow = self.handshake(conn, input, frame);
            input.at += frame.end;
            return flow;
        }
        let start = input.at + frame.payload.start;
        let payload = &input.bytes[start..input.at + frame.end];
        if frame.kind == kind::PUBLISH && conn.session.version == 1 {
            let flow = match request::publish(payload) {
                Ok(publish) => self.publish_single(conn, frame.correlation, &publish),
                Err(malformed) => self.malformed(conn, frame.correlation, malformed),
            };
            if !matches!(flow, Flow::Hold(_)) {
                input.at += frame.end;
            }
            return flow;
        }
        self.end_run();
        let flow = match request::decode(conn.session.version, frame.kind, payload) {
            Ok(Request::PublishBatch(publish)) => return self.batch_frame(conn, input, frame, publish),
            Ok(request) => self.request(conn, frame.correlation, request),
            Err(malformed) => self.malformed(conn, frame.correlation, malformed),
        };
        if !matches!(flow, Flow::Hold(_)) {
            input.at += frame.end;
        }
        flow
    }

    /// The batch is split out of the input, not copied.
    fn batch_frame(&mut self, conn: &mut Conn, input: &mut Input, frame: &Frame, publish: PublishBatch) -> Flow {
        let alias = match self.publish_alias(conn, frame.correlation, &publish) {
            Ok(alias) => alias,
            Err(flow) => {
                if !matches!(flow, Flow::Hold(_)) {
                    input.at += frame.end;
                }
                return flow;
            }
        };
        let batch_at = input.at + frame.payload.start + publish.batch.start;
        input.bytes.advance(batch_at);
        input.at = 0;
        let batch = input.bytes.split_to(publish.batch.len());
        self.publish_batch(conn, frame.correlation, &publish, alias, batch)
    }

    fn request(&mut self, conn: &mut Conn, correlation: u64, request: Request<'_>) -> Flow {
        if self.links[conn.link].backlog() > self.options.limits.outbox_max {
            return Flow::Hold(Hold::Output);
        }
        if named(&request).is_some_and(|subscription| conn.session.is_pending(subscription)) {
            return Flow::Hold(Hold::Subscribing);
        }
        match request {
            Request::Ping => self.reply(conn.link, |out| reply::pong(out, correlation)),
            Request::Poll { subscription } => self.polled(conn, correlation, subscription),
            Request::Ack { subscription } => {
                self.settle(conn, correlation, subscription, Settle::Tag { tag: correlation });
            }
            Request::Settle(settle) => {
                self.settle(conn, correlation, settle.subscription, half_open(settle.source, settle.how));
            }
            Request::Credit(Credit { subscription, messages, bytes }) => {
                self.credited(conn, correlation, subscription, u64::from(messages), u64::from(bytes));
            }
            Request::Alias { alias, topic } => return self.alias(conn, correlation, alias, topic),
            Request::Subscribe { topic, qos } => return self.subscribe_v1(conn, correlation, topic, qos),
            Request::SubscribeWith(wanted) => return self.subscribe_with(conn, correlation, &wanted),
            Request::Unsubscribe { subscription, delete } => {
                self.unsubscribe(conn, correlation, subscription, delete);
            }
            Request::Query { what, limit } => self.query(conn, correlation, what, limit),
            Request::GoAway(_) => return Flow::Close,
            Request::Hello { .. } => return self.refuse_and_go_on(conn, correlation, "HELLO was said already"),
            Request::Auth { .. } => return self.refuse_and_go_on(conn, correlation, "AUTH was said already"),
            Request::Publish(_) | Request::PublishBatch(_) => unreachable!("handled by frame()"),
        }
        Flow::Go
    }

    fn refuse_and_go_on(&mut self, conn: &mut Conn, correlation: u64, text: &'static str) -> Flow {
        self.refuse(conn.link, correlation, &Refusal::bad(text));
        Flow::Go
    }

    pub(super) fn malformed(&mut self, conn: &mut Conn, correlation: u64, malformed: request::Malformed) -> Flow {
        let refusal = Refusal::new(malformed.code, Reason::BadRequest, malformed.text);
        self.complain(conn, malformed.text);
        match self.decline(conn.link, correlation, &refusal) {
            Flow::Go if malformed.close => Flow::Close,
            flow => flow,
        }
    }

    fn bad_frame(&mut self, conn: &mut Conn, code: ErrorCode, correlation: Option<u64>, text: &'static str) -> Flow {
        self.complain(conn, text);
        let reason = if code == ErrorCode::TooLarge { Reason::TooLarge } else { Reason::BadFrame };
        match correlation {
            Some(correlation) => self.refuse(conn.link, correlation, &Refusal::new(code, reason, text)),
            None => self.stats.refused[reason as usize] += 1,
        }
        Flow::Close
    }

    /// Nothing that we could say would be understood.
    fn tls_on_plain_port(&mut self, conn: &mut Conn) -> Flow {
        self.complain(conn, "it speaks TLS, and this port does not");
        self.stats.refused[Reason::TlsOnPlainPort as usize] += 1;
        Flow::Close
    }

    /// Bad input is logged once for each connection: a peer cannot fill the log.
    fn complain(&mut self, conn: &mut Conn, text: &str) {
        if !conn.complained {
            conn.complained = true;
            log::warn!("connection {} from {}: {text}", conn.id, conn.peer);
        }
    }
}

/// Puts the beginning of a frame and what came after it together again.
fn rejoin(conn: &mut Conn, input: &mut Input) {
    let rest = std::mem::take(&mut input.bytes).split_off(input.at);
    let mut whole = std::mem::take(&mut conn.partial);
    whole.unsplit(rest);
    *input = Input { bytes: whole, at: 0 };
}

/// A handshake record of TLS, any version: as the length of a frame far beyond the bound.
fn speaks_tls(conn: &Conn, bytes: &[u8]) -> bool {
    conn.session.phase == Phase::Hello && bytes.starts_with(&[0x16, 0x03])
}

/// The subscription that a request speaks of.
fn named(request: &Request<'_>) -> Option<u64> {
    match request {
        Request::Poll { subscription } | Request::Ack { subscription } => Some(*subscription),
        Request::Unsubscribe { subscription, .. } => Some(*subscription),
        Request::Settle(settle) => Some(settle.subscription),
        Request::Credit(credit) => Some(credit.subscription),
        _ => None,
    }
}

/// The wire's inclusive ranges as half-open ones.
fn half_open(source: u32, how: How) -> Settle {
    let end = |last: Offset| Offset(last.0.saturating_add(1));
    match how {
        How::Range { first, last } => Settle::Ack { source, first, end: end(last) },
        How::UpTo { last } => Settle::UpTo { source, end: end(last) },
        How::Refuse { first, last, delay_ms } => Settle::Nack { source, first, end: end(last), delay_ms },
    }
}

/// The higher quality of service needs the log; the lower one is only passed on.
pub(super) fn needs_log(qos: Qos) -> bool {
    qos == Qos::AtLeastOnce
}
