//! What `/admin/lag` and `/metrics` say of a group, and after how many seconds: idle, loaded, above
//! capacity, frozen, killed, never started, and with the broker gone (invariant: lag-is-true).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_client::admin::Admin;
use chat_client::client::{Client, Create};
use chat_wire::admin::lag::Status;
use chat_wire::ids::{AppToken, ChatNumber};
use tokio::task::JoinSet;

use crate::check::Verdict;
use crate::load::{self, Habits, Load};
use crate::mode::Mode;
use crate::process::{self, Role};
use crate::proxy::Proxy;
use crate::system::{Shape, System};
use crate::{Failure, raw, say};

/// How long each calm scene is watched.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Seconds of idleness, and of steady load
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

/// The group that scenes are about: it has the most to do.
const GROUP: &str = "messages-store";
/// Its worker.
const WORKER: Role = Role::Worker("messages");
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long a status may take to come: two looks, and the session of a member that is dead.
const WITHIN: Duration = Duration::from_secs(45);
/// How long what has piled up may take to go.
const DRAINED_WITHIN: Duration = Duration::from_secs(300);
/// Nobody goes away and nothing is repeated: the load is steady.
const PLAIN: Habits = Habits {
    stubborn: 1.0,
    aborted: 0.0,
    repeated: 0.0,
};
/// Messages of one event, which keeps a worker busy for longer than it takes to send.
const LINES: usize = 1_000;
/// Connections that send them.
const SENDERS: usize = 8;

/// Runs the case.
pub(crate) async fn run(
    plan: &Plan,
    mut on: process::Plan,
    seed: u64,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let engines = on.mode.engines()?;
    let proxy = Proxy::before(engines.kafka()).await?;
    on.mode = Mode::Engines(Arc::new(engines.through(&proxy.address().to_string())));
    let alone = Shape {
        apis: 1,
        workers: 0,
    };
    let mut system = System::start(on, alone).await?;
    let mut scenes = Scenes::of(&system, verdict)?;
    let calm = Duration::from_secs(plan.seconds);

    let began = Instant::now();
    scenes
        .until("never started", began, Status::Stopped, WITHIN)
        .await?;
    let began = Instant::now();
    for name in Role::WORKERS {
        system.add(Role::Worker(name))?;
    }
    system.ready().await?;
    scenes.until("started", began, Status::Ok, WITHIN).await?;
    scenes.stays("idle", calm, Status::Ok).await?;

    let load = Load::prepare(&system, "lag", 20, PLAIN).await?;
    let load = load.slowly(Duration::from_millis(20))?;
    let running = load.run(usize::MAX / 2, 4, seed);
    scenes.stays("steady load", calm, Status::Ok).await?;

    for (scene, signal) in [("frozen (SIGSTOP)", "-STOP"), ("killed (SIGKILL)", "-KILL")] {
        let began = Instant::now();
        for worker in system.of(WORKER) {
            worker.signal(signal).await?;
        }
        scenes.until(scene, began, Status::Stopped, WITHIN).await?;
        let began = Instant::now();
        for worker in system.of(WORKER) {
            match signal {
                "-STOP" => worker.signal("-CONT").await?,
                _ => worker.respawn()?,
            }
        }
        let again = match signal {
            "-STOP" => "frozen, then SIGCONT",
            _ => "killed, then restarted",
        };
        scenes.until(again, began, Status::Ok, WITHIN).await?;
    }

    let began = Instant::now();
    proxy.close();
    scenes
        .until("broker gone", began, Status::Unknown, WITHIN)
        .await?;
    let began = Instant::now();
    proxy.open();
    scenes
        .until("broker back", began, Status::Ok, WITHIN)
        .await?;
    load.stop();
    running.join().await?;

    let began = Instant::now();
    let flood = flood(&system.client()?, load.token, &load.chats);
    scenes
        .until("load above capacity", began, Status::Growing, WITHIN * 2)
        .await?;
    drop(flood);
    let began = Instant::now();
    scenes
        .until("load over", began, Status::Ok, DRAINED_WITHIN)
        .await?;
    drop(scenes);
    system.end().await
}

