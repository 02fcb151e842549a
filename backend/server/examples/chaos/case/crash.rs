//! A crash at every failpoint, once each, while clients go on (invariant: crash-at-every-step).
//!
//! The program must be built with the feature `failpoints`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chat_client::client::{Client, Create};
use chat_wire::ids::AppToken;
use chat_wire::messages::{EditMessage, NewMessage};
use tokio_util::sync::CancellationToken;

use crate::check::{self, Verdict};
use crate::load::{self, Habits, Load};
use crate::mode::Mode;
use crate::process;
use crate::system::{Shape, System};
use crate::{Failure, say};

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Chats that creates are spread over
    #[arg(long, default_value_t = 20)]
    chats: u32,
    /// Connections at once
    #[arg(long, default_value_t = 16)]
    connections: u64,
    /// Only failpoints whose names contain this
    #[arg(long)]
    only: Option<String>,
}

/// A failpoint on the way of what clients do is reached within this time.
const REACHED_WITHIN: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Pause of a connection between two creates.
const PAUSE: Duration = Duration::from_millis(20);
/// What only happens on a bad day, or after a long time: the first word of the name.
const RARE: [&str; 10] = [
    "count",
    "recovery",
    "epoch",
    "rebuild",
    "prune",
    "burial",
    "replay",
    "renumber",
    "void",
    "application-key",
];

/// Runs the case.
pub(crate) async fn run(
    plan: &Plan,
    on: process::Plan,
    shape: Shape,
    seed: u64,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let points = points(&on).await?;
    let mut system = System::start(on, shape).await?;
    let load = Load::prepare(&system, "crash", plan.chats, Habits::MIXED).await?;
    let load = load.slowly(PAUSE)?;
    let running = load.run(usize::MAX >> 1, plan.connections, seed);
    let stop = CancellationToken::new();
    let others = tokio::spawn(change(load.clients[0].clone(), stop.clone()));
    let (mut reached, mut missed) = (0, BTreeSet::new());
    for point in &points {
        if plan
            .only
            .as_ref()
            .is_some_and(|only| !point.contains(only.as_str()))
        {
            continue;
        }
        if crash(&mut system, point).await? {
            reached += 1;
        } else {
            missed.insert(point.as_str());
        }
    }
    stop.cancel();
    others.await?;
    load.stop();
    running.join().await?;
    verdict.happened("failpoints reached", reached);
    let missed: Vec<&str> = missed.into_iter().collect();
    verdict.figure("not reached", missed.join(", "));
    for point in missed {
        let rare = RARE.iter().any(|rare| point.starts_with(rare));
        verdict.must("what clients do reaches the failpoint", rare, || {
            point.to_owned()
        });
    }
    check::load(&system, &load, verdict).await?;
    system.end().await
}

/// The failpoints of the program that this mode can reach.
async fn points(on: &process::Plan) -> Result<Vec<String>, Failure> {
    let listed = on.mode.chatd(&on.chatd).arg("failpoints").output().await?;
    if !listed.status.success() {
        return Err("chatd knows no failpoints: build it with --features failpoints".into());
    }
    let other = match on.mode {
        Mode::Embedded => "engines",
        Mode::Engines(_) => "embedded",
    };
    let text = String::from_utf8(listed.stdout)?;
    let lines = text.lines().filter_map(|line| {
        let mut cells = line.split('\t');
        let (name, place) = (cells.next()?, cells.next()?);
        (place != other).then(|| name.to_owned())
    });
    Ok(lines.collect())
}

/// Starts every process again, armed; returns whether one of them came to the failpoint.
async fn crash(system: &mut System, point: &str) -> Result<bool, Failure> {
    for process in &mut system.processes {
        process.kill().await?;
        process.respawn_armed(Some(point))?;
    }
    let began = Instant::now();
    // Any other end is none of the failpoint's.
    let said = format!("failpoint {point} aborts");
    let mut crashed = 0;
    while crashed == 0 && began.elapsed() < REACHED_WITHIN {
        tokio::time::sleep(LOOK_AGAIN).await;
        for process in &mut system.processes {
            let aborted = process.has_ended()? && process.log()?.contains(&said);
            crashed += usize::from(aborted);
        }
    }
    say(&format!(
        "{point:<34} {crashed} processes aborted after {:.1} s",
        began.elapsed().as_secs_f64()
    ));
    for process in &mut system.processes {
        process.kill().await?;
        process.respawn()?;
    }
    system.ready().await?;
    Ok(crashed > 0)
}

/// Makes applications and chats, edits and deletes, whatever comes back, until it is told to stop.
async fn change(client: Client, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let made = load::application(&client, "changes", 1).await;
        if let Ok((token, chats)) = made {
            for chat in chats {
                // A crash in between is what this is about.
                let _ = change_in(&client, token, chat).await;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn change_in(
    client: &Client,
    token: AppToken,
    chat: chat_wire::ids::ChatNumber,
) -> Result<(), Failure> {
    let message = NewMessage {
        body: "first".to_owned(),
        sender: None,
        sent_at: None,
    };
    let create = Create::default();
    let created = client
        .create_message(token, chat, &message, &create)
        .await?;
    let number = created.value.message_number;
    let edit = EditMessage {
        body: "second".to_owned(),
    };
    client.edit_message(token, chat, number, &edit).await?;
    Ok(client.delete_message(token, chat, number).await?)
}
