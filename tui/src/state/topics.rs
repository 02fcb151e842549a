//! Lag: every group, and the partitions of one.

use chat_client::admin::{LagQuery, LagSort};
use chat_wire::admin::lag::{Figures, GroupLag, Lag, PartitionLag, Status};

use super::grid::{Cell, Column, Grid, List, Row};
use super::poll::{Poll, Source};
use super::signs;
use crate::failure::Kind;
use crate::format;
use crate::state::dashboard::State;
use crate::theme::Tone;

/// The page.
#[derive(Debug, Clone, Default)]
pub struct Topics {
    /// `/admin/lag`; asked for only where partitions are looked at.
    pub lag: Source<Lag>,
    /// The group whose partitions are shown.
    pub group: Option<String>,
    /// The groups.
    pub groups: List,
    /// The partitions of one.
    pub partitions: List,
    /// What was asked for last: whoever scrolls or sorts wants something else at once.
    pub asked: Option<LagQuery>,
}

/// Partitions that are asked for at a time; more as the chosen row comes near their end.
const PARTITIONS_STEP: usize = 100;

/// Headings of the groups.
pub const GROUP_COLUMNS: &[Column] = &[
    Column::left("STATUS", "status"),
    Column::left("GROUP", "group"),
    Column::right("LAG", "lag"),
    Column::right("OLDEST", "oldest").rank(1),
    Column::right("IN/S", "in").rank(3),
    Column::right("OUT/S", "out").rank(3),
    Column::right("DRAINED IN", "drain").rank(2),
    Column::right("MEMBERS", "members").rank(5),
    Column::right("PARTITIONS", "partitions").rank(6),
    Column::left("LAG OVER TIME", "history").rank(4).grows(),
];

/// Headings of the partitions.
pub const PARTITION_COLUMNS: &[Column] = &[
    Column::right("PARTITION", "partition"),
    Column::left("STATUS", "status"),
    Column::right("LAG", "lag"),
    Column::right("OLDEST", "oldest").rank(1),
    Column::right("IN/S", "in").rank(3),
    Column::right("OUT/S", "out").rank(3),
    Column::right("DRAINED IN", "drain").rank(2),
    Column::right("COMMITTED", "committed").rank(4),
    Column::right("END", "end").rank(4),
    Column::right("START", "start").rank(5),
];

impl Topics {
    /// Which source the page shows: the snapshot for the groups, unless the server has none.
    #[must_use]
    pub fn wants_partitions(&self, state: &State) -> bool {
        let stats = &state.overview.stats;
        let missing = stats.poll.failure.as_ref();
        self.group.is_some() || missing.is_some_and(|failure| failure.kind == Kind::NotOffered)
    }
}

/// What is asked of the server: the groups alone, or as many partitions of one as are looked at, in
/// the order in which they are shown. A filter, and an order that the server does not know, are ours:
/// all partitions are asked for then.
#[must_use]
pub fn query(state: &State) -> LagQuery {
    let topics = &state.topics;
    let Some(group) = &topics.group else {
        return LagQuery {
            partitions: Some(0),
            ..LagQuery::default()
        };
    };
    let list = &topics.partitions;
    let sort = match list.sort {
        None => Some(LagSort::Lag),
        Some((column, false)) if PARTITION_COLUMNS[column].name == "partition" => {
            Some(LagSort::Partition)
        }
        Some(_) => None,
    };
    LagQuery {
        group: Some(group.clone()),
        partitions: sort
            .filter(|_| list.filter.is_empty())
            .map(|_| shown(state)),
        sort: sort.unwrap_or_default(),
    }
}

/// So many partitions that there is a screen of them below the chosen one; never fewer than before,
/// because the chosen one moves with each answer.
fn shown(state: &State) -> u32 {
    let chosen = grid(state).selected(&state.topics.partitions);
    let screen = usize::from(state.size.1);
    let reach = (chosen.unwrap_or_default() + screen).next_multiple_of(PARTITIONS_STEP);
    let before = state
        .topics
        .asked
        .as_ref()
        .and_then(|query| query.partitions);
    u32::try_from(reach)
        .unwrap_or(u32::MAX)
        .max(before.unwrap_or_default())
}

/// The lag that is shown, and where it comes from.
#[must_use]
pub fn source(state: &State) -> (Option<&Lag>, &Poll) {
    let stats = &state.overview.stats;
    if state.topics.wants_partitions(state) {
        let lag = &state.topics.lag;
        return (lag.data.as_ref(), &lag.poll);
    }
    let lag = stats.data.as_ref().and_then(|stats| stats.lag.as_ref());
    (lag, &stats.poll)
}

/// The table: groups, or the partitions of one.
#[must_use]
pub fn grid(state: &State) -> Grid {
    let lag = source(state).0;
    match &state.topics.group {
        None => group_grid(lag, &state.topics.groups),
        Some(name) => {
            let group = lag.and_then(|lag| lag.groups.iter().find(|group| group.group == *name));
            let rows = group.map(|group| group.partitions.iter().map(partition_row).collect());
            let list = &state.topics.partitions;
            let grid = Grid::new(PARTITION_COLUMNS, rows.unwrap_or_default(), list);
            // Most of them may still be with the server.
            let total = group.map_or(0, |group| group.partitions_total as usize);
            Grid {
                total: grid.total.max(total),
                ..grid
            }
        }
    }
}

