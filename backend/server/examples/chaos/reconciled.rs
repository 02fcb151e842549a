//! Reconciliation after a bad day: the system has settled by itself, and nothing is left to do.

use std::time::Instant;

use chat_client::admin::{Admin, DriftQuery};
use chat_wire::admin::drift::Summary;
use chat_wire::admin::reconcile::{Order, Phase, Run, Step};
use chat_wire::ids::AppToken;
use chat_wire::problem::Code;

use crate::Failure;
use crate::check::Verdict;
use crate::system::{LOOK_AGAIN, SETTLING, System};

/// Rows of one page of the comparison.
const PAGE: u32 = 1_000;
/// Steps that a breach shows.
const SHOWN: usize = 5;

/// Waits until nothing of an application is under way any more, and then has everything of it
/// reconciled, which must find nothing: what only reconciliation repairs was broken until then.
pub(crate) async fn nothing_to_do(
    system: &System,
    token: AppToken,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let admin = system.admin()?;
    let began = Instant::now();
    let mut seen = drift(&admin, token).await?;
    while !is_settled(&seen) && began.elapsed() < SETTLING {
        tokio::time::sleep(LOOK_AGAIN).await;
        seen = drift(&admin, token).await?;
    }
    verdict.figure(
        "no drift after",
        format!("{:.1} s", began.elapsed().as_secs_f64()),
    );
    verdict.must("it settles by itself", is_settled(&seen), || {
        format!("{seen:?}")
    });
    let run = reconcile(&admin, token).await?;
    verdict.figure(
        "reconciliation",
        format!("{} compared, {} planned", run.summary.compared, run.planned),
    );
    verdict.must(
        "reconciliation compares something",
        run.summary.compared > 0,
        || format!("{:?}", run.summary),
    );
    verdict.must("reconciliation has nothing to do", run.planned == 0, || {
        let steps = run.steps.iter().take(SHOWN).map(step);
        let steps = steps.collect::<Vec<_>>().join("; ");
        format!("{} steps: {steps}", run.planned)
    });
    Ok(())
}

/// Whether nothing differs, nothing is under way, and everything could be asked.
const fn is_settled(seen: &Summary) -> bool {
    seen.compared > 0 && seen.drifted() == 0 && seen.in_flight == 0 && seen.unknown == 0
}

/// What the chats of an application have drifted.
pub(crate) async fn drift(admin: &Admin, token: AppToken) -> Result<Summary, Failure> {
    let mut all = Summary::default();
    let mut query = DriftQuery {
        token: Some(token),
        limit: PAGE,
        ..DriftQuery::default()
    };
    loop {
        let page = admin.drift(&query).await?;
        let one = page.summary;
        all.compared += one.compared;
        all.in_flight += one.in_flight;
        all.unknown += one.unknown;
        all.count_stale += one.count_stale;
        all.unindexed += one.unindexed;
        all.holes += one.holes;
        all.counter_behind += one.counter_behind;
        match page.next_after {
            None => return Ok(all),
            next => query.after = next,
        }
    }
}

/// Has the system reconcile an application once, all of it.
pub(crate) async fn reconcile(admin: &Admin, token: AppToken) -> Result<Run, Failure> {
    let order = Order {
        token: Some(token),
        full: true,
        execute: true,
        ..Order::default()
    };
    let started = Instant::now();
    let run = loop {
        match admin.reconcile(&order).await {
            Ok(run) => break run,
            // Another one is at work.
            Err(error) if error.code() == Some(Code::Busy) && started.elapsed() < SETTLING => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Err(error) => return Err(error.into()),
        }
    };
    loop {
        let last = admin.runs().await?.last;
        if let Some(last) = last.filter(|last| last.id == run.id) {
            return match last.phase {
                Phase::Finished => Ok(last),
                _ => Err(format!("reconciliation: {:?} {:?}", last.phase, last.detail).into()),
            };
        }
        if started.elapsed() > SETTLING {
            return Err("the reconciliation does not end".into());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn step(step: &Step) -> String {
    let place = step.chat.map_or_else(
        || "the application".to_owned(),
        |chat| format!("chat {chat}"),
    );
    format!(
        "{} of {place} from {:?} to {}: {:?}",
        step.act.as_str(),
        step.from,
        step.to,
        step.outcome
    )
}