/// Sends as much as the API takes, until it is dropped.
fn flood(client: &Client, token: AppToken, chats: &[ChatNumber]) -> JoinSet<()> {
    let line = format!("{{\"body\":\"{}flood\"}}\n", load::COMMON);
    let lines = line.repeat(LINES);
    let mut senders = JoinSet::new();
    for nth in 0..SENDERS {
        let (client, chat) = (client.clone(), chats[nth % chats.len()]);
        let lines = lines.clone();
        senders.spawn(async move {
            loop {
                let create = Create::default();
                let body = lines.clone().into();
                if client
                    .create_batch(token, chat, body, &create)
                    .await
                    .is_err()
                {
                    // Too much is what is wanted; what is refused is simply not sent again.
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
        });
    }
    senders
}

/// Watches one group, on both pages, and prints what they say.
struct Scenes<'a> {
    admin: Admin,
    address: SocketAddr,
    verdict: &'a mut Verdict,
}

/// A status, since when it has been told, and why.
struct Change {
    after: Duration,
    status: Option<String>,
    reason: String,
}

impl<'a> Scenes<'a> {
    fn of(system: &System, verdict: &'a mut Verdict) -> Result<Self, Failure> {
        let api = system.serving().next().ok_or("nothing serves")?;
        Ok(Self {
            admin: api.admin()?,
            address: api.admin_address(),
            verdict,
        })
    }

    /// Watches until both pages say this; it has to come in time.
    async fn until(
        &mut self,
        scene: &str,
        began: Instant,
        wanted: Status,
        within: Duration,
    ) -> Result<(), Failure> {
        let (mut lag, mut metrics) = (Vec::new(), Vec::new());
        loop {
            self.look(began, &mut lag, &mut metrics).await?;
            let reached = [&lag, &metrics].iter().all(|said| {
                let last: Option<&Change> = said.last();
                last.and_then(|change| change.status.as_deref()) == Some(wanted.as_str())
            });
            let late = began.elapsed() > within;
            if reached || late {
                print(scene, &lag, &metrics);
                let seconds = within.as_secs();
                self.verdict.must("a status comes in time", reached, || {
                    format!("{scene}: not {} within {seconds} s", wanted.as_str())
                });
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Watches for a while, in which nothing else may be said.
    async fn stays(&mut self, scene: &str, span: Duration, wanted: Status) -> Result<(), Failure> {
        let began = Instant::now();
        let (mut lag, mut metrics) = (Vec::new(), Vec::new());
        while began.elapsed() < span {
            self.look(began, &mut lag, &mut metrics).await?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
        print(scene, &lag, &metrics);
        for change in lag.iter().chain(&metrics) {
            let said = change.status.as_deref().unwrap_or("nothing");
            let steady = said == wanted.as_str();
            self.verdict
                .must("a calm group is called calm", steady, || {
                    format!("{scene}: {said} ({})", change.reason)
                });
        }
        Ok(())
    }

    async fn look(
        &self,
        began: Instant,
        lag: &mut Vec<Change>,
        metrics: &mut Vec<Change>,
    ) -> Result<(), Failure> {
        let page = self.admin.lag().await?;
        let group = page.groups.iter().find(|group| group.group == GROUP);
        let group = group.ok_or("the group is not told of")?;
        let status = Some(group.status.as_str().to_owned());
        note(lag, began, status, &group.reason);

        let sent = raw::send(self.address, "GET", "/metrics", &[], "").await?;
        let (_, page) = sent.answer().await?;
        let one = |status: &Status| {
            let name = status.as_str();
            let line = format!("chatd_log_group_status{{group=\"{GROUP}\",status=\"{name}\"}} 1");
            page.lines().any(|found| found == line)
        };
        let status = Status::ALL.iter().find(|status| one(status));
        let lags = format!("chatd_log_lag_records{{group=\"{GROUP}\"");
        let told = page.lines().filter(|line| line.starts_with(&lags)).count();
        let status = status.map(|status| status.as_str().to_owned());
        note(metrics, began, status, &format!("lag of {told} partitions"));
        Ok(())
    }
}

fn note(said: &mut Vec<Change>, began: Instant, status: Option<String>, reason: &str) {
    let same = said.last().is_some_and(|last| last.status == status);
    if same {
        // The last words of a status say most.
        if let Some(last) = said.last_mut() {
            reason.clone_into(&mut last.reason);
        }
        return;
    }
    said.push(Change {
        after: began.elapsed(),
        status,
        reason: reason.to_owned(),
    });
}

fn print(scene: &str, lag: &[Change], metrics: &[Change]) {
    for (page, said) in [("/admin/lag", lag), ("/metrics", metrics)] {
        for change in said {
            let status = change.status.as_deref().unwrap_or("nothing");
            say(&format!(
                "{scene:<24} {page:<11} {status:<8} after {:>5.1} s  {}",
                change.after.as_secs_f64(),
                change.reason
            ));
        }
    }
}
