//! The answers of a system in which each status, verdict and state occurs.

use std::cmp::Reverse;

use chat_client::admin::{LagQuery, LagSort};
use chat_wire::admin::doctor::{Diagnosis, Examined, Finding};
use chat_wire::admin::drift::{Drift, DriftPage, Summary, Verdict};
use chat_wire::admin::lag::{Figures, GroupLag, Lag, PartitionLag, Status};
use chat_wire::admin::reconcile::{Act, Order, Outcome, Phase, Run, Runs, Step};
use chat_wire::admin::stats::{DriftSeen, Stats, Totals, Traffic};
use chat_wire::admin::{Check, dlq};
use chat_wire::ids::{AppToken, ChatNumber};
use chat_wire::time::Timestamp;

/// So many seconds before `at`.
pub(crate) fn before(at: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_micros(at.as_micros() - seconds * 1_000_000).unwrap()
}

pub(crate) fn token(n: u8) -> AppToken {
    AppToken::from_bytes([n.wrapping_mul(37); 16])
}

pub(crate) fn chat(n: u32) -> ChatNumber {
    ChatNumber::new(n).unwrap()
}

fn check(name: &str, elapsed_ms: u64, detail: Option<&str>) -> Check {
    Check {
        name: name.to_owned(),
        ok: detail.is_none(),
        elapsed_ms,
        detail: detail.map(str::to_owned),
    }
}

pub(crate) fn stats(at: Timestamp) -> Stats {
    Stats {
        at,
        version: "0.1.0".into(),
        mode: "engines".into(),
        role: "all".into(),
        uptime_seconds: 93_784,
        ready: false,
        checks: vec![
            check("store", 2, None),
            check("log", 4, None),
            check("counters", 1, None),
            check("search", 1_000, Some("no answer within 1 s")),
            check("signals", 1, None),
        ],
        traffic: Traffic {
            requests_per_second: 1_834.2,
            creates_per_second: 512.8,
            errors_per_second: 0.0,
            shed_per_second: 3.2,
            create_p50_ms: Some(3.41),
            create_p99_ms: Some(18.7),
            in_flight: 14,
        },
        totals: Totals {
            applications: Some(10_412),
            chats: Some(104_998),
            messages: None,
        },
        lag: Some(lag(at, false)),
        drift: Some(DriftSeen {
            at: before(at, 40),
            summary: summary(),
            running: None,
        }),
        shedding: Vec::new(),
        dead_letters: Some(103),
        oldest_dead_letter_ms: Some(7_380_000),
    }
}

fn summary() -> Summary {
    Summary {
        compared: 10_412,
        in_flight: 2,
        unknown: 1,
        count_stale: 3,
        unindexed: 1,
        holes: 2,
        counter_behind: 1,
    }
}

fn figures(lag: Option<u64>, oldest_ms: Option<u64>, rates: Option<(f64, f64)>) -> Figures {
    let drain = match (lag, rates) {
        (Some(lag), Some((incoming, outgoing))) if lag > 0 && outgoing > incoming => {
            Some(lag as f64 / (outgoing - incoming))
        }
        _ => None,
    };
    Figures {
        lag_records: lag,
        oldest_age_ms: oldest_ms,
        in_per_second: rates.map(|rates| rates.0),
        out_per_second: rates.map(|rates| rates.1),
        drain_seconds: drain,
    }
}

/// Every group; with partitions where they are wanted.
/// As much of the lag as is asked for, in the order that is asked for.
pub(crate) fn lag_of(at: Timestamp, query: &LagQuery) -> Lag {
    let mut lag = lag(at, true);
    let wanted = |group: &GroupLag| query.group.as_ref().is_none_or(|name| group.group == *name);
    lag.groups.retain(wanted);
    for group in &mut lag.groups {
        if query.sort == LagSort::Lag {
            group.partitions.sort_by_key(|one| {
                let lag = one.figures.lag_records;
                (lag.is_some(), Reverse(lag))
            });
        }
        let most = query.partitions.map_or(usize::MAX, |most| most as usize);
        group.partitions.truncate(most);
    }
    lag
}