/// The groups as a table, worst first unless sorted otherwise.
#[must_use]
pub fn group_grid(lag: Option<&Lag>, list: &List) -> Grid {
    let mut groups: Vec<&GroupLag> = lag.map_or_else(Vec::new, |lag| lag.groups.iter().collect());
    groups.sort_by(|one, other| {
        let by_status = other.status.cmp(&one.status);
        by_status.then(other.figures.lag_records.cmp(&one.figures.lag_records))
    });
    let rows = groups.into_iter().map(group_row).collect();
    Grid::new(GROUP_COLUMNS, rows, list)
}

fn group_row(group: &GroupLag) -> Row {
    let [lag, oldest, incoming, outgoing, drain] = figures(&group.figures, group.status);
    Row {
        id: group.group.clone(),
        cells: vec![
            status_cell(group.status),
            Cell::text(format::visible(&group.group)),
            lag,
            oldest,
            incoming,
            outgoing,
            drain,
            Cell::known(group.members.map(u64::from)),
            Cell::count(group.partitions_total.into()),
            Cell {
                // The latest samples are at the end.
                keeps_end: true,
                ..Cell::text(sparkline(&group.history, 60)).tone(Tone::Accent)
            },
        ],
    }
}

fn partition_row(partition: &PartitionLag) -> Row {
    let [lag, oldest, incoming, outgoing, drain] = figures(&partition.figures, partition.status);
    // No position although the status is known: nothing was applied yet.
    let committed = match (partition.committed_offset, partition.status) {
        (Some(offset), _) => Cell::count(offset),
        (None, Status::Unknown) => Cell::unknown(),
        (None, _) => Cell::none(),
    };
    Row {
        id: partition.partition.to_string(),
        cells: vec![
            Cell::count(partition.partition.into()),
            status_cell(partition.status),
            lag,
            oldest,
            incoming,
            outgoing,
            drain,
            committed,
            Cell::known(partition.end_offset),
            Cell::known(partition.start_offset),
        ],
    }
}

fn status_cell(status: Status) -> Cell {
    let (sign, tone) = signs::status(status);
    Cell {
        tone,
        ..Cell::sorted(format!("{sign} {}", status.as_str()), status as u64)
    }
}

/// Lag, age of the oldest, rates in and out, and time to drain.
fn figures(figures: &Figures, status: Status) -> [Cell; 5] {
    let tone = signs::status(status).1;
    let nothing_waits = figures.lag_records == Some(0);
    let lag = Cell::known(figures.lag_records);
    let lag = if figures.lag_records.is_some() && status > Status::Unknown {
        lag.tone(tone)
    } else {
        lag
    };
    let oldest = match figures.oldest_age_ms {
        Some(ms) => Cell::sorted(format::age(ms), ms / 1_000),
        None if nothing_waits => Cell::none(),
        None => Cell::unknown(),
    };
    [
        lag,
        oldest,
        Cell::rate(figures.in_per_second),
        Cell::rate(figures.out_per_second),
        drain(figures, nothing_waits),
    ]
}

fn drain(figures: &Figures, nothing_waits: bool) -> Cell {
    let rates = (figures.in_per_second, figures.out_per_second);
    match (figures.drain_seconds, rates) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "`as` saturates, and a time is not negative"
        )]
        (Some(seconds), _) => {
            let ms = (seconds * 1_000.0) as u64;
            Cell::sorted(format::age(ms), ms / 1_000)
        }
        (None, _) if nothing_waits => Cell::none(),
        (None, (Some(incoming), Some(outgoing)))
            if outgoing <= incoming && figures.lag_records.is_some() =>
        {
            Cell::text("never").tone(Tone::Bad)
        }
        _ => Cell::unknown(),
    }
}

/// The last samples as bars; nothing waiting is the lowest bar, unknown its own sign.
#[must_use]
pub fn sparkline(samples: &[Option<u64>], width: usize) -> String {
    const BARS: [char; 7] = ['▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = &samples[samples.len().saturating_sub(width)..];
    let highest = shown.iter().flatten().max().copied().unwrap_or_default();
    shown
        .iter()
        .map(|sample| match sample {
            None => '?',
            Some(0) => '▁',
            Some(value) => {
                let step = u128::from(*value) * (BARS.len() as u128 - 1) / u128::from(highest);
                BARS[usize::try_from(step).unwrap_or_default()]
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_tells_zero_from_unknown() {
        assert_eq!(sparkline(&[Some(0), None, Some(1), Some(100)], 10), "▁?▂█");
        assert_eq!(sparkline(&[Some(5), Some(1), Some(2)], 2), "▅█");
        assert_eq!(sparkline(&[Some(u64::MAX)], 5), "█");
        assert_eq!(sparkline(&[], 5), "");
    }

    #[test]
    fn drain_is_a_time_never_none_or_unknown() {
        let known = |lag, incoming, outgoing| Figures {
            lag_records: lag,
            in_per_second: incoming,
            out_per_second: outgoing,
            ..Figures::default()
        };
        let text = |figures: &Figures| drain(figures, figures.lag_records == Some(0)).text;
        assert_eq!(text(&known(Some(0), Some(1.0), Some(1.0))), format::NONE);
        assert_eq!(text(&known(Some(9), Some(2.0), Some(1.0))), "never");
        assert_eq!(text(&known(Some(9), None, Some(1.0))), format::UNKNOWN);
        assert_eq!(text(&known(None, Some(2.0), Some(1.0))), format::UNKNOWN);
        let draining = Figures {
            drain_seconds: Some(90.0),
            ..known(Some(9), Some(1.0), Some(2.0))
        };
        assert_eq!(text(&draining), "90 s");
    }
}
