//! The doctor's checks: how an adapter tells what it found about itself, and how long it may take.

use std::fmt::Display;
use std::time::Duration;

use chat_wire::admin::doctor::{Examined, Finding};
use tokio::time::{Instant, timeout};

/// How long one engine has for all of its checks: a dead one is told within three seconds.
pub const LIMIT: Duration = Duration::from_millis(2_500);
/// Clocks that differ by more, in milliseconds, make ages wrong.
const SKEW_MS: u64 = 1_000;

/// It is well.
#[must_use]
pub fn ok(id: &str, detail: impl Into<String>) -> Examined {
    found(id, Finding::Ok, detail, None)
}

/// It does not apply here; the detail says why.
#[must_use]
pub fn skipped(id: &str, detail: impl Into<String>) -> Examined {
    found(id, Finding::Skipped, detail, None)
}

/// It works, and should be changed; the hint is a command where one helps.
#[must_use]
pub fn warning(id: &str, detail: impl Into<String>, hint: impl Into<String>) -> Examined {
    found(id, Finding::Warning, detail, Some(hint.into()))
}

/// It does not work, or promises rest on it; the hint is a command where one helps.
#[must_use]
pub fn failed(id: &str, detail: impl Into<String>, hint: impl Into<String>) -> Examined {
    found(id, Finding::Failed, detail, Some(hint.into()))
}

/// Whether another clock agrees with ours, which was read in the middle of the question: `ahead_ms`
/// is how far the other one is ahead, negative where it is behind.
#[must_use]
pub fn clock(id: &str, ahead_ms: i64) -> Examined {
    let apart = ahead_ms.unsigned_abs();
    if apart <= SKEW_MS {
        return ok(id, format!("its clock is within {apart} ms of ours"));
    }
    let side = if ahead_ms > 0 { "ahead of" } else { "behind" };
    let detail = format!("its clock is {apart} ms {side} ours");
    warning(id, detail, "timedatectl set-ntp true")
}

fn found(id: &str, finding: Finding, detail: impl Into<String>, hint: Option<String>) -> Examined {
    Examined {
        id: id.to_owned(),
        finding,
        elapsed_ms: 0,
        detail: detail.into(),
        hint,
    }
}

/// Runs the checks of one engine within [`LIMIT`]. Where it does not answer, `NAME.reach` is all that
/// there is to tell, and `hint` says what to do.
pub async fn bounded<E: Display>(
    name: &str,
    hint: &str,
    checks: impl Future<Output = Result<Vec<Examined>, E>>,
) -> Vec<Examined> {
    let started = Instant::now();
    let checked = timeout(LIMIT, checks).await;
    let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let unreached = |detail: String| vec![failed(&format!("{name}.reach"), detail, hint)];
    let mut checks = match checked {
        Ok(Ok(checks)) => checks,
        Ok(Err(error)) => unreached(error.to_string()),
        Err(_) => unreached(format!("no answer within {:.1} s", LIMIT.as_secs_f64())),
    };
    for check in &mut checks {
        check.elapsed_ms = elapsed_ms;
    }
    checks
}

/// The same for an engine across a network: that it answers is worth a line of its own, the first.
pub async fn engine<E: Display>(
    name: &str,
    hint: &str,
    checks: impl Future<Output = Result<Vec<Examined>, E>>,
) -> Vec<Examined> {
    let started = Instant::now();
    let reached = async {
        let mut checks = checks.await?;
        let elapsed = started.elapsed().as_millis();
        let detail = format!("everything was answered in {elapsed} ms");
        checks.insert(0, ok(&format!("{name}.reach"), detail));
        Ok::<_, E>(checks)
    };
    bounded(name, hint, reached).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_dead_engine_is_told_within_three_seconds() {
        let started = Instant::now();
        let checks = engine(
            "dead",
            "start it",
            std::future::pending::<Result<_, String>>(),
        )
        .await;
        assert!(started.elapsed() < Duration::from_secs(3));
        assert_eq!(checks.len(), 1);
        assert_eq!(checks[0].id, "dead.reach");
        assert_eq!(checks[0].finding, Finding::Failed);
        assert_eq!(checks[0].hint.as_deref(), Some("start it"));
        assert_eq!(checks[0].elapsed_ms, 2_500);
    }

    #[tokio::test]
    async fn an_engine_that_answers_says_so_first() {
        let checks = async { Ok::<_, String>(vec![ok("e.version", "1")]) };
        let checks = engine("e", "", checks).await;
        let ids: Vec<_> = checks.iter().map(|check| check.id.as_str()).collect();
        assert_eq!(ids, ["e.reach", "e.version"]);
        let refused = async { Err::<Vec<Examined>, _>("the password is refused") };
        let checks = engine("e", "correct it", refused).await;
        assert_eq!(checks[0].detail, "the password is refused");
    }

    #[test]
    fn a_second_is_no_skew() {
        assert_eq!(clock("c", -1_000).finding, Finding::Ok);
        let behind = clock("c", -1_001);
        assert_eq!(behind.finding, Finding::Warning);
        assert_eq!(behind.detail, "its clock is 1001 ms behind ours");
    }
}
