//! `blipmq pub`: publishes one message, or one a line.

use std::io::{BufRead, BufReader, Read, stdin};

use blipmq::client::blocking::{Client, Publisher};
use blipmq::client::{ProducerOptions, PublishOptions};
use blipmq::model::record_batch::RecordExtras;
use blipmq::model::{Limits, Qos};
use blipmq::protocol::native::reply::{Published, Reached};
use clap::Args;
use serde_json::json;

use super::connect::Broker;
use super::duration;
use super::failure::Failure;
use super::output::Output;

/// Publish a message, or one for each line of standard input
#[derive(Args)]
pub struct Arguments {
    topic: String,
    /// The message; - or nothing: all of standard input
    #[arg(conflicts_with = "lines", allow_hyphen_values = true)]
    message: Option<String>,
    /// A message for each line of standard input
    #[arg(long)]
    lines: bool,
    /// 1: kept until acknowledged by every subscription; 0: gone once sent
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    qos: u8,
    /// The messages' key
    #[arg(long)]
    key: Option<String>,
    /// A header of the messages; as often as needed
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Do not deliver it when it is older than this
    #[arg(long, value_name = "TIME", value_parser = ttl)]
    ttl: Option<u32>,
    #[command(flatten)]
    broker: Broker,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.into(), value.into()))
}

/// Zero would mean the topic's own.
fn ttl(text: &str) -> Result<u32, String> {
    let ms = duration::parse(text)?.as_millis();
    u32::try_from(ms).ok().filter(|ms| *ms > 0).ok_or_else(|| "expected 1ms to 49d".into())
}

pub fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    let client = arguments.broker.connect()?;
    if arguments.lines {
        lines(arguments, &client, output)?
    } else {
        one(arguments, &client, output)?
    }
    output.flush()?;
    Ok(client.close()?)
}

impl Arguments {
    fn qos(&self) -> Qos {
        Qos::from_u8(self.qos).expect("the range of --qos is that of a QoS")
    }

    fn headers(&self) -> Vec<(&[u8], &[u8])> {
        self.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect()
    }
}

fn one(arguments: &Arguments, client: &Client, output: &mut Output) -> Result<(), Failure> {
    let message = match arguments.message.as_deref() {
        None | Some("-") => whole_input(most(client))?,
        Some(message) => message.as_bytes().to_vec(),
    };
    let headers = arguments.headers();
    let options = PublishOptions {
        qos: arguments.qos(),
        key: arguments.key.as_deref().map(str::as_bytes),
        headers: &headers,
        ttl_ms: arguments.ttl.unwrap_or(0),
        ..PublishOptions::default()
    };
    let published = client.publish(&arguments.topic, &message, &options)?;
    report(arguments, 1, 0, published, output)
}

fn lines(arguments: &Arguments, client: &Client, output: &mut Output) -> Result<(), Failure> {
    let options = ProducerOptions {
        qos: arguments.qos(),
        acknowledge: true,
        ttl_ms: arguments.ttl.unwrap_or(0),
        ..ProducerOptions::default()
    };
    let mut publisher = client.publisher(&arguments.topic, options)?;
    let fed = feed(arguments, most(client), &mut publisher);
    // What was confirmed before a failure is worth knowing.
    let totals = *publisher.totals();
    report(arguments, totals.confirmed, totals.published - totals.confirmed, totals.last, output)?;
    fed
}

fn feed(arguments: &Arguments, most: u64, publisher: &mut Publisher) -> Result<(), Failure> {
    let headers = arguments.headers();
    let extras = RecordExtras { key: arguments.key.as_deref().map(str::as_bytes), headers: &headers };
    let mut input = BufReader::with_capacity(Limits::READ, stdin());
    let mut line = Vec::new();
    while next_line(&mut input, most, &mut line)? {
        publisher.publish_with(&line, extras)?;
        if input.buffer().is_empty() {
            // The next line may be long in coming.
            publisher.send()?;
        }
    }
    Ok(publisher.flush()?)
}

/// The next line without its end. False: there is none.
fn next_line(input: &mut BufReader<impl Read>, most: u64, line: &mut Vec<u8>) -> Result<bool, Failure> {
    line.clear();
    let read = input.by_ref().take(most + 1).read_until(b'\n', line)?;
    if line.ends_with(b"\n") {
        line.pop();
    } else if read as u64 > most {
        return Err(too_long(most));
    }
    Ok(read > 0)
}

fn whole_input(most: u64) -> Result<Vec<u8>, Failure> {
    let mut message = Vec::new();
    let read = stdin().take(most + 1).read_to_end(&mut message)?;
    if read as u64 > most { Err(too_long(most)) } else { Ok(message) }
}

fn too_long(most: u64) -> Failure {
    Failure::Usage(format!("a message is longer than the broker's largest frame, {most} bytes"))
}

fn most(client: &Client) -> u64 {
    client.welcome().map_or(Limits::FRAME_MAX as u64, |welcome| u64::from(welcome.frame_max))
}

fn report(
    arguments: &Arguments,
    confirmed: u64,
    unconfirmed: u64,
    last: Option<Published>,
    output: &mut Output,
) -> Result<(), Failure> {
    let topic = &arguments.topic;
    let Some(last) = last else {
        let object = json!({ "topic": topic, "published": confirmed, "unconfirmed": unconfirmed });
        return output.say(&format!("published {confirmed} to {topic}"), &object);
    };
    let (partition, offset) = (last.partition, last.base_offset.0 + u64::from(last.count.max(1)) - 1);
    let reached = reached(last.reached);
    let object = json!({
        "topic": topic, "published": confirmed, "unconfirmed": unconfirmed, "partition": partition,
        "last_offset": offset, "reached": reached,
    });
    output.say(&format!("published {confirmed} to {topic}, last offset {offset}, {reached}"), &object)
}

fn reached(reached: Reached) -> &'static str {
    match reached {
        Reached::Memory => "in memory",
        Reached::Written => "written",
        Reached::Synced => "synced",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ttl_is_never_zero_and_fits_the_wire() {
        assert_eq!(ttl("5s"), Ok(5000));
        assert!(ttl("0s").is_err() && ttl("50d").is_err() && ttl("5").is_err());
        assert_eq!(ttl("49d"), Ok(49 * 86_400_000));
    }

    #[test]
    fn a_line_is_a_message_up_to_the_largest() {
        let lines = |text: &str, most| -> Vec<String> {
            let (mut input, mut line, mut found) = (BufReader::new(text.as_bytes()), Vec::new(), Vec::new());
            while next_line(&mut input, most, &mut line).unwrap_or_default() {
                found.push(String::from_utf8(line.clone()).unwrap());
            }
            found
        };
        assert_eq!(lines("a\n\nb", 9), ["a", "", "b"]);
        assert_eq!(lines("a\r\n", 9), ["a\r"]);
        assert_eq!(lines("123\n1234\n5\n", 3), ["123"], "the longer line is refused");
    }

    #[test]
    fn a_header_is_split_at_the_first_sign() {
        assert_eq!(header("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(header("a").is_err());
    }
}
