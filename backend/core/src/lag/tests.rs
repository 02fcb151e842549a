//! Groups as they do in life, watched for minutes; and what must hold for any of them.

use chat_wire::admin::lag::Status;
use proptest::prelude::*;

use super::look::{Look, Seen, Stand};
use super::watch::{Judged, LOOKS, Watch};

const EVERY: u64 = 5_000;
/// Between two moments of a simulation.
const STEP: u64 = 250;

fn seen(end: u64, next: u64) -> Seen {
    Seen {
        range: Some((0, end)),
        stand: Stand::At(next),
        oldest_age_ms: None,
    }
}

fn look(at_ms: u64, members: Option<u32>, partitions: Vec<Seen>) -> Look {
    Look {
        at_ms,
        members,
        partitions,
        problem: None,
    }
}

/// Looks every [`STEP`], and keeps one every [`EVERY`]; tells each change of status.
fn live(seconds: u64, mut at: impl FnMut(u64) -> Look) -> (Vec<(u64, Status)>, Judged) {
    let mut watch = Watch::new(EVERY);
    let mut changes: Vec<(u64, Status)> = Vec::new();
    let mut now = 0;
    loop {
        let look = at(now);
        if now % EVERY == 0 {
            watch.keep(&look);
        }
        let judged = watch.judge(&look);
        watch.note(&look);
        if changes
            .last()
            .is_none_or(|(_, last)| *last != judged.status)
        {
            changes.push((now, judged.status));
        }
        now += STEP;
        if now > seconds * 1_000 {
            return (changes, judged);
        }
    }
}

fn statuses(changes: &[(u64, Status)]) -> Vec<Status> {
    changes.iter().map(|(_, status)| *status).collect()
}

/// A log that grows by so many records a second.
fn end(per_second: u64, now: u64) -> u64 {
    per_second * now / 1_000
}

#[test]
fn an_idle_group_is_well_from_its_first_look() {
    let (changes, judged) = live(60, |now| look(now, Some(1), vec![seen(10, 10)]));
    assert_eq!(statuses(&changes), [Status::Ok]);
    assert_eq!(judged.reason, "nothing waits");
    assert_eq!(judged.figures.lag_records, Some(0));
    assert_eq!(judged.figures.oldest_age_ms, None);
    assert_eq!(judged.figures.drain_seconds, None);
}

#[test]
fn steady_load_is_well_although_something_always_waits() {
    let (changes, judged) = live(120, |now| {
        let end = end(1_000, now) + 1;
        // A batch every second.
        look(
            now,
            Some(1),
            vec![seen(end, end.saturating_sub(1 + now % 1_000))],
        )
    });
    assert_eq!(statuses(&changes), [Status::Unknown, Status::Ok]);
    assert!(changes[1].0 <= EVERY, "{changes:?}");
    let rate = judged.figures.in_per_second.unwrap();
    assert!((rate - 1_000.0).abs() < 1.0, "{rate}");
}

#[test]
fn ages_say_at_once_what_looks_say_later() {
    let (changes, _) = live(20, |now| {
        let mut partition = seen(end(100, now) + 20, end(100, now));
        partition.oldest_age_ms = Some(200);
        look(now, Some(1), vec![partition])
    });
    assert_eq!(statuses(&changes), [Status::Ok]);
}

#[test]
fn load_above_capacity_grows_and_then_drains() {
    let (changes, _) = live(240, |now| {
        let end = end(1_000, now.min(60_000));
        look(now, Some(1), vec![seen(end, (now * 6 / 10).min(end))])
    });
    let wanted = [Status::Ok, Status::Growing, Status::Behind, Status::Ok];
    assert_eq!(
        statuses(&changes)[changes.len() - 4..],
        wanted,
        "{changes:?}"
    );
    let growing = changes[changes.len() - 3].0;
    assert!(growing <= 25_000, "{changes:?}");
    let drained = changes[changes.len() - 1].0;
    assert!(drained <= 100_000, "{changes:?}");
}

