//! The lag as a document: a row for each group, or for each partition.

use chat_wire::admin::lag::{GroupLag, Lag, PartitionLag};
use serde::Serialize;

use crate::commands::watch::Watched;
use crate::output::operations::figures;
use crate::output::table::{Cell, Column, left, right};
use crate::output::text::grouped;
use crate::output::units::{NONE, count};
use crate::output::{Document, Record};

/// A row for each group.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct ByGroup(pub(super) Lag);

/// A row for each partition.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct ByPartition(pub(super) Lag);

impl AsRef<Lag> for ByGroup {
    fn as_ref(&self) -> &Lag {
        &self.0
    }
}

impl AsRef<Lag> for ByPartition {
    fn as_ref(&self) -> &Lag {
        &self.0
    }
}

const FIELDS: &[&str] = &["sampled_at", "interval_ms", "status", "groups"];

/// Status and lag of everything; times, ages and rates change by themselves.
fn face(lag: &Lag) -> String {
    let mut text = String::new();
    for group in &lag.groups {
        let (status, figures) = (group.status.as_str(), &group.figures);
        text.push_str(&format!("{} {status} {:?} ", group.group, group.members));
        text.push_str(&format!("{} {:?}\n", group.reason, figures.lag_records));
        for one in &group.partitions {
            let (status, lag) = (one.status.as_str(), one.figures.lag_records);
            text.push_str(&format!("{} {status} {lag:?}\n", one.partition));
        }
    }
    text
}

impl Document for ByGroup {
    const FIELDS: &'static [&'static str] = FIELDS;
    type Row = GroupLag;

    fn head(&self) -> Vec<String> {
        Vec::new()
    }

    fn rows(&self) -> Vec<GroupLag> {
        self.0.groups.clone()
    }

    fn ids(&self) -> Vec<String> {
        vec![self.0.status.as_str().to_owned()]
    }
}

impl Watched for ByGroup {
    fn face(&self) -> String {
        face(&self.0)
    }
}

/// One partition as a group sees it.
#[derive(Debug, Serialize)]
pub(super) struct PartitionRow {
    group: String,
    topic: String,
    #[serde(flatten)]
    lag: PartitionLag,
}

impl Record for PartitionRow {
    const FIELDS: &'static [&'static str] = &[
        "group",
        "topic",
        "partition",
        "status",
        "start_offset",
        "end_offset",
        "committed_offset",
        "lag_records",
        "oldest_age_ms",
        "in_per_second",
        "out_per_second",
        "drain_seconds",
    ];
    const COLUMNS: &'static [Column] = &[
        left("GROUP"),
        right("PARTITION"),
        left("STATUS"),
        right("COMMITTED"),
        right("END"),
        right("LAG"),
        right("AGE"),
        right("IN/S"),
        right("OUT/S"),
        right("DRAINS IN"),
    ];

    fn cells(&self) -> Vec<Cell> {
        let lag = &self.lag;
        // Nothing is committed before the first record was read; that is no unknown.
        let committed = lag
            .committed_offset
            .map_or_else(|| NONE.to_owned(), grouped);
        let mut cells = vec![
            Cell::text(&self.group),
            Cell::show(lag.partition),
            Cell::show(lag.status.as_str()),
            Cell::show(committed),
            Cell::show(count(lag.end_offset)),
        ];
        cells.extend(figures(&lag.figures));
        cells
    }

    fn id(&self) -> String {
        format!("{}/{}", self.group, self.lag.partition)
    }
}

impl Document for ByPartition {
    const FIELDS: &'static [&'static str] = FIELDS;
    type Row = PartitionRow;

    fn head(&self) -> Vec<String> {
        Vec::new()
    }

    fn rows(&self) -> Vec<PartitionRow> {
        let mut rows = Vec::new();
        for group in &self.0.groups {
            rows.extend(group.partitions.iter().map(|lag| PartitionRow {
                group: group.group.clone(),
                topic: group.topic.clone(),
                lag: lag.clone(),
            }));
        }
        rows
    }

    fn ids(&self) -> Vec<String> {
        vec![self.0.status.as_str().to_owned()]
    }
}

impl Watched for ByPartition {
    fn face(&self) -> String {
        face(&self.0)
    }
}
