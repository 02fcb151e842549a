//! Dead letters, as Kafka's own tools show them.

use crate::Failure;
use crate::mode::{Engine, Engines};

/// The topics that put something aside.
const TOPICS: [&str; 3] = ["applications", "chats", "messages"];

/// One record that was put aside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Letter {
    /// `epoch/topic/partition/offset`.
    pub(crate) origin: String,
    /// Why.
    pub(crate) reason: String,
    /// Its bytes, as text.
    pub(crate) value: String,
}

/// How many records stand in the dead-letter topics.
pub(crate) async fn count(engines: &Engines) -> Result<u64, Failure> {
    let mut all = 0;
    for topic in TOPICS {
        all += end(engines, &format!("{topic}.dlq")).await?;
    }
    Ok(all)
}

/// Records that were ever appended to a topic.
pub(crate) async fn end(engines: &Engines, topic: &str) -> Result<u64, Failure> {
    let name = engines.topic(topic);
    let told = engines
        .tool(Engine::Kafka, &["offsets", "--topic", &name])
        .await?;
    let mut all = 0;
    for line in told.lines() {
        let offset = line.rsplit(':').next().unwrap_or_default().trim();
        let offset = offset.parse::<u64>();
        all += offset.map_err(|_| format!("no offset of {topic} in {line:?}"))?;
    }
    Ok(all)
}

/// All letters of a topic.
pub(crate) async fn all(engines: &Engines, topic: &str) -> Result<Vec<Letter>, Failure> {
    let topic = format!("{topic}.dlq");
    let count = end(engines, &topic).await?;
    if count == 0 {
        return Ok(Vec::new());
    }
    let (name, count) = (engines.topic(&topic), count.to_string());
    let args = [
        "consume",
        "--topic",
        &name,
        "--from-beginning",
        "--max-messages",
        &count,
        "--timeout-ms",
        "20000",
        "--property",
        "print.headers=true",
        "--property",
        "headers.separator=,",
    ];
    let told = engines.tool(Engine::Kafka, &args).await?;
    Ok(told.lines().filter_map(letter).collect())
}

fn letter(line: &str) -> Option<Letter> {
    let (headers, value) = line.split_once('\t')?;
    let header = |name: &str| {
        let (_, rest) = headers.split_once(&format!("{name}:"))?;
        Some(rest)
    };
    let origin = header("origin")?.split(',').next()?.to_owned();
    // The last header, and the only one that may hold a comma.
    let reason = header("reason")?.to_owned();
    Some(Letter {
        origin,
        reason,
        value: value.to_owned(),
    })
}