#[test]
fn a_frozen_worker_is_stalled_and_then_gone() {
    let (changes, judged) = live(60, |now| {
        let next = end(100, now.min(20_000));
        // Its session ends ten seconds later.
        let members = u32::from(now < 30_000);
        look(now, Some(members), vec![seen(end(100, now) + 1, next)])
    });
    let find = |status| changes.iter().find(|(_, one)| *one == status).unwrap().0;
    assert!(
        (25_000..=32_500).contains(&find(Status::Stalled)),
        "{changes:?}"
    );
    assert!(
        (32_500..=37_500).contains(&find(Status::Stopped)),
        "{changes:?}"
    );
    assert!(
        judged.reason.starts_with("no member has been there for"),
        "{}",
        judged.reason
    );
}

#[test]
fn a_worker_that_goes_on_is_well_once_it_has_caught_up() {
    // Frozen for half a minute, then as fast as before: at most looks something waits for a moment.
    let (changes, _) = live(120, |now| {
        let next = match now {
            0..20_000 => end(100, now),
            20_000..50_000 => end(100, 20_000),
            50_000..52_000 => end(100, 20_000) + (now - 50_000) * 3 / 2,
            _ => end(100, now) - now / STEP % 5,
        };
        look(
            now,
            Some(1),
            vec![seen(end(100, now), next.min(end(100, now)))],
        )
    });
    let after: Vec<_> = changes.iter().filter(|(at, _)| *at >= 50_000).collect();
    assert_eq!(after.last().unwrap().1, Status::Ok, "{changes:?}");
    assert!(after.last().unwrap().0 <= 55_000, "{changes:?}");
    assert!(after.len() <= 3, "{changes:?}");
}

#[test]
fn a_frozen_worker_with_a_long_session_stays_stalled() {
    let (changes, judged) = live(120, |now| {
        look(
            now,
            Some(1),
            vec![seen(5, 5), seen(end(10, now) + 1, end(10, now.min(20_000)))],
        )
    });
    assert_eq!(changes.last().unwrap().1, Status::Stalled);
    assert_eq!(judged.partitions[0].0, Status::Ok);
    let reason = judged.reason;
    assert!(
        reason.starts_with("partition 1 has stood at offset 200 for 100 s"),
        "{reason}"
    );
    assert!(reason.contains("although 1 member is there"), "{reason}");
}

#[test]
fn a_killed_worker_is_stopped_although_nothing_waits() {
    let (changes, _) = live(40, |now| {
        look(now, Some(u32::from(now < 20_000)), vec![seen(5, 5)])
    });
    assert_eq!(
        statuses(&changes),
        [Status::Ok, Status::Unknown, Status::Stopped]
    );
    assert_eq!(changes[2].0, 20_000 + EVERY / 2);
}

#[test]
fn a_worker_that_never_was_is_told_from_one_that_is_gone() {
    let nowhere = Seen {
        stand: Stand::Nowhere,
        ..seen(7, 0)
    };
    let (changes, judged) = live(10, |now| look(now, Some(0), vec![nowhere]));
    assert_eq!(statuses(&changes), [Status::Unknown, Status::Stopped]);
    assert!(
        judged.reason.contains("none has ever applied anything"),
        "{}",
        judged.reason
    );
    assert!(
        judged.reason.contains("7 records wait"),
        "{}",
        judged.reason
    );
}

#[test]
fn a_restart_is_not_called_a_stop() {
    let (changes, _) = live(60, |now| {
        let away = (20_000..22_000).contains(&now);
        look(now, Some(u32::from(!away)), vec![seen(5, 5)])
    });
    assert_eq!(
        statuses(&changes),
        [Status::Ok, Status::Unknown, Status::Ok]
    );
}

