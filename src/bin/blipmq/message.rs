//! A delivered message as a line.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use blipmq::client::{DeliveredBatch, MessageView};
use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::output::Output;

/// How a message is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// The value and a line end.
    Value,
    /// Topic, partition and offset before it, with tabs between.
    Verbose,
    /// One object.
    Json,
}

pub fn write(
    batch: &DeliveredBatch,
    message: &MessageView<'_>,
    shape: Shape,
    output: &mut Output,
) -> Result<(), Failure> {
    match shape {
        Shape::Value => output.line(message.value),
        Shape::Json => output.object(&object(batch, message)),
        Shape::Verbose => {
            let (topic, partition, offset) = (batch.topic.as_str(), batch.partition, message.offset);
            output.raw(format!("{topic}\t{partition}\t{offset}\t").as_bytes())?;
            output.line(message.value)
        }
    }
}

fn object(batch: &DeliveredBatch, message: &MessageView<'_>) -> Value {
    let mut object = Map::new();
    object.insert("topic".into(), batch.topic.as_str().into());
    object.insert("partition".into(), batch.partition.into());
    object.insert("offset".into(), message.offset.0.into());
    object.insert("timestamp".into(), message.timestamp.0.into());
    object.insert("qos".into(), (batch.deliver.qos as u8).into());
    object.insert("attempt".into(), batch.deliver.attempt.into());
    if let Some(key) = message.key {
        text(&mut object, "key", key);
    }
    let headers: Vec<Value> = message.headers().map(|(name, value)| header(name, value)).collect();
    if !headers.is_empty() {
        object.insert("headers".into(), headers.into());
    }
    text(&mut object, "value", message.value);
    Value::Object(object)
}

fn header(name: &[u8], value: &[u8]) -> Value {
    let mut object = Map::new();
    text(&mut object, "name", name);
    text(&mut object, "value", value);
    json!(object)
}

/// As text under `name` where it is text, else under `name_base64`.
fn text(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.into(), text.into()),
        Err(_) => object.insert(format!("{name}_base64"), STANDARD.encode(bytes).into()),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_base64() {
        assert_eq!(header(b"n", b"\xff"), json!({ "name": "n", "value_base64": "/w==" }));
        assert_eq!(header(b"n", b"v"), json!({ "name": "n", "value": "v" }));
    }
}
