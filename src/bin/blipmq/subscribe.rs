//! `blipmq sub`: writes messages as they come.

use std::time::{Duration, SystemTime};

use blipmq::client::blocking::{Client, Subscription};
use blipmq::client::{DeliveredBatch, SubscribeOptions};
use blipmq::model::{Offset, Qos, StartAt, SubscriptionMode};
use clap::Args;

use super::connect::Broker;
use super::failure::Failure;
use super::message::{self, Shape};
use super::output::Output;
use super::{duration, start};

/// Write messages as they come, one a line
#[derive(Args)]
pub struct Arguments {
    /// A topic, or a pattern: * for one token, > for the rest
    topic: String,
    /// 1: at least once; 0: at most once [default: 1 with --name or --from, else 0]
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=1))]
    qos: Option<u8>,
    /// Durable: the broker remembers under this name what was acknowledged
    #[arg(long, value_name = "DURABLE")]
    name: Option<String>,
    /// Share the messages with others that use the same name
    #[arg(long, requires = "name")]
    shared: bool,
    /// Where to begin if the broker remembers nothing
    #[arg(long, help = start::HELP, value_parser = from, allow_hyphen_values = true)]
    from: Option<StartAt>,
    /// End after so many messages
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Acknowledge QoS 1 messages once they are written out; the default
    #[arg(long, overrides_with = "no_ack")]
    ack: bool,
    /// Do not acknowledge: they will be delivered again
    #[arg(long, overrides_with = "ack")]
    no_ack: bool,
    /// End when no message has come for so long; with --count and too few, the exit code is 5
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    timeout: Option<Duration>,
    /// Topic, partition and offset before each message
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    broker: Broker,
}

fn from(text: &str) -> Result<StartAt, String> {
    start::parse(text, SystemTime::now())
}

/// Bytes that may be on their way when the number of messages is bounded by us.
const CREDIT_BYTES: u32 = SubscribeOptions::CREDIT_BYTES;

pub fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    let client = arguments.broker.connect()?;
    let subscription = client.subscribe(&arguments.options())?;
    let received = receive(arguments, subscription, output);
    settle(client, received)
}

/// Has the broker handle what was acknowledged before the connection ends.
fn settle(client: Client, received: Result<(), Failure>) -> Result<(), Failure> {
    match received {
        Ok(()) | Err(Failure::TooFew(_)) => {
            client.ping()?;
            client.close()?;
            received
        }
        Err(_) => received,
    }
}

impl Arguments {
    fn options(&self) -> SubscribeOptions {
        let durable = self.name.is_some() || self.from.is_some();
        let qos = self.qos.map_or(durable, |qos| qos == 1);
        let base = SubscribeOptions::new(&self.topic);
        SubscribeOptions {
            qos: if qos { Qos::AtLeastOnce } else { Qos::AtMostOnce },
            mode: if self.shared { SubscriptionMode::Shared } else { SubscriptionMode::Exclusive },
            start: self.from.unwrap_or_default(),
            name: self.name.clone().unwrap_or_default(),
            // With --count we grant it ourselves, so that nothing is delivered that is not wanted.
            credit_messages: if self.count.is_some() { 0 } else { base.credit_messages },
            credit_bytes: if self.count.is_some() { 0 } else { base.credit_bytes },
            ..base
        }
    }

    fn shape(&self, output: &Output) -> Shape {
        match (output.is_json(), self.verbose) {
            (true, _) => Shape::Json,
            (false, true) => Shape::Verbose,
            (false, false) => Shape::Value,
        }
    }
}

fn receive(arguments: &Arguments, mut subscription: Subscription, output: &mut Output) -> Result<(), Failure> {
    let mut wanted = Wanted::new(arguments.count);
    let shape = arguments.shape(output);
    wanted.grant_first(&mut subscription)?;
    while wanted.left > 0 {
        let Some(batch) = subscription.next_batch(arguments.timeout)? else {
            return wanted.timed_out();
        };
        let last = written(&batch, wanted.left, shape, output)?;
        // Acknowledged only when whoever reads our output can have it.
        output.flush()?;
        if !arguments.no_ack && batch.deliver.qos == Qos::AtLeastOnce {
            subscription.ack_range(batch.deliver.source, batch.first_offset(), last)?;
        }
        wanted.took(&batch, last, &mut subscription)?;
    }
    Ok(())
}

/// Writes at most `most` messages of a batch; gives the offset of the last.
fn written(batch: &DeliveredBatch, most: u64, shape: Shape, output: &mut Output) -> Result<Offset, Failure> {
    let mut last = batch.first_offset();
    for message in batch.messages().take(usize::try_from(most).unwrap_or(usize::MAX)) {
        message::write(batch, &message, shape, output)?;
        last = message.offset;
    }
    Ok(last)
}

/// How many messages are wanted, and granted to the broker.
struct Wanted {
    count: Option<u64>,
    left: u64,
    granted: u64,
}

impl Wanted {
    fn new(count: Option<u64>) -> Wanted {
        Wanted { count, left: count.unwrap_or(u64::MAX), granted: 0 }
    }

    fn grant_first(&mut self, subscription: &mut Subscription) -> Result<(), Failure> {
        self.grant(CREDIT_BYTES, subscription)
    }

    /// Without --count the subscription grants for itself.
    fn grant(&mut self, bytes: u32, subscription: &mut Subscription) -> Result<(), Failure> {
        if self.count.is_none() {
            return Ok(());
        }
        let window = u64::from(SubscribeOptions::CREDIT_MESSAGES);
        let more = self.left.min(window).saturating_sub(self.granted);
        self.granted += more;
        Ok(subscription.credit(more as u32, bytes)?)
    }

    fn took(&mut self, batch: &DeliveredBatch, last: Offset, subscription: &mut Subscription) -> Result<(), Failure> {
        let taken = last.since(batch.first_offset()) + 1;
        self.left = self.left.saturating_sub(taken);
        self.granted = self.granted.saturating_sub(taken);
        if self.left == 0 { Ok(()) } else { self.grant(batch.credit_bytes(), subscription) }
    }

    fn timed_out(&self) -> Result<(), Failure> {
        match self.count {
            None => Ok(()),
            Some(count) => Err(Failure::TooFew(format!("{} of {count} messages came", count - self.left))),
        }
    }
}