#[test]
fn a_broker_that_is_gone_is_unknown_and_not_nothing() {
    let (changes, judged) = live(40, |now| {
        let mut look = look(now, Some(1), vec![seen(10, 10), seen(4, 4)]);
        if now >= 20_000 {
            look.partitions[1].range = None;
            look.problem = Some("the log does not answer".to_owned());
        }
        look
    });
    assert_eq!(statuses(&changes), [Status::Ok, Status::Unknown]);
    assert_eq!(judged.reason, "the log does not answer");
    assert_eq!(judged.figures.lag_records, None);
    assert_eq!(judged.figures.in_per_second, None);
    assert_eq!(judged.history.last(), Some(&None));
    assert_eq!(judged.partitions[0].1.lag_records, Some(0));
}

#[test]
fn partitions_that_are_not_known_are_not_none() {
    let (changes, judged) = live(20, |now| look(now, Some(1), Vec::new()));
    assert_eq!(statuses(&changes), [Status::Unknown]);
    assert_eq!(judged.figures, chat_wire::admin::lag::Figures::default());
    assert_eq!(judged.history.last(), Some(&None));
}

#[test]
fn members_that_are_not_known_are_not_none() {
    let (changes, _) = live(40, |now| look(now, None, vec![seen(10, 10)]));
    assert_eq!(statuses(&changes), [Status::Unknown]);
}

#[test]
fn what_retention_took_is_told_at_once() {
    let gone = Seen {
        range: Some((500, 600)),
        ..seen(0, 100)
    };
    let mut watch = Watch::new(EVERY);
    watch.keep(&look(0, Some(1), vec![seen(600, 600), gone]));
    let judged = watch.judge(&look(10, Some(1), vec![seen(600, 600), gone]));
    assert_eq!(judged.status, Status::Stalled);
    assert!(
        judged
            .reason
            .contains("partition 1 has stopped: offsets 100 to 499 are gone")
    );
    assert!(judged.reason.contains("position to 500"));
}

#[test]
fn a_dip_does_not_hide_a_worker_that_hardly_moves() {
    // One record every twenty seconds: it moves, and is not well for that.
    let (changes, _) = live(240, |now| {
        look(now, Some(1), vec![seen(end(10, now) + 1, now / 20_000)])
    });
    let late: Vec<_> = changes.iter().filter(|(at, _)| *at > 30_000).collect();
    assert!(
        late.iter().all(|(_, status)| *status == Status::Stalled),
        "{changes:?}"
    );
}

#[test]
fn the_window_has_an_end() {
    let (_, judged) = live(EVERY * 2 * LOOKS as u64 / 1_000, |now| {
        look(now, Some(1), vec![seen(now, now)])
    });
    assert_eq!(judged.history.len(), LOOKS);
}

/// Any life of a group of two partitions: what comes in, what is applied, who is there.
fn lives() -> impl Strategy<Value = Vec<(u64, u64, u64, Option<u32>, bool)>> {
    let moment = (
        0..2_000_u64,
        0..2_000_u64,
        0..500_u64,
        proptest::option::weighted(0.9, 0..3_u32),
        proptest::bool::weighted(0.9),
    );
    proptest::collection::vec(moment, 1..120)
}

fn looks(life: &[(u64, u64, u64, Option<u32>, bool)], shift: u64, later: u64) -> Vec<Look> {
    let (mut end, mut next) = (shift, shift);
    life.iter()
        .zip(0_u64..)
        .map(|((came, applied, other, members, known), nth)| {
            end += came;
            next = (next + applied).min(end);
            let mut first = seen(end, next);
            first.range = first.range.filter(|_| *known);
            let second = seen(end + other, end);
            look(later + nth * EVERY, *members, vec![first, second])
        })
        .collect()
}

fn judge(looks: &[Look]) -> Judged {
    let (last, before) = looks.split_last().unwrap();
    let mut watch = Watch::new(EVERY);
    before.iter().for_each(|look| watch.keep(look));
    watch.judge(last)
}

