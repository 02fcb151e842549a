//! Why a group has its status, in words that say what to do.

use chat_wire::admin::lag::{Figures, Status};

use super::look::{Look, Seen, Stand};

/// Everything that a reason may speak of.
pub(super) struct Case<'a> {
    pub(super) look: &'a Look,
    pub(super) figures: &'a Figures,
    /// For how long no member has been there.
    pub(super) absent_ms: Option<u64>,
    /// For how long the group has been watched.
    pub(super) watched_ms: u64,
    pub(super) every_ms: u64,
    pub(super) worst: Option<Worst<'a>>,
}

/// The partition that the group's status is of.
pub(super) struct Worst<'a> {
    pub(super) index: usize,
    pub(super) seen: &'a Seen,
    /// For how long its position has stood still.
    pub(super) stands_ms: Option<u64>,
}

pub(super) fn reason(status: Status, case: &Case<'_>) -> String {
    match status {
        Status::Ok => ok(case),
        Status::Behind => format!("{}; {}", waiting(case), flow(case)),
        Status::Growing => format!("{}, and it gets more; {}", waiting(case), flow(case)),
        Status::Stalled => stalled(case),
        Status::Stopped => stopped(case),
        Status::Unknown => unknown(case),
    }
}

fn ok(case: &Case<'_>) -> String {
    match case.figures.lag_records {
        Some(0) => "nothing waits".to_owned(),
        _ => format!("{}, none for long", waiting(case)),
    }
}

fn waiting(case: &Case<'_>) -> String {
    let records = match case.figures.lag_records {
        Some(1) => "1 record waits".to_owned(),
        Some(lag) => format!("{} records wait", grouped(lag)),
        None => "an unknown number of records waits".to_owned(),
    };
    match case.figures.oldest_age_ms {
        Some(age) => format!("{records}, the oldest for {}", seconds(age)),
        None => records,
    }
}

fn flow(case: &Case<'_>) -> String {
    let rate = |rate: Option<f64>| match rate {
        Some(rate) => format!("{rate:.1}/s"),
        None => "an unknown number".to_owned(),
    };
    let flow = format!(
        "{} come in and {} are applied",
        rate(case.figures.in_per_second),
        rate(case.figures.out_per_second)
    );
    match case.figures.drain_seconds {
        Some(drain) => format!("{flow}: done in {drain:.0} s"),
        None => flow,
    }
}

fn stalled(case: &Case<'_>) -> String {
    let Some(worst) = &case.worst else {
        return "a partition stands still".to_owned();
    };
    let partition = worst.index;
    if let Some((first, last)) = worst.seen.gone() {
        return format!(
            "partition {partition} has stopped: offsets {first} to {last} are gone by retention before they were \
             applied; find out what is lost, then set the group's position to {} and start the worker again",
            last + 1
        );
    }
    let lag = grouped(worst.seen.lag().unwrap_or_default());
    let members = match case.look.members {
        Some(0) => "and no member is there".to_owned(),
        Some(1) => "although 1 member is there".to_owned(),
        Some(members) => format!("although {members} members are there"),
        None => "and the members are not known".to_owned(),
    };
    let stood = worst
        .stands_ms
        .map(|stood| format!(" for {}", seconds(stood)))
        .unwrap_or_default();
    let next = worst.seen.next().unwrap_or_default();
    format!(
        "partition {partition} has stood at offset {next}{stood} with {lag} to read, {members}: see the worker's log"
    )
}

fn stopped(case: &Case<'_>) -> String {
    let never = case
        .look
        .partitions
        .iter()
        .all(|seen| seen.stand == Stand::Nowhere);
    if never {
        return format!(
            "no member is there, and none has ever applied anything: {}; start the worker",
            waiting(case)
        );
    }
    let absent = seconds(case.absent_ms.unwrap_or_default());
    format!(
        "no member has been there for {absent}: {}; start the worker",
        waiting(case)
    )
}

fn unknown(case: &Case<'_>) -> String {
    if let Some(problem) = &case.look.problem {
        return problem.clone();
    }
    match case.absent_ms {
        Some(absent) => format!(
            "no member has been there for {}, which may be a restart",
            seconds(absent)
        ),
        None => format!(
            "watched for {}, which says nothing before {}",
            seconds(case.watched_ms),
            seconds(case.every_ms)
        ),
    }
}

/// Seconds, with one digit after the point where they are few.
fn seconds(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => format!("{} s", grouped(ms / 1_000)),
    }
}

/// A number with a comma at every thousand.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