pub(crate) fn lag(at: Timestamp, partitions: bool) -> Lag {
    let wave = |top: u64| {
        (0..60)
            .map(|i| Some(top * (i % 20) / 20))
            .collect::<Vec<_>>()
    };
    let ramp = |top: u64| (0..60).map(|i| Some(top * i / 59)).collect::<Vec<_>>();
    let mut groups = vec![
        group(
            "applications-store",
            "applications",
            Status::Ok,
            figures(Some(0), None, Some((0.2, 0.2))),
            vec![Some(0); 60],
        ),
        group(
            "chats-store",
            "chats",
            Status::Behind,
            figures(Some(1_840), Some(4_100), Some((120.0, 310.5))),
            wave(1_840),
        ),
        group(
            "messages-store",
            "messages",
            Status::Growing,
            figures(Some(48_200), Some(96_000), Some((512.8, 400.1))),
            ramp(48_200),
        ),
        group(
            "messages-index",
            "messages",
            Status::Stopped,
            figures(Some(2_310_455), Some(7_400_000), Some((512.8, 0.0))),
            ramp(2_310_455),
        ),
        group(
            "messages-audit",
            "messages",
            Status::Unknown,
            figures(None, None, None),
            vec![Some(3), None, None, None],
        ),
    ];
    groups[0].reason = "nothing waits".into();
    groups[1].reason = "more than 1,000 records wait, and they get less".into();
    groups[2].reason = "more came in than was read in each of the last 12 samples".into();
    groups[3].reason =
        "no member is there, and records wait since 2 h; start `chatd worker search`".into();
    groups[3].members = Some(0);
    groups[4].reason = "the coordinator does not answer".into();
    groups[4].members = None;
    if partitions {
        for group in &mut groups {
            let (status, count) = (group.status, group.partitions_total);
            group.partitions = (0..count).map(|n| partition(n, status)).collect();
        }
    }
    Lag {
        sampled_at: before(at, 1),
        interval_ms: 5_000,
        status: Status::Stopped,
        groups,
    }
}

fn group(
    name: &str,
    topic: &str,
    status: Status,
    figures: Figures,
    history: Vec<Option<u64>>,
) -> GroupLag {
    GroupLag {
        group: name.into(),
        topic: topic.into(),
        status,
        reason: String::new(),
        members: Some(3),
        figures,
        history,
        partitions_total: 12,
        partitions: vec![],
    }
}

fn partition(n: u32, status: Status) -> PartitionLag {
    let lag = u64::from(n) * 731 % 5_000;
    let fresh = n == 5;
    let unknown = n == 7 || status == Status::Unknown;
    let waits = |text: u64| (lag > 0).then_some(text);
    PartitionLag {
        partition: n,
        status: match n {
            7 => Status::Unknown,
            0 => Status::Ok,
            _ => status,
        },
        start_offset: Some(0),
        end_offset: (!unknown).then_some(192_000 + lag),
        committed_offset: (!unknown && !fresh).then_some(192_000),
        figures: if unknown {
            Figures::default()
        } else {
            figures(Some(lag), waits(u64::from(n) * 1_300), Some((42.5, 33.0)))
        },
    }
}

