//! Reports to draw, print and compare in tests: a calm run, one that goes wrong, and nearly nothing.

use std::collections::BTreeMap;

use super::report::{
    Asked, Drain, Environment, Freshness, Generator, Latency, Model, Objective, Operation, Report,
    SCHEMA, Second, Totals, Trial, Verification,
};

/// All of them.
pub(crate) fn all() -> [Report; 4] {
    [steady(), overload(), second(), empty()]
}

/// A minute at a thousand a second, of which everything went well.
pub(crate) fn steady() -> Report {
    let operations = vec![
        operation("history", 5_969, 0.9, 0.8, &[]),
        operation("send", 54_031, 2.0, 1.8, &[]),
    ];
    Report {
        schema: SCHEMA,
        scenario: asked("steady", "half of what the server carries", Model::Open),
        environment: environment(),
        totals: totals(60.0, 60_000, 60_000, &[], 0),
        warmup: totals(5.0, 5_000, 5_000, &[], 0),
        operations,
        generator: Generator {
            late: latency(60_000, 0.02),
            cpu_seconds: Some(4.2),
            cpu_us_per_request: Some(70.0),
            limited_by: None,
        },
        freshness: Some(Freshness {
            stored: latency(600, 8.0),
            searchable: latency(600, 120.0),
            given_up: 0,
        }),
        drain: Some(Drain {
            lag_at_end: groups(Some(310), Some(2_048)),
            seconds: Some(1.25),
        }),
        verification: Some(Verification {
            acknowledged: 54_031,
            rows: 54_031,
            documents: 54_031,
            dead_letters: Some(0),
            index_complete: true,
            seconds: 3.5,
            ..Verification::default()
        }),
        objectives: vec![
            objective("send.p99<50ms", 5.32, "ms", true),
            objective("errors<0.1%", 0.0, "%", true),
            objective("skipped==0", 0.0, "", true),
        ],
        trials: Vec::new(),
        series: (1..=60).map(calm).collect(),
        interrupted: false,
    }
}

/// Far above the limit: the generator is late, the server sheds, the workers fall behind.
pub(crate) fn overload() -> Report {
    let mut report = steady();
    let errors = [("overloaded", 21_000), ("timeout", 37)];
    report.scenario = asked(
        "overload",
        "three times what the server carries",
        Model::Open,
    );
    report.totals = totals(20.0, 60_000, 58_500, &errors, 1_500);
    report.operations = vec![operation("send", 37_463, 40.0, 12.0, &errors)];
    report.environment.load_before = Some(1.75);
    report.generator.late = latency(58_500, 4.0);
    report.generator.limited_by = Some("it used 1.9 of 2 processors".to_owned());
    report.freshness = Some(Freshness {
        stored: latency(180, 900.0),
        searchable: latency(20, 4_000.0),
        given_up: 160,
    });
    report.drain = Some(Drain {
        lag_at_end: groups(Some(18_000), None),
        seconds: None,
    });
    report.verification = Some(Verification {
        acknowledged: 37_463,
        unanswered: 37,
        rows: 37_462,
        documents: 20_000,
        lost: 1,
        unindexed: 12,
        void: 5,
        dead_letters: None,
        index_complete: false,
        seconds: 31.0,
        findings: vec![
            "1 acknowledged message is not in the store".to_owned(),
            "12 messages are not found by <search> & co".to_owned(),
        ],
        ..Verification::default()
    });
    report.objectives = vec![
        objective("send.p99<50ms", 106.0, "ms", false),
        objective("errors<0.1%", 35.96, "%", false),
        objective("ok>1000/s", 1_873.15, "/s", true),
    ];
    report.trials = vec![
        trial(1_000.0, true),
        trial(4_000.0, false),
        trial(2_000.0, true),
    ];
    report.series = (1..=20).map(crowded).collect();
    report.interrupted = true;
    report
}

/// One second of a closed model, with a single answer.
pub(crate) fn second() -> Report {
    Report {
        scenario: asked("one", "", Model::Closed),
        totals: totals(1.0, 1, 1, &[], 0),
        warmup: Totals::default(),
        operations: vec![Operation {
            response: single(3.0),
            service: single(3.0),
            ..operation("send", 1, 0.0, 0.0, &[])
        }],
        generator: Generator::default(),
        freshness: None,
        drain: None,
        verification: None,
        objectives: Vec::new(),
        series: vec![Second {
            at: 1.0,
            wanted: 1,
            sent: 1,
            ok: 1,
            p50: Some(3.0),
            p99: Some(3.0),
            p99_9: Some(3.0),
            ..Second::default()
        }],
        ..steady()
    }
}

/// Nothing was sent, and hardly anything is known.
pub(crate) fn empty() -> Report {
    Report {
        scenario: asked("", "", Model::Open),
        environment: Environment {
            server_version: None,
            server_mode: None,
            load_before: None,
            open_files_max: None,
            ..environment()
        },
        totals: Totals::default(),
        operations: Vec::new(),
        series: Vec::new(),
        ..second()
    }
}

fn asked(name: &str, about: &str, model: Model) -> Asked {
    Asked {
        name: name.to_owned(),
        about: about.to_owned(),
        model,
        seed: 42,
        warmup_seconds: 5.0,
        seconds: 60.0,
        toml: "[load]\nrate = 1000\nduration = \"60s\"\nmix = { send = 9, history = 1 }\n"
            .to_owned(),
    }
}

