//! How a run is shown: a line about it, and its steps.

use chat_wire::admin::reconcile::{Phase, Run, Runs, Step};
use chat_wire::time::Timestamp;

use crate::commands::drift::found;
use crate::commands::watch::Watched;
use crate::output::Document;
use crate::output::text::grouped;
use crate::output::units::span;

const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Comparing => "comparing",
        Phase::Acting => "acting",
        Phase::Finished => "finished",
        Phase::Cancelled => "cancelled",
        Phase::Failed => "failed",
    }
}

/// Where a run is, in one line.
pub(super) fn progress(run: &Run) -> String {
    let mut text = format!("{}, {}", phase(run.phase), found(&run.summary));
    let figures = [
        (run.planned, "planned"),
        (run.done, "done"),
        (run.waits, "waiting"),
        (run.failed, "failed"),
    ];
    text.push_str("; steps:");
    for (at, (count, name)) in figures.into_iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        text.push_str(&format!("{comma} {} {name}", grouped(count)));
    }
    text
}

/// Which run it is and where it is.
fn head(run: &Run) -> Vec<String> {
    let kind = if run.order.execute { "run" } else { "plan" };
    let until = run.ended_at.unwrap_or_else(Timestamp::now);
    let elapsed = span(until.millis_since(run.started_at));
    let mut lines = vec![
        format!("{kind} {} of {}, {elapsed}", run.id, run.owner),
        progress(run),
    ];
    lines.extend(run.detail.clone());
    let shown = run.steps.len() as u64;
    if run.planned > shown {
        lines.push(format!("the first {} steps:", grouped(shown)));
    }
    lines
}

impl Document for Run {
    const FIELDS: &'static [&'static str] = &[
        "id",
        "order",
        "owner",
        "started_at",
        "ended_at",
        "phase",
        "detail",
        "summary",
        "planned",
        "done",
        "waits",
        "failed",
        "steps",
    ];
    type Row = Step;

    fn head(&self) -> Vec<String> {
        head(self)
    }

    fn rows(&self) -> Vec<Step> {
        self.steps.clone()
    }

    fn ids(&self) -> Vec<String> {
        vec![self.id.clone()]
    }
}

impl Document for Runs {
    const FIELDS: &'static [&'static str] = &["current", "last"];
    type Row = Step;

    fn head(&self) -> Vec<String> {
        match (&self.current, &self.last) {
            (Some(run), _) => head(run),
            (None, Some(run)) => {
                let mut lines = vec!["no run is at work; the last one:".to_owned()];
                lines.extend(head(run));
                lines
            }
            (None, None) => vec!["no run is at work, and there was none yet".to_owned()],
        }
    }

    fn rows(&self) -> Vec<Step> {
        let shown = self.current.as_ref().or(self.last.as_ref());
        shown.map(|run| run.steps.clone()).unwrap_or_default()
    }

    fn ids(&self) -> Vec<String> {
        let shown = self.current.as_ref().or(self.last.as_ref());
        shown.map(|run| run.id.clone()).into_iter().collect()
    }
}

impl Watched for Runs {
    fn face(&self) -> String {
        format!("{self:?}")
    }
}
