//! What developers look at: every counter by shard, what waits, histograms.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};
use serde_json::{Map, Value, json};

use super::figures::{Figures, ShardFigures};
use super::metric::Read;
use super::plan::{Depth, Order, Plan};
use super::public::Planned;
use super::registry;
use super::response::{Problem, Response};
use super::route::Call;
use crate::model::hdr;
use crate::shard::AdminQuestion;
use crate::shard::latency::Path;

pub(super) fn shards(_: &Call<'_>) -> Planned {
    Ok(Plan::measure(Depth::Stats, |figures| {
        let items: Vec<Value> = figures.shards.iter().map(|shard| counters(figures, shard)).collect();
        Response::ok(&json!({ "items": items }))
    }))
}

/// One shard's part of every metric that is added up over shards or logs.
fn counters(figures: &Figures, shard: &ShardFigures) -> Value {
    let mut row = Map::new();
    row.insert("shard".into(), shard.stats.shard.into());
    row.insert("answered".into(), shard.answered.into());
    row.insert("tick_age_ms".into(), figures.silent_ms(shard).into());
    row.insert("busy_us".into(), shard.vitals.busy_us.into());
    for metric in registry::metrics() {
        match metric.read {
            Read::Sum(of) => row.insert(metric.name.into(), of(&shard.stats).into()),
            Read::Logs(of) => {
                let sum: u64 = shard.stats.logs.iter().map(|log| of(&log.counts)).sum();
                row.insert(metric.name.into(), sum.into())
            }
            _ => None,
        };
    }
    row.into()
}

pub(super) fn pending(call: &Call<'_>) -> Planned {
    call.serving()?;
    Ok(Plan::all(AdminQuestion::Pending, |rows| {
        let items: Vec<Value> = rows.into_iter().map(|row| row.value).collect();
        Plan::Respond(Response::ok(&json!({ "items": items })))
    }))
}

pub(super) fn latency(_: &Call<'_>) -> Planned {
    Ok(Plan::measure(Depth::All { topics: 0 }, |figures| {
        let latency = figures.latency();
        let rows = Path::ALL.map(|path| (path.name().to_owned(), percentiles(latency.of(path))));
        Response::ok(&rows.into_iter().collect::<Map<String, Value>>().into())
    }))
}

fn percentiles(histogram: &Histogram<u64>) -> Value {
    let us = |quantile| histogram.value_at_quantile(quantile);
    json!({
        "count": histogram.len(),
        "mean_us": histogram.mean(),
        "p50_us": us(0.5),
        "p90_us": us(0.9),
        "p99_us": us(0.99),
        "p99_9_us": us(0.999),
        "p99_99_us": us(0.9999),
        "max_us": histogram.max(),
    })
}

/// As SIGUSR1 does.
pub(super) fn dump_all(_: &Call<'_>) -> Planned {
    Ok(Plan::order(Order::DumpLatency, |files| Response::ok(&json!({ "files": files }))))
}

pub(super) fn dump(call: &Call<'_>) -> Planned {
    let path = Path::ALL.into_iter().find(|path| path.name() == call.names[0]);
    let path = path.ok_or_else(|| {
        let names = Path::ALL.map(Path::name).join(", ");
        Problem::new(404, format!("no such path; there are {names}"))
    })?;
    let write = match call.request.query("format") {
        None | Some("hgrm") => hgrm,
        Some("v2") => v2,
        Some(_) => return Err(Problem::bad("format is not hgrm or v2")),
    };
    Ok(Plan::measure(Depth::All { topics: 0 }, move |figures| {
        Response::text("text/plain; charset=utf-8", write(figures.latency().of(path)))
    }))
}

/// The table that HdrHistogram's plotter reads, in milliseconds.
fn hgrm(histogram: &Histogram<u64>) -> String {
    let mut out = Vec::new();
    hdr::percentiles(&mut out, histogram, 1e3).expect("memory takes everything");
    String::from_utf8(out).expect("it is text")
}

fn v2(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(histogram, &mut bytes).expect("a histogram fits in memory");
    STANDARD.encode(bytes) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::Deserializer;

    fn histogram() -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(1, 100_000_000, 2).unwrap();
        (1..=1000).for_each(|us| histogram.record(us).unwrap());
        histogram
    }

    #[test]
    fn a_dump_reads_back_as_it_was() {
        let bytes = STANDARD.decode(v2(&histogram()).trim()).unwrap();
        let back: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
        assert_eq!(back, histogram());
    }
}