struct Row(&'static str, u8, Option<u32>, Verdict);

pub(crate) fn drift(at: Timestamp, token_wanted: Option<AppToken>) -> DriftPage {
    let rows = match token_wanted {
        None => applications(),
        Some(token) => chats_of(token),
    };
    DriftPage {
        compared_at: before(at, 40),
        summary: summary(),
        rows,
        next_after: token_wanted.is_none().then(|| "page-2".to_owned()),
    }
}

fn applications() -> Vec<Drift> {
    let rows = [
        Row("Corner shop", 1, None, Verdict::CounterBehind),
        Row("Newsroom", 2, Some(214), Verdict::Holes),
        Row("Hotline 24/7", 3, Some(31), Verdict::Unindexed),
        Row(
            "Schülerzeitung – große Pause",
            4,
            Some(8),
            Verdict::CountStale,
        ),
        Row("客服中心", 5, Some(1_200), Verdict::Unknown),
        Row("", 6, Some(3), Verdict::InFlight),
        Row(
            "Support of a company with quite a long name, Ltd.",
            7,
            Some(99),
            Verdict::Ok,
        ),
        Row("Weather\u{1b}[31mbot", 8, Some(1_204_331), Verdict::Ok),
    ];
    let mut rows: Vec<Drift> = rows.iter().map(|row| one(row, None)).collect();
    rows[0].details = vec!["the counter is missing, and the highest number is 57".into()];
    rows[0].chats_drifted = 2;
    rows[1].rows = 211;
    rows[1].live = 211;
    rows[1].count = 211;
    rows[1].details =
        vec!["numbers 14, 15 and 190 have no row, and the log has been read past them".into()];
    rows[3].count = 11;
    rows[3].details = vec!["the count column says 11, and 8 chats are live".into()];
    rows[4].in_log = None;
    rows[4].documents = None;
    rows[4].counter = None;
    rows[4].details = vec!["the counters could not be asked: no answer within 1 s".into()];
    rows[5].in_log = Some(4);
    rows
}

fn chats_of(token: AppToken) -> Vec<Drift> {
    let rows = [
        Row("Corner shop", 1, Some(40), Verdict::CounterBehind),
        Row("Corner shop", 1, Some(12), Verdict::Unindexed),
        Row("Corner shop", 1, Some(900), Verdict::InFlight),
        Row("Corner shop", 1, Some(0), Verdict::Ok),
    ];
    let numbers = [17, 3, 1, 2];
    let mut rows: Vec<Drift> = rows
        .iter()
        .zip(numbers)
        .map(|(row, n)| Drift {
            token,
            ..one(row, Some(chat(n)))
        })
        .collect();
    rows[0].highest = 57;
    rows[0].details = vec!["the counter says 40, and the highest number is 57".into()];
    rows[1].documents = Some(9);
    rows[1].details = vec!["3 live messages are not in the index".into()];
    rows[2].in_log = Some(12);
    rows
}

fn one(row: &Row, chat: Option<ChatNumber>) -> Drift {
    let number = row.2.unwrap_or(57);
    Drift {
        token: token(row.1),
        name: row.0.into(),
        chat,
        counter: row.2,
        highest: number,
        rows: number.into(),
        live: number.into(),
        count: number.into(),
        in_log: Some(0),
        documents: Some(u64::from(number)),
        verdict: row.3,
        details: vec![],
        chats_drifted: 0,
    }
}

pub(crate) fn run(at: Timestamp, order: Order, phase: Phase) -> Run {
    let running = matches!(phase, Phase::Comparing | Phase::Acting);
    let mut steps = vec![
        step(Act::RaiseCounter, 1, None, None, 57),
        step(Act::RaiseCounter, 1, Some(17), Some(40), 57),
        step(Act::SetCount, 4, None, Some(11), 8),
        step(Act::VoidHoles, 2, None, Some(211), 214),
        step(Act::Reindex, 1, Some(3), Some(9), 12),
    ];
    if order.execute {
        steps[0].outcome = Some(Outcome::Done);
        steps[1].outcome = Some(Outcome::Done);
        steps[2].outcome = Some(Outcome::Unneeded);
        if !running {
            steps[3].outcome = Some(Outcome::Waits("the log has not been read past 190".into()));
            steps[4].outcome = Some(Outcome::Failed("the index does not answer".into()));
        }
    }
    Run {
        id: "0198b2a4-0000-7000-8000-000000000001".into(),
        order,
        owner: "host-a, process 4711, all".into(),
        started_at: before(at, 21),
        ended_at: (!running).then(|| before(at, 12)),
        phase,
        detail: None,
        summary: summary(),
        planned: 5,
        done: if order.execute { 3 } else { 0 },
        waits: u64::from(order.execute && !running),
        failed: u64::from(order.execute && !running),
        steps,
    }
}

fn step(act: Act, n: u8, chat_number: Option<u32>, from: Option<u64>, to: u64) -> Step {
    Step {
        act,
        token: token(n),
        chat: chat_number.map(chat),
        from,
        to,
        outcome: None,
    }
}

/// A plan that came to its end.
pub(crate) fn planned(at: Timestamp) -> Runs {
    Runs {
        current: None,
        last: Some(run(at, Order::default(), Phase::Finished)),
    }
}

pub(crate) fn letters(at: Timestamp) -> dlq::LetterPage {
    let letter = |n: u64, state, reason: &str, event: Option<&str>| dlq::Letter {
        id: format!("messages.dlq-0-{n}"),
        origin: event.map(|_| dlq::Place {
            topic: "messages".into(),
            partition: 3,
            offset: 1_000 + n,
        }),
        event: event.map(str::to_owned),
        reason: reason.into(),
        buried_at: before(at, 7_380 - i64::try_from(n).unwrap() * 600),
        bytes: 180 + n * 1_021,
        state,
        decided_at: (state != dlq::State::Waiting).then(|| before(at, 60)),
        discard_reason: (state == dlq::State::Discarded).then(|| "sent by a test".to_owned()),
    };
    dlq::LetterPage {
        waiting: 103,
        letters: vec![
            letter(
                0,
                dlq::State::Waiting,
                "not JSON: expected value at line 1 column 1",
                Some("message.created"),
            ),
            letter(
                1,
                dlq::State::Waiting,
                "schema 9 is newer than this server",
                Some("message.edited"),
            ),
            letter(2, dlq::State::Waiting, "no header says what it is", None),
            letter(
                3,
                dlq::State::Replayed,
                "the store refused: body is too long",
                Some("messages.created"),
            ),
            letter(
                4,
                dlq::State::Discarded,
                "not JSON: unexpected end",
                Some("message.created"),
            ),
        ],
        next_after: Some("messages.dlq-0-4".into()),
    }
}

pub(crate) fn letter(at: Timestamp) -> dlq::LetterWithBytes {
    dlq::LetterWithBytes {
        letter: letters(at).letters.remove(0),
        key: format!("{}|17", token(1).reveal()),
        text: "{\"body\": poison\u{1b}[2J\n}".into(),
        base64: "eyJib2R5IjogcG9pc29uG1sySgp9".into(),
    }
}

pub(crate) fn doctor() -> Diagnosis {
    let check = |id: &str, finding, elapsed_ms, detail: &str, hint: Option<&str>| Examined {
        id: id.into(),
        finding,
        elapsed_ms,
        detail: detail.into(),
        hint: hint.map(str::to_owned),
    };
    Diagnosis {
        checks: vec![
            check("store.reachable", Finding::Ok, 2, "MySQL 8.4 answers", None),
            check(
                "search.reachable",
                Finding::Failed,
                1_000,
                "no answer within 1 s from the index",
                Some("systemctl restart elasticsearch"),
            ),
            check(
                "redis.eviction",
                Finding::Warning,
                1,
                "maxmemory-policy is allkeys-lru: counters may be evicted at any time",
                Some("redis-cli config set maxmemory-policy noeviction"),
            ),
            check(
                "clock.skew",
                Finding::Ok,
                3,
                "no engine is more than 12 ms off",
                None,
            ),
            check(
                "disk.free",
                Finding::Skipped,
                0,
                "the engines are on other machines",
                None,
            ),
            check(
                "lag",
                Finding::Failed,
                0,
                "messages-index is stopped",
                Some("chatd worker search"),
            ),
        ],
    }
}
