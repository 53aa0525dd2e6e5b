//! What a command writes, for people and for programs.

use std::io::{BufWriter, Write};

use serde_json::Value;

use super::failure::Failure;

/// Buffered; flush before promising anything to a broker. A reader that has gone is [`Failure::ReaderGone`].
pub struct Output {
    json: bool,
    out: BufWriter<Box<dyn Write>>,
}

impl Output {
    pub fn new(json: bool, out: Box<dyn Write>) -> Output {
        Output { json, out: BufWriter::with_capacity(64 * 1024, out) }
    }

    pub fn is_json(&self) -> bool {
        self.json
    }

    /// One line for people, or one object.
    pub fn say(&mut self, text: &str, object: &Value) -> Result<(), Failure> {
        if self.json { self.object(object) } else { self.line(text.as_bytes()) }
    }

    pub fn line(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.raw(bytes)?;
        self.raw(b"\n")
    }

    pub fn object(&mut self, object: &Value) -> Result<(), Failure> {
        self.line(object.to_string().as_bytes())
    }

    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.out.write_all(bytes)?)
    }

    pub fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.out.flush()?)
    }
}
