//! A client that keeps to nothing.

use bytes::{BufMut, BytesMut};

use super::{Hands, Line};
use crate::model::{Instant, Qos};
use crate::protocol::native::{command, kind};
use crate::sim::dice::Dice;

/// Garbage, lies, half a handshake, silence.
#[derive(Debug)]
pub struct Vandal {
    pub key: String,
}

impl Vandal {
    pub fn act(&mut self, line: &mut Line, hands: &mut Hands<'_>, dice: &mut Dice) -> Instant {
        let Some(link) = line.link else { return hands.now.plus_ms(10) };
        let mut bytes = BytesMut::new();
        match dice.below(7) {
            0 => bytes.extend((0..dice.below(100)).map(|_| dice.roll() as u8)),
            1 => command::publish(&mut bytes, 1, Qos::AtLeastOnce, b"t0", b"before any handshake"),
            2 => self.greeted(&mut bytes, |bytes| bytes.put_slice(&[0, 0, 0, 20, 99, 1, 2, 3])),
            3 => self.greeted(&mut bytes, lying_batch),
            4 => self.greeted(&mut bytes, |bytes| command::ack(bytes, 77, 12345)),
            5 => command::auth(&mut bytes, 1, "no such key"),
            _ => {}
        }
        hands.network.write(hands.now, link, &bytes);
        if dice.chance(500) {
            hands.network.client_closes(hands.now, link);
            line.link = None;
        } else if dice.chance(200) {
            hands.network.reset(hands.now, link);
        }
        hands.now.plus_ms(dice.between(1, 100))
    }

    fn greeted(&self, bytes: &mut BytesMut, then: impl FnOnce(&mut BytesMut)) {
        command::hello(bytes, 1, 2);
        command::auth(bytes, 2, &self.key);
        then(bytes);
    }
}

/// A publish whose batch is none.
fn lying_batch(bytes: &mut BytesMut) {
    command::alias(bytes, 3, 0, b"t0");
    let said = command::BatchFor { alias: 0, qos: Qos::AtLeastOnce, acknowledge: true, ..command::BatchFor::default() };
    command::publish_batch(bytes, 4, &said, &[kind::HELLO; 100]);
}
