//! Answers of the admin listener, as a test puts them together.

use std::collections::{HashMap, VecDeque};

use serde_json::{Value, json};

pub(crate) const TIME: &str = "2026-01-31T12:00:00Z";
pub(crate) const TOKEN: &str = "00000000000000000000000000000abc";

/// What was prepared, by method and path; the last answer stays.
#[derive(Default)]
pub(crate) struct Prepared(HashMap<String, VecDeque<(u16, Value)>>);

impl Prepared {
    /// Answers this, after what was prepared before.
    pub(crate) fn then(&mut self, call: &str, status: u16, answer: Value) {
        let answers = self.0.entry(call.to_owned()).or_default();
        answers.push_back((status, answer));
    }

    /// Answers this from now on.
    pub(crate) fn always(&mut self, call: &str, answer: Value) {
        self.0
            .insert(call.to_owned(), VecDeque::from([(200, answer)]));
    }

    pub(super) fn take(&mut self, method: &str, path: &str) -> Option<(u16, Value)> {
        let answers = self.0.get_mut(&format!("{method} {path}"))?;
        if answers.len() > 1 {
            return answers.pop_front();
        }
        answers.front().cloned()
    }
}

/// The lag of two groups: these statuses and records.
pub(crate) fn lag(store: (&str, Option<u64>), index: (&str, Option<u64>)) -> Value {
    let group = |name: &str, (status, records): (&str, Option<u64>)| {
        let figures = json!({
            "partition": 0, "status": status, "start_offset": 0, "end_offset": 100,
            "committed_offset": records.map(|records| 100 - records), "lag_records": records,
        });
        json!({
            "group": name, "topic": "messages", "status": status, "reason": format!("it is {status}"),
            "members": 1, "lag_records": records, "oldest_age_ms": records.filter(|one| *one > 0).map(|_| 61_500),
            "in_per_second": 12.5, "out_per_second": records.map(|_| 1_234.0),
            "drain_seconds": records.filter(|one| *one > 0).map(|_| 3.2),
            "history": [null, 3], "partitions_total": 1, "partitions": [figures],
        })
    };
    let worst = if store.0 == "ok" { index.0 } else { store.0 };
    json!({
        "sampled_at": TIME, "interval_ms": 5_000, "status": worst,
        "groups": [group("messages-store", store), group("messages-index", index)],
    })
}

/// A page with one row for each verdict.
pub(crate) fn drift(verdicts: &[&str]) -> Value {
    let mut summary = json!({
        "compared": 12, "in_flight": 0, "unknown": 0, "count_stale": 0, "unindexed": 0, "holes": 0, "counter_behind": 0,
    });
    let mut rows = Vec::new();
    for (at, verdict) in verdicts.iter().enumerate() {
        if *verdict != "ok" {
            summary[*verdict] = json!(summary[*verdict].as_u64().unwrap() + 1);
        }
        rows.push(json!({
            "token": TOKEN, "name": "Acme", "chat": at + 1,
            "counter": if *verdict == "counter_behind" { Value::Null } else { json!(1_200) },
            "highest": 1_200, "rows": 1_200, "live": 1_190, "count": 1_190, "in_log": 0,
            "documents": if *verdict == "unknown" { Value::Null } else { json!(1_190) },
            "verdict": verdict, "details": [format!("it is {verdict}")],
        }));
    }
    json!({"compared_at": TIME, "summary": summary, "rows": rows})
}

/// A run of two steps.
pub(crate) fn run(phase: &str, execute: bool, outcomes: [Value; 2]) -> Value {
    let ended = !matches!(phase, "comparing" | "acting");
    let result = |name: &str| outcomes.iter().filter(|one| one["result"] == name).count();
    let (waits, failed) = (result("waits"), result("failed"));
    let done = outcomes.iter().filter(|one| !one.is_null()).count() - waits - failed;
    let step = |act: &str, chat: Value, outcome: &Value| json!({"act": act, "token": TOKEN, "chat": chat, "from": 3, "to": 7, "outcome": outcome});
    json!({
        "id": "0190a7c2-0000-7000-8000-000000000001", "order": {"full": false, "execute": execute},
        "owner": "host/42/all", "started_at": TIME,
        "ended_at": if ended { json!("2026-01-31T12:00:03Z") } else { Value::Null },
        "phase": phase,
        "summary": drift(&["holes", "count_stale"])["summary"],
        "planned": 2, "done": done, "waits": waits, "failed": failed,
        "steps": [step("void_holes", json!(7), &outcomes[0]), step("set_count", Value::Null, &outcomes[1])],
    })
}

/// A dead letter.
pub(crate) fn letter(offset: u64, state: &str) -> Value {
    json!({
        "id": format!("messages.dlq-0-{offset}"), "origin": {"topic": "messages", "partition": 0, "offset": 17},
        "event": "message.created", "reason": "invalid type: string \"hello\"", "buried_at": TIME,
        "bytes": 1_234, "state": state,
    })
}

/// A snapshot in which everything is well.
pub(crate) fn stats() -> Value {
    json!({
        "at": TIME, "version": env!("CARGO_PKG_VERSION"), "mode": "embedded", "role": "all",
        "uptime_seconds": 3_700, "ready": true,
        "checks": [{"name": "store", "ok": true, "elapsed_ms": 1}, {"name": "search", "ok": false, "elapsed_ms": 2, "detail": "it is closed"}],
        "traffic": {"requests_per_second": 12.34, "creates_per_second": 10_000.0, "errors_per_second": 0.0,
            "shed_per_second": 0.0, "create_p50_ms": 1.25, "create_p99_ms": null, "in_flight": 3},
        "totals": {"applications": 2, "chats": 1_000, "messages": null},
        "lag": lag(("ok", Some(0)), ("unknown", None)),
        "drift": {"at": TIME, "summary": drift(&["holes"])["summary"]},
        "dead_letters": 0,
    })
}
