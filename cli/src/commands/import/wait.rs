//! `--wait`: until what was sent is stored, or searchable.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use chat_client::admin::Admin;
use chat_wire::admin::lag::{GroupLag, Lag, PartitionLag};
use clap::ValueEnum;

use crate::commands::import::progress::Remaining;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::text::grouped;

/// First pause between two looks; it grows up to [`POLL_MAX`].
const POLL_MIN: Duration = Duration::from_millis(10);
/// Longest pause between two looks.
const POLL_MAX: Duration = Duration::from_millis(250);
/// The groups that write rows.
const STORE_GROUPS: &[&str] = &["applications-store", "chats-store", "messages-store"];
/// The group that makes messages searchable.
const INDEX_GROUP: &str = "messages-index";

/// What has to be done before the command returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wait {
    /// Everything is acknowledged: on disk in the log
    None,
    /// Everything is in the database
    Stored,
    /// Everything is in the database and can be found
    Indexed,
}

impl Wait {
    fn concerns(self, group: &str) -> bool {
        match self {
            Self::None => false,
            Self::Stored => STORE_GROUPS.contains(&group),
            Self::Indexed => STORE_GROUPS.contains(&group) || group == INDEX_GROUP,
        }
    }

    /// Makes sure that waiting will be possible.
    pub(crate) async fn check(self, admin: &Admin) -> Result<(), Error> {
        if self == Self::None {
            return Ok(());
        }
        self.goals(&admin.lag().await?).map(drop)
    }

    /// Waits until every group has passed what is at the ends of its topics now. Gives up
    /// once nothing has moved for `patience`.
    pub(crate) async fn until_done(
        self,
        admin: &Admin,
        patience: Duration,
        remaining: Remaining,
    ) -> Result<(), Error> {
        if self == Self::None {
            return Ok(());
        }
        let mut lag = admin.lag().await?;
        let goals = self.goals(&lag)?;
        let mut best = u64::MAX;
        let mut moved = Instant::now();
        let mut pause = POLL_MIN;
        loop {
            let behind = behind(&goals, &lag);
            if behind == 0 {
                return Ok(());
            }
            remaining.tell(behind);
            if behind < best {
                best = behind;
                moved = Instant::now();
            } else if moved.elapsed() > patience {
                return Err(stuck(behind, patience));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(POLL_MAX);
            lag = admin.lag().await?;
        }
    }

    /// The end of each partition, by group.
    fn goals(self, lag: &Lag) -> Result<HashMap<Place, u64>, Error> {
        let concerned = lag.groups.iter().filter(|lag| self.concerns(&lag.group));
        let mut goals = HashMap::new();
        for (group, partition) in concerned.flat_map(partitions) {
            let end = partition.end_offset.ok_or_else(|| unknown(group))?;
            goals.insert(place(group, partition), end);
        }
        let needed: &[&str] = match self {
            Self::None => &[],
            Self::Stored => &["messages-store"],
            Self::Indexed => &["messages-store", INDEX_GROUP],
        };
        for group in needed {
            if !goals.keys().any(|(name, _, _)| name == group) {
                let message = format!("the server does not say how far {group} is");
                return Err(Error::failure(message).with_hint("leave out --wait"));
            }
        }
        Ok(goals)
    }
}

/// Group, topic, partition.
type Place = (String, String, u32);

fn place(group: &GroupLag, partition: &PartitionLag) -> Place {
    (
        group.group.clone(),
        group.topic.clone(),
        partition.partition,
    )
}

fn partitions(group: &GroupLag) -> impl Iterator<Item = (&GroupLag, &PartitionLag)> {
    group
        .partitions
        .iter()
        .map(move |partition| (group, partition))
}

fn unknown(group: &GroupLag) -> Error {
    let message = format!(
        "the server cannot tell how much {} has to read",
        group.group
    );
    Error::failure(message).with_hint("see /readyz, or leave out --wait")
}

/// Records that are still missing. A partition that is not told of has not moved.
fn behind(goals: &HashMap<Place, u64>, lag: &Lag) -> u64 {
    let committed: HashMap<_, _> = lag
        .groups
        .iter()
        .flat_map(partitions)
        .map(|(group, partition)| {
            let committed = partition.committed_offset.unwrap_or(0);
            (place(group, partition), committed)
        })
        .collect();
    let missing = |(place, goal): (&Place, &u64)| {
        goal.saturating_sub(committed.get(place).copied().unwrap_or(0))
    };
    goals.iter().map(missing).sum()
}

fn stuck(behind: u64, patience: Duration) -> Error {
    Error::new(
        Exit::Timeout,
        format!(
            "everything is acknowledged, but the workers have not moved for {} s with {} records to go",
            patience.as_secs(),
            grouped(behind)
        ),
    )
    .with_hint("see /readyz and the log of chatd; nothing is lost, and nothing needs to be imported again")
}

#[cfg(test)]
mod tests {
    use chat_wire::admin::lag::{Figures, Status};
    use chat_wire::time::Timestamp;

    use super::*;

    fn lag(groups: &[(&str, u64, u64)]) -> Lag {
        let groups = groups.iter().map(|(group, end, committed)| GroupLag {
            group: (*group).to_owned(),
            topic: "messages".to_owned(),
            status: Status::Ok,
            reason: String::new(),
            members: Some(1),
            figures: Figures::default(),
            history: Vec::new(),
            partitions_total: 1,
            partitions: vec![PartitionLag {
                partition: 0,
                status: Status::Ok,
                start_offset: Some(0),
                end_offset: Some(*end),
                committed_offset: Some(*committed),
                figures: Figures::default(),
            }],
        });
        Lag {
            sampled_at: Timestamp::now(),
            interval_ms: 1_000,
            status: Status::Ok,
            groups: groups.collect(),
        }
    }

    #[test]
    fn only_what_was_there_at_the_beginning_counts() {
        let before = lag(&[
            ("messages-store", 10, 4),
            ("messages-index", 10, 0),
            ("other", 9, 0),
        ]);
        let stored = Wait::Stored.goals(&before).unwrap();
        let indexed = Wait::Indexed.goals(&before).unwrap();
        assert_eq!(
            (behind(&stored, &before), behind(&indexed, &before)),
            (6, 16)
        );
        let after = lag(&[("messages-store", 99, 10), ("messages-index", 99, 9)]);
        assert_eq!((behind(&stored, &after), behind(&indexed, &after)), (0, 1));
        assert_eq!(behind(&stored, &lag(&[])), 10);
    }

    #[test]
    fn a_server_that_cannot_tell_is_refused() {
        let store_only = lag(&[("messages-store", 1, 1)]);
        assert!(Wait::Stored.goals(&store_only).is_ok());
        assert!(Wait::Indexed.goals(&store_only).is_err());
    }
}
