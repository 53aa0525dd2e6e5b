//! Figures put together from what the runtime sees and what the shards answer.

use serde_json::Value;

use super::figures::{Bounds, Disk, Figures, Process, Requests, ShardFigures, Stage, TopicFigures, Vitals};
use super::plan::Depth;
use crate::shard::{AdminQuestion, Answer, Latency, Page, Question, Row, Stats};

/// What the runtime sees by itself.
#[derive(Debug, Default)]
pub struct Surroundings {
    pub now_ms: u64,
    pub stage: Stage,
    /// By shard; none while the broker starts.
    pub vitals: Vec<Vitals>,
    pub bounds: Bounds,
    pub disk: Option<Disk>,
    pub process: Process,
    pub requests: Requests,
}

/// What the shards answered last: stands in for what does not come in time.
#[derive(Debug, Default)]
pub struct Memory {
    shards: Vec<(Stats, Latency)>,
}

/// One answer from each shard to each question; a gap where it did not come in time.
pub type Answers = Vec<Vec<Option<Answer>>>;

/// What to ask every shard.
pub fn questions(depth: Depth) -> Vec<Question> {
    match depth {
        Depth::Vitals => Vec::new(),
        Depth::Stats => vec![Question::Stats],
        Depth::All { topics: 0 } => vec![Question::Stats, Question::Latency],
        Depth::All { topics } => {
            let page = Page { after: String::new(), most: topics };
            let topics = AdminQuestion::Topics { page, pattern: None };
            vec![Question::Stats, Question::Latency, Question::Admin(Box::new(topics))]
        }
    }
}

/// Figures from the answers to [`questions`], in their order.
pub fn gather(seen: Surroundings, depth: Depth, answers: Answers, memory: &mut Memory) -> Figures {
    memory.shards.resize_with(seen.vitals.len(), Default::default);
    let mut answered = vec![!answers.is_empty(); seen.vitals.len()];
    let mut rows = Vec::new();
    for of_question in answers {
        for (shard, answer) in of_question.into_iter().enumerate().take(seen.vitals.len()) {
            match answer {
                Some(Answer::Stats(stats)) => memory.shards[shard].0 = *stats,
                Some(Answer::Latency(latency)) => memory.shards[shard].1 = *latency,
                Some(Answer::Rows(topics)) => rows.extend(topics),
                _ => answered[shard] = false,
            }
        }
    }
    let shard = |(number, vitals): (usize, Vitals)| {
        let (mut stats, latency) = memory.shards[number].clone();
        stats.shard = number as u16;
        ShardFigures { answered: answered[number], stats, latency, vitals }
    };
    Figures {
        now_ms: seen.now_ms,
        stage: seen.stage,
        shards: seen.vitals.iter().copied().enumerate().map(shard).collect(),
        bounds: seen.bounds,
        disk: seen.disk,
        process: seen.process,
        requests: seen.requests,
        topics: topics(rows, depth),
    }
}

/// The first topics by name, of all shards together.
fn topics(mut rows: Vec<Row>, depth: Depth) -> Vec<TopicFigures> {
    let Depth::All { topics: most } = depth else { return Vec::new() };
    rows.sort_by(|one, other| one.key.cmp(&other.key));
    let number = |value: &Value, name: &str| value[name].as_u64().unwrap_or(0);
    let topic = |Row { key, value }: Row| TopicFigures {
        topic: key,
        published: number(&value, "published"),
        messages: number(&value, "messages"),
        subscriptions: number(&value, "subscriptions"),
    };
    rows.into_iter().take(most).map(topic).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Surroundings {
        Surroundings { vitals: vec![Vitals::default(); 2], stage: Stage::Serving, ..Surroundings::default() }
    }

    fn stats(published: u64) -> Option<Answer> {
        Some(Answer::Stats(Box::new(Stats { messages_published: published, ..Stats::default() })))
    }

    #[test]
    fn a_silent_shard_counts_with_what_it_said_last() {
        let mut memory = Memory::default();
        let first = gather(seen(), Depth::Stats, vec![vec![stats(5), stats(7)]], &mut memory);
        assert_eq!(first.sum(|s| s.messages_published), 12);
        let then = gather(seen(), Depth::Stats, vec![vec![stats(6), None]], &mut memory);
        assert_eq!(then.sum(|s| s.messages_published), 13);
        assert_eq!((then.shards[0].answered, then.shards[1].answered), (true, false));
        assert_eq!(then.shards[1].stats.shard, 1);
    }

    #[test]
    fn nothing_is_asked_for_signs_of_life() {
        assert!(questions(Depth::Vitals).is_empty());
        let figures = gather(seen(), Depth::Vitals, Vec::new(), &mut Memory::default());
        assert_eq!((figures.shards.len(), figures.shards[0].answered), (2, false));
        assert_eq!(questions(Depth::All { topics: 0 }).len(), 2);
        assert_eq!(questions(Depth::All { topics: 3 }).len(), 3);
    }

    #[test]
    fn the_first_topics_of_all_shards_get_series() {
        let row = |name: &str| Row { key: name.into(), value: serde_json::json!({ "published": 3, "messages": 2 }) };
        let rows = |names: &[&str]| Some(Answer::Rows(names.iter().map(|name| row(name)).collect()));
        let answers = vec![vec![rows(&["b", "d"]), rows(&["a", "c"])]];
        let figures = gather(seen(), Depth::All { topics: 3 }, answers, &mut Memory::default());
        let names: Vec<&str> = figures.topics.iter().map(|topic| topic.topic.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!((figures.topics[0].published, figures.topics[0].messages), (3, 2));
    }
}