fn environment() -> Environment {
    Environment {
        started_at: "2026-01-31T12:00:00Z"
            .parse()
            .expect("a fixed point in time"),
        version: "0.1.0".to_owned(),
        target: "http://127.0.0.1:7700".to_owned(),
        server_version: Some("0.1.0".to_owned()),
        server_mode: Some("embedded".to_owned()),
        platform: "linux x86_64".to_owned(),
        cpus: 2,
        load_before: Some(0.25),
        open_files_max: Some(65_536),
    }
}

fn totals(seconds: f64, wanted: u64, sent: u64, errors: &[(&str, u64)], skipped: u64) -> Totals {
    let errors = by_code(errors);
    let ok = sent - errors.values().sum::<u64>();
    let per_second = |count: u64| float(count) / seconds;
    Totals {
        seconds,
        wanted,
        sent,
        ok,
        skipped,
        messages: ok,
        in_flight_max: sent.min(512),
        wanted_per_second: per_second(wanted),
        sent_per_second: per_second(sent),
        ok_per_second: per_second(ok),
        errors,
    }
}

fn operation(
    name: &str,
    ok: u64,
    response: f64,
    service: f64,
    errors: &[(&str, u64)],
) -> Operation {
    let errors = by_code(errors);
    let failed = errors.values().sum();
    Operation {
        name: name.to_owned(),
        ok,
        errors,
        response: latency(ok, response),
        service: latency(ok, service),
        refused: latency(failed, 1.0),
    }
}

fn by_code(errors: &[(&str, u64)]) -> BTreeMap<String, u64> {
    let own = errors
        .iter()
        .map(|(code, count)| ((*code).to_owned(), *count));
    own.collect()
}

fn groups(store: Option<u64>, index: Option<u64>) -> BTreeMap<String, Option<u64>> {
    let groups = [("messages-store", store), ("messages-index", index)];
    groups.map(|(name, lag)| (name.to_owned(), lag)).into()
}

/// A distribution with this median and a long tail: a quarter of a decade for each nine.
pub(crate) fn latency(count: u64, p50: f64) -> Latency {
    if count == 0 {
        return Latency::default();
    }
    let at = |quantile: f64| {
        let value = p50 * (2.0 * (1.0 - quantile)).powf(-0.25);
        (value * 1_000.0).round() / 1_000.0
    };
    let last = 1.0 - 1.0 / float(count + 1);
    let mut quantiles = vec![(0.0, at(0.0))];
    let mut rest = 0.5;
    while 1.0 - rest < last {
        quantiles.push((1.0 - rest, at(1.0 - rest)));
        rest *= 0.5;
    }
    quantiles.push((1.0, at(last)));
    let known = |quantile: f64| Some(at(quantile.min(last)));
    Latency {
        count,
        mean: Some((p50 * 1_100.0).round() / 1_000.0),
        p50: known(0.5),
        p90: known(0.9),
        p95: known(0.95),
        p99: known(0.99),
        p99_9: known(0.999),
        p99_99: known(0.9999),
        max: Some(at(last)),
        quantiles,
    }
}

/// One answer has one time.
fn single(value: f64) -> Latency {
    let known = Some(value);
    Latency {
        count: 1,
        mean: known,
        p50: known,
        p90: known,
        p95: known,
        p99: known,
        p99_9: known,
        p99_99: known,
        max: known,
        quantiles: vec![(0.0, value), (1.0, value)],
    }
}

fn calm(at: u32) -> Second {
    let wave = f64::from(at % 7);
    Second {
        at: f64::from(at),
        wanted: 1_000,
        sent: 1_000,
        ok: 1_000,
        in_flight: 2 + u64::from(at % 3),
        p50: Some(2.0 + wave / 10.0),
        p99: Some(5.0 + wave / 4.0),
        p99_9: Some(9.0 + wave),
        lag: groups(Some(u64::from(at % 5) * 80), Some(u64::from(at % 9) * 256)),
        ..Second::default()
    }
}

fn crowded(at: u32) -> Second {
    let count = u64::from(at);
    // For three seconds nothing came back, and the lag of the index could not be asked for.
    let stalled = (9..=11).contains(&at);
    let times = |value: f64| (!stalled).then_some(value * f64::from(at));
    Second {
        at: f64::from(at),
        wanted: 3_000,
        sent: 2_925,
        ok: if stalled { 0 } else { 2_200 },
        errors: if stalled { 0 } else { 1_050 },
        skipped: 75,
        in_flight: count * 25,
        p50: times(4.0),
        p99: times(12.0),
        p99_9: times(20.0),
        lag: groups(Some(count * 900), (!stalled).then_some(count * 1_400)),
    }
}

fn objective(text: &str, value: f64, unit: &str, met: bool) -> Objective {
    Objective {
        text: text.to_owned(),
        value,
        unit: unit.to_owned(),
        met,
    }
}

fn trial(rate: f64, met: bool) -> Trial {
    let missed = if met {
        Vec::new()
    } else {
        vec!["send.p99<50ms".to_owned()]
    };
    Trial {
        rate,
        ok_per_second: rate.min(2_750.0),
        p50: Some(rate / 500.0),
        p99: Some(rate / 50.0),
        met,
        missed,
    }
}

#[expect(clippy::cast_precision_loss, reason = "small counts")]
const fn float(count: u64) -> f64 {
    count as f64
}
