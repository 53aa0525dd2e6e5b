//! Peers of every bad kind.

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use bytes::BytesMut;
use fastrand::Rng;

use crate::bench::dialect::handshake;
use crate::bench::failure::Failure;
use crate::client::SubscribeOptions;
use crate::model::Qos;
use crate::protocol::native::command;
use crate::torture::daemon::KEY;
use crate::torture::raw::{Raw, reset};

/// Topics they use.
const TOPICS: u64 = 16;
/// Bytes of what is said one by one.
const SLOWLY: usize = 60;

/// Ways to come and vanish, and how often each was taken.
pub struct Ways<'a> {
    addr: &'a str,
    dice: Rng,
    pub counts: [(&'static str, u64); 8],
}

impl<'a> Ways<'a> {
    pub fn new(addr: &'a str, dice: Rng) -> Ways<'a> {
        let ways = [
            "said_nothing",
            "reset_at_once",
            "half_a_handshake",
            "one_byte_at_a_time",
            "reset_in_a_batch",
            "closed_in_a_batch",
            "subscribed_and_reset",
            "closed_its_sending_half",
        ];
        Ways { addr, dice, counts: ways.map(|way| (way, 0)) }
    }

    /// So many, one after another.
    pub fn come_and_go(&mut self, connections: u64) -> Result<(), Failure> {
        for _ in 0..connections {
            let way = self.dice.usize(..self.counts.len());
            self.counts[way].1 += 1;
            self.go(way)?;
        }
        Ok(())
    }

    fn go(&mut self, way: usize) -> Result<(), Failure> {
        let version = self.dice.u8(1..=2);
        let topic = format!("bad.{}", self.dice.u64(..TOPICS));
        match way {
            0 => drop(handshake::connect(self.addr)?),
            1 => reset(&handshake::connect(self.addr)?)?,
            2 => self.half_a_handshake(version)?,
            3 => self.one_byte_at_a_time(version)?,
            4 => self.torn(version, &topic)?.reset()?,
            5 => drop(self.torn(version, &topic)?),
            6 => subscriber(self.addr, version, &topic)?.reset()?,
            _ => self.half_closed(version, &topic)?,
        }
        Ok(())
    }

    fn half_a_handshake(&mut self, version: u8) -> Result<(), Failure> {
        let stream = handshake::connect(self.addr)?;
        let hello = hello(version);
        write(&stream, &hello[..self.dice.usize(1..hello.len())])?;
        if self.dice.bool() { reset(&stream) } else { Ok(()) }
    }

    fn one_byte_at_a_time(&mut self, version: u8) -> Result<(), Failure> {
        let mut stream = handshake::connect(self.addr)?;
        let mut said = hello(version);
        (0..10).for_each(|nth| command::ping(&mut said, nth));
        for byte in said.chunks(1).take(SLOWLY) {
            write(&stream, byte)?;
        }
        let mut answer = [0; 16];
        // Anything: the handshake was said whole.
        stream.read(&mut answer)?;
        if self.dice.bool() { reset(&stream) } else { Ok(()) }
    }

    /// One batch whole, the next one cut off.
    fn torn(&mut self, version: u8, topic: &str) -> Result<Raw, Failure> {
        let mut raw = Raw::open(self.addr, version, topic)?;
        let qos = if self.dice.bool() { Qos::AtLeastOnce } else { Qos::AtMostOnce };
        let bodies: Vec<Vec<u8>> = (0..self.dice.usize(1..20)).map(|_| vec![7; self.dice.usize(16..5000)]).collect();
        let frames = raw.frames(topic, qos, &bodies);
        raw.say(&frames)?;
        raw.say(&frames[..self.dice.usize(1..frames.len())])?;
        Ok(raw)
    }

    fn half_closed(&mut self, version: u8, topic: &str) -> Result<(), Failure> {
        let raw = self.torn(version, topic)?;
        raw.stream.shutdown(std::net::Shutdown::Write)?;
        raw.stream.set_read_timeout(Some(Duration::from_millis(20)))?;
        let mut rest = [0; 4096];
        // Until the broker closes too, or not for so long.
        while matches!((&raw.stream).read(&mut rest), Ok(1..)) {}
        Ok(())
    }
}

fn hello(version: u8) -> BytesMut {
    let mut out = BytesMut::new();
    command::hello(&mut out, 1, version.into());
    command::auth(&mut out, 2, KEY);
    out
}

fn write(mut stream: &TcpStream, bytes: &[u8]) -> Result<(), Failure> {
    Ok(std::io::Write::write_all(&mut stream, bytes)?)
}

/// Has said that it subscribes, and has not read the answer.
fn subscriber(addr: &str, version: u8, topic: &str) -> Result<Raw, Failure> {
    let mut raw = Raw::open(addr, version, topic)?;
    let mut out = BytesMut::new();
    if version == 1 {
        command::subscribe(&mut out, 5, topic.as_bytes(), Qos::AtMostOnce);
    } else {
        command::subscribe_with(&mut out, 5, &SubscribeOptions::new(topic).said());
    }
    raw.say(&out)?;
    Ok(raw)
}

/// In the middle of a frame, or subscribed, and silent from here on.
pub fn half_open(addr: &str, nth: u64) -> Result<Raw, Failure> {
    let version = 1 + (nth % 2) as u8;
    let topic = format!("bad.{}", nth % TOPICS);
    let mut raw = subscriber(addr, version, &topic)?;
    if nth % 3 == 0 {
        let frames = raw.frames(&topic, Qos::AtMostOnce, &[vec![7; 1000]]);
        raw.say(&frames[..500])?;
    }
    Ok(raw)
}