proptest! {
    #[test]
    fn nothing_depends_on_where_offsets_or_clocks_begin(
        life in lives(), shift in 0..1_u64 << 50, later in 0..1_u64 << 40,
    ) {
        prop_assert_eq!(judge(&looks(&life, 0, 0)), judge(&looks(&life, shift, later)));
    }

    #[test]
    fn what_is_unknown_in_a_part_is_unknown_in_the_sum(life in lives()) {
        let looks = looks(&life, 0, 0);
        let judged = judge(&looks);
        let parts: Vec<_> = judged.partitions.iter().map(|(_, figures)| figures).collect();
        let sum: Option<u64> = parts.iter().map(|one| one.lag_records).sum();
        prop_assert_eq!(judged.figures.lag_records, sum);
        let known = parts.iter().all(|one| one.in_per_second.is_some());
        prop_assert_eq!(judged.figures.in_per_second.is_some(), known);
        if sum.is_none() {
            prop_assert!(judged.status >= Status::Unknown);
        }
    }

    #[test]
    fn well_means_that_nothing_has_waited_long_and_somebody_is_there(life in lives()) {
        let looks = looks(&life, 0, 0);
        let judged = judge(&looks);
        if judged.status == Status::Ok {
            let (last, before) = looks.split_last().unwrap();
            prop_assert!(last.members > Some(0));
            for (index, seen) in last.partitions.iter().enumerate() {
                let next = seen.next().unwrap();
                // Two pauses ago at the latest, the record at the position was not there yet.
                let then = before.iter().rev().nth(1).and_then(|look| look.partitions[index].end());
                prop_assert!(seen.lag() == Some(0) || then.is_none_or(|end| end <= next));
            }
        }
    }

    #[test]
    fn a_group_is_no_better_than_its_partitions(life in lives()) {
        let judged = judge(&looks(&life, 0, 0));
        let worst = judged.partitions.iter().map(|(status, _)| *status).max().unwrap();
        prop_assert!(judged.status >= worst);
        prop_assert!(!judged.reason.is_empty());
    }

    #[test]
    fn whoever_stands_still_is_never_well(life in lives(), still in 3..20_u64) {
        let mut looks = looks(&life, 0, 0);
        let mut last = looks.last().unwrap().clone();
        last.members = Some(1);
        let end = last.partitions[1].end().unwrap();
        last.partitions = vec![seen(end + 1, end)];
        for look in &mut looks {
            look.partitions.truncate(1);
        }
        for nth in 1..=still {
            looks.push(Look { at_ms: last.at_ms + nth * EVERY, ..last.clone() });
        }
        prop_assert_eq!(judge(&looks).status, Status::Stalled);
    }

    /// Two looks may be under way at once, and the one that began first be judged last.
    #[test]
    fn a_look_may_come_late(life in lives(), late in 0..1_000_000_u64) {
        let mut looks = looks(&life, 1_000, 500_000);
        let last = looks.last_mut().unwrap();
        last.at_ms = last.at_ms.saturating_sub(late);
        judge(&looks);
        let mut watch = Watch::new(EVERY);
        for look in &looks {
            watch.note(look);
            watch.keep(look);
        }
        for look in &looks {
            prop_assert!(!watch.judge(look).reason.is_empty());
        }
    }

    #[test]
    fn drain_is_told_only_where_it_comes(life in lives()) {
        let figures = judge(&looks(&life, 0, 0)).figures;
        if let Some(drain) = figures.drain_seconds {
            prop_assert!(drain.is_finite() && drain > 0.0);
            prop_assert!(figures.out_per_second > figures.in_per_second);
        }
    }

    /// Noise around a level below what is old does not make the status change.
    #[test]
    fn noise_does_not_flap(noise in proptest::collection::vec(0..900_u64, 60..120)) {
        let (changes, _) = live(noise.len() as u64 / 4, |now| {
            let end = end(1_000, now) + 1;
            let at = usize::try_from(now / STEP).unwrap();
            let settled = now >= EVERY;
            let late = noise.get(at).copied().filter(|_| settled).unwrap_or(0) * 4;
            look(now, Some(1), vec![seen(end, end.saturating_sub(late + 1))])
        });
        prop_assert!(changes.len() <= 2, "{:?}", changes);
    }
}
