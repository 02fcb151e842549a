//! When the epoch of a topic was raised last. A raised epoch means that acknowledged events may be lost, so the
//! doctor reports it for as long as somebody may not have heard of it.

use std::time::Duration;

use chat_wire::admin::doctor::Examined;
use chat_wire::time::Timestamp;

use crate::examine::{ok, skipped, warning};
use crate::port::Ports;
use crate::port::log::Topic;

/// How long the doctor warns of a raised epoch.
const WARN_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const CHECK: &str = "log.epoch";

/// The name of the note in which the store keeps when a topic's epoch was raised.
#[must_use]
pub fn note_name(topic: Topic) -> String {
    format!("log-epoch.{}", topic.name())
}

/// The text of that note: the epoch, and microseconds since 1970.
#[must_use]
pub fn note_text(epoch: u32, raised_at: Timestamp) -> String {
    format!("{epoch} {}", raised_at.as_micros())
}

/// A note that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Raised {
    topic: Topic,
    epoch: u32,
    at: Timestamp,
}

fn parse(topic: Topic, text: &str) -> Option<Raised> {
    let (epoch, at) = text.split_once(' ')?;
    Some(Raised {
        topic,
        epoch: epoch.parse().ok()?,
        at: Timestamp::from_micros(at.parse().ok()?).ok()?,
    })
}

/// Whether a log was found re-created, truncated or restored lately: one check, `log.epoch`.
pub async fn examine(ports: &Ports, now: Timestamp) -> Examined {
    let mut raised = Vec::new();
    for topic in Topic::ALL {
        match ports.store.note(&note_name(topic)).await {
            Ok(note) => raised.extend(note.and_then(|note| parse(topic, &note.text))),
            Err(error) => return skipped(CHECK, format!("the store does not answer: {error}")),
        }
    }
    judge(raised, now)
}

fn judge(raised: Vec<Raised>, now: Timestamp) -> Examined {
    let Some(last) = raised.into_iter().max_by_key(|raised| raised.at) else {
        return ok(CHECK, "no log was ever re-created, truncated or restored");
    };
    let detail = format!(
        "topic {} is in epoch {} since {}: its log was re-created, truncated or restored",
        last.topic.name(),
        last.epoch,
        last.at
    );
    if now.millis_since(last.at) > u64::try_from(WARN_FOR.as_millis()).unwrap_or(u64::MAX) {
        return ok(CHECK, detail);
    }
    let detail = detail + "; what was acknowledged and not applied by then may be lost";
    let hint = "read the errors that chatd logged then, and run chatctl reconcile --full; this warning ends \
                after 7 days";
    warning(CHECK, detail, hint)
}

#[cfg(test)]
mod tests {
    use chat_wire::admin::doctor::Finding;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000).unwrap()
    }

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let raised = parse(Topic::Messages, &note_text(3, at(17))).unwrap();
        assert_eq!((raised.epoch, raised.at), (3, at(17)));
        for damaged in ["", "3", "x 5", "3 x", "3 99999999999999999999"] {
            assert_eq!(parse(Topic::Messages, damaged), None, "{damaged}");
        }
    }

    #[test]
    fn data_loss_in_the_log_is_warned_of_for_a_week() {
        let week = 7 * 24 * 60 * 60;
        let raised = parse(Topic::Messages, &note_text(1, at(1_000))).unwrap();
        let finding = |now: i64| judge(vec![raised], at(now)).finding;
        assert_eq!(judge(Vec::new(), at(0)).finding, Finding::Ok);
        assert_eq!(finding(1_000), Finding::Warning);
        // The clock of whoever raised it was ahead.
        assert_eq!(finding(0), Finding::Warning);
        assert_eq!(finding(1_000 + week), Finding::Warning);
        assert_eq!(finding(1_001 + week), Finding::Ok);
    }
}
