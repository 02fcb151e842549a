//! Lag: how far each group is behind the end of its topic, asked afresh at every sample.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// How a group or a partition does, judged over a window of time. In order of severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nothing waits, or what waits is young and is being read.
    Ok,
    /// Something has waited long, and it gets less.
    Behind,
    /// It could not be found out, or not for long enough to judge.
    Unknown,
    /// Something has waited long, and it gets more: more comes in than is read.
    Growing,
    /// A member is there and reads nothing, although something waits; or retention removed what it
    /// would have to read.
    Stalled,
    /// No member is there: nothing is read until one is started.
    Stopped,
}

impl Status {
    /// All of them, from well to worst.
    pub const ALL: [Self; 6] = [
        Self::Ok,
        Self::Behind,
        Self::Unknown,
        Self::Growing,
        Self::Stalled,
        Self::Stopped,
    ];

    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Behind => "behind",
            Self::Unknown => "unknown",
            Self::Growing => "growing",
            Self::Stalled => "stalled",
            Self::Stopped => "stopped",
        }
    }
}

/// Figures of one group, or of one of its partitions. What is absent is unknown, and never zero.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Records between the group's position and the end.
    #[serde(default)]
    pub lag_records: Option<u64>,
    /// Age of the oldest record that the group has not applied, read from the record itself, in
    /// milliseconds; absent also where nothing waits.
    #[serde(default)]
    pub oldest_age_ms: Option<u64>,
    /// Records a second that came in, over the last six samples.
    #[serde(default)]
    pub in_per_second: Option<f64>,
    /// Records a second that were applied, over the last six samples.
    #[serde(default)]
    pub out_per_second: Option<f64>,
    /// Seconds until nothing waits at these rates; absent where that is never, or where nothing waits.
    #[serde(default)]
    pub drain_seconds: Option<f64>,
}

/// Answer of `GET /admin/lag`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lag {
    /// When the offsets were asked for.
    pub sampled_at: Timestamp,
    /// Milliseconds between two samples.
    pub interval_ms: u64,
    /// The worst of the groups.
    pub status: Status,
    /// Every group.
    pub groups: Vec<GroupLag>,
}

/// One group over all partitions of its topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupLag {
    /// For example `messages-store`.
    pub group: String,
    /// For example `messages`.
    pub topic: String,
    /// Judged over the window.
    pub status: Status,
    /// Why, in words.
    pub reason: String,
    /// Members of the group; absent where that is unknown.
    #[serde(default)]
    pub members: Option<u32>,
    /// Totals; a total is absent when any of its parts is.
    #[serde(flatten)]
    pub figures: Figures,
    /// Lag at the samples of the window, oldest first; `null` where it was unknown.
    #[serde(default)]
    pub history: Vec<Option<u64>>,
    /// How many partitions there are.
    pub partitions_total: u32,
    /// In order of number, unless asked otherwise; at most what was asked for.
    pub partitions: Vec<PartitionLag>,
}

/// One partition as a group sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartitionLag {
    /// Within the topic, from 0.
    pub partition: u32,
    /// Judged over the window.
    pub status: Status,
    /// Offset of the first record that still exists.
    #[serde(default)]
    pub start_offset: Option<u64>,
    /// Offset that the next record will get.
    #[serde(default)]
    pub end_offset: Option<u64>,
    /// Offset of the first record that the group has not applied; absent also before the first one.
    #[serde(default)]
    pub committed_offset: Option<u64>,
    /// The figures.
    #[serde(flatten)]
    pub figures: Figures,
}
