//! What a run was judged by: objectives, verification, and the trials of a search.

use super::paper::Paper;
use crate::load::figures::{ms, three, whole};
use crate::load::report::{Report, Verification};
use crate::load::verdict::{Sign, Statement, objectives, verification};
use crate::output::table::{Cell, left, right};
use crate::output::text::grouped;
use crate::output::units::{count, rate, span_of_seconds};

/// The objectives and the verification, each with its sign.
pub(super) fn judged(paper: &mut Paper, report: &Report) {
    paper.heading("Objectives");
    if report.objectives.is_empty() {
        paper.statement(&objectives(report));
    }
    for objective in &report.objectives {
        let (sign, word) = if objective.met {
            (Sign::Good, "met")
        } else {
            (Sign::Bad, "missed")
        };
        let value = three(objective.value);
        let text = format!("{word}: {} is {value} {}", objective.text, objective.unit);
        paper.statement(&Statement {
            sign,
            text: text.trim_end().to_owned(),
        });
    }
    paper.heading("Verification");
    paper.statement(&verification(report));
    let Some(found) = &report.verification else {
        return;
    };
    for finding in &found.findings {
        paper.statement(&Statement {
            sign: Sign::Bad,
            text: finding.clone(),
        });
    }
    paper.figures(&checked(found));
    paper.prose(&format!("looked at in {}", span_of_seconds(found.seconds)));
}

/// What was counted, in words.
pub(crate) fn checked(found: &Verification) -> [(&'static str, String); 12] {
    [
        ("acknowledged messages", grouped(found.acknowledged)),
        ("rows", grouped(found.rows)),
        ("documents looked at", grouped(found.documents)),
        ("lost", grouped(found.lost)),
        ("there more than once", grouped(found.doubled)),
        ("there and not expected", grouped(found.unexpected)),
        ("not found by search", grouped(found.unindexed)),
        ("numbers given twice", grouped(found.numbers_twice)),
        ("chats that disagree", grouped(found.chats_drifted)),
        ("numbers without a message", grouped(found.void)),
        ("requests without an answer", grouped(found.unanswered)),
        ("dead letters", count(found.dead_letters)),
    ]
}

/// What `--find-max` tried.
pub(super) fn trials(paper: &mut Paper, report: &Report) {
    if report.trials.is_empty() {
        return;
    }
    paper.heading("Search for the highest rate");
    let rows: Vec<Vec<Cell>> = report
        .trials
        .iter()
        .map(|trial| {
            let sign = if trial.met { Sign::Good } else { Sign::Bad };
            let word = if trial.met {
                "met".to_owned()
            } else {
                format!("missed {}", trial.missed.join(", "))
            };
            vec![
                Cell::show(rate(trial.rate)),
                Cell::show(rate(trial.ok_per_second)),
                Cell::show(ms(trial.p50)),
                Cell::show(ms(trial.p99)),
                Cell::text(&format!("{} {word}", sign.symbol())),
            ]
        })
        .collect();
    let columns = [
        right("WANTED/S"),
        right("OK/S"),
        right("P50"),
        right("P99"),
        left("OBJECTIVES"),
    ];
    paper.table(&columns, &rows);
    let best = report.trials.iter().filter(|trial| trial.met);
    let best = best.map(|trial| trial.rate).reduce(f64::max);
    paper.prose(&match best {
        Some(best) => format!(
            "highest rate that met the objectives: {} a second",
            whole(best)
        ),
        None => "no rate met the objectives".to_owned(),
    });
}
