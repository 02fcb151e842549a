//! What is wrong with Kafka, if anything.

mod age;
mod settings;

use chat_core::examine::{failed, ok, warning};
use chat_core::port::log::{Error, Topic};
use chat_wire::admin::doctor::Examined;

use self::settings::Settings;
use super::Events;
use super::reader::Shape;
use crate::store::Rows;

/// The topics whose records workers apply; the others hold dead letters.
const APPLIED: [Topic; 3] = [Topic::Applications, Topic::Chats, Topic::Messages];
/// Copies with which one broker may fail while acknowledgements still mean two.
const COPIES: usize = 3;

impl Events {
    /// The checks of the cluster; an error where it does not answer.
    pub(crate) async fn examine(&self, rows: &Rows) -> Result<Vec<Examined>, Error> {
        let (brokers, shapes) = self.reader.shapes().await?;
        let settings = Settings::ask(&self.names, brokers.first().copied()).await?;
        let mut checks = vec![
            ok("kafka.brokers", format!("{} brokers", brokers.len())),
            self.present(rows, &shapes).await,
            copies(&shapes, brokers.len()),
        ];
        checks.extend(settings.judge(&shapes));
        let retention = settings.retention_ms();
        checks.push(age::examine(&self.reader, rows, &self.partitions, retention).await?);
        Ok(checks)
    }

    /// Whether all topics are there, with the partitions that their keys are spread over.
    async fn present(&self, rows: &Rows, shapes: &[Shape]) -> Examined {
        let id = "kafka.topics";
        for topic in Topic::ALL {
            let name = self.names.topic(topic);
            let Some(shape) = shapes.iter().find(|shape| shape.name == name) else {
                return failed(id, format!("there is no topic {name}"), "chatd migrate");
            };
            let known = match rows.topic(topic).await {
                Ok(Some(known)) => known.partitions,
                Ok(None) => {
                    let detail = format!("the database knows no topic {name}");
                    return failed(id, detail, "chatd migrate");
                }
                Err(error) => {
                    let hint = "see the checks of the database";
                    return failed(id, format!("the database cannot be asked: {error}"), hint);
                }
            };
            let found = u32::try_from(shape.partitions.len()).unwrap_or(u32::MAX);
            if found != known {
                return failed(
                    id,
                    format!(
                        "topic {name} has {found} partitions, its keys are spread over {known}"
                    ),
                    "stop chatd, and give the topic its old partition count again",
                );
            }
        }
        ok(
            id,
            format!("all {} have their partitions", Topic::ALL.len()),
        )
    }
}

/// Whether every partition has a leader, and its copies are up to date.
fn copies(shapes: &[Shape], brokers: usize) -> Examined {
    let id = "kafka.replication";
    let all = || {
        let of = |shape: &'_ Shape| shape.partitions.clone();
        shapes.iter().flat_map(of)
    };
    let leaderless = all().filter(|one| !one.has_leader).count();
    let hint = "kafka-topics.sh --describe --under-replicated-partitions";
    if leaderless > 0 {
        let detail = format!("{leaderless} partitions have no leader and take no records");
        return failed(id, detail, hint);
    }
    let behind = all().filter(|one| one.in_sync < one.replicas).count();
    if behind > 0 {
        let detail = format!("{behind} partitions lack an up-to-date copy");
        return warning(id, detail, hint);
    }
    let least = all().map(|one| one.replicas).min().unwrap_or(0);
    if least < COPIES && brokers >= COPIES {
        let detail = format!("{least} copies of a partition, on {brokers} brokers");
        let hint = "kafka-reassign-partitions.sh: give each partition three copies";
        return warning(id, detail, hint);
    }
    ok(
        id,
        format!("{least} copies of each partition, all up to date"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::reader::Part;
    use super::*;
    use chat_wire::admin::doctor::Finding;

    fn finding(has_leader: bool, replicas: usize, in_sync: usize, brokers: usize) -> Finding {
        let part = Part {
            has_leader,
            replicas,
            in_sync,
        };
        let shape = Shape {
            name: "messages".into(),
            partitions: vec![part],
        };
        copies(&[shape], brokers).finding
    }

    #[test]
    fn copies_that_are_missing_are_told() {
        assert_eq!(finding(true, 3, 3, 3), Finding::Ok);
        assert_eq!(finding(true, 1, 1, 1), Finding::Ok);
        assert_eq!(finding(true, 1, 1, 3), Finding::Warning);
        assert_eq!(finding(true, 3, 2, 3), Finding::Warning);
        assert_eq!(finding(false, 3, 2, 3), Finding::Failed);
    }
}
