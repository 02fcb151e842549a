//! Damage by hand: found, shown, mended by one run, at rest and under load (invariant: counts-converge).

mod chats;
mod runs;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use chat_wire::admin::drift::Verdict as Judged;
use chat_wire::ids::{AppToken, ChatNumber};

use self::chats::{Broken, Found, MESSAGES, details, filled, is_shown, judged, row, say_in};
use crate::chatctl::{Chatctl, Said};
use crate::check::{self, Verdict};
use crate::damage::{self, Damage, Hold, Place};
use crate::load::{self, Habits, Load};
use crate::process;
use crate::system::{LOOK_AGAIN, SETTLING, Shape, System};
use crate::{Failure, say};

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// The program that finds, shows and mends
    #[arg(long, default_value = "target/release/chatctl")]
    chatctl: PathBuf,
    /// Creates a second beside the damage
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// Connections that they come on
    #[arg(long, default_value_t = 32)]
    connections: u64,
    /// Seconds of load before the damage
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Drifted chats of the run that is killed
    #[arg(long, default_value_t = 3_000)]
    chats: u32,
}

/// Everybody keeps at it: what is acknowledged is what counts.
const STUBBORN: Habits = Habits {
    stubborn: 1.0,
    aborted: 0.0,
    repeated: 0.02,
};
/// Chats under load.
const LOADED: u32 = 20;
/// Damage is found within this time: a lost number is known as such after twice the create deadline.
const FOUND_WITHIN: Duration = Duration::from_secs(60);

/// Runs the case.
pub(crate) async fn run(
    plan: &Plan,
    on: process::Plan,
    shape: Shape,
    seed: u64,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let mut system = System::start(on, shape).await?;
    let mut scenes = Scenes { plan, verdict };
    scenes.at_rest(&mut system).await?;
    scenes.unread(&mut system).await?;
    scenes.under_load(&mut system, seed).await?;
    scenes.one_at_a_time(&mut system).await?;
    system.end().await
}

/// One after the other, on the same system.
struct Scenes<'a> {
    plan: &'a Plan,
    verdict: &'a mut Verdict,
}

impl Scenes<'_> {
    /// Each damage with nothing else going on.
    async fn at_rest(&mut self, system: &mut System) -> Result<(), Failure> {
        let (token, _) = load::application(&system.client()?, "at rest", 1).await?;
        let broken = Broken::prepare(system, token).await?;
        system.drained(SETTLING).await?;
        broken.damage_stopped(system).await?;
        // A counter that nobody asked for since a restart is still to be made from the rows.
        self.drift(system, token).await?;
        let began = Instant::now();
        broken.damage(system, false).await?;
        let (mode, data) = (&system.plan.mode, system.plan.data());
        damage::falsify_chats_count(token, mode, &data).await?;
        self.find("at rest", system, &broken, began).await?;
        self.mend("at rest", system, token).await?;
        self.until_ok("at rest", system, token).await
    }

    /// Records that no worker reads are no drift, and nothing is done about them.
    async fn unread(&mut self, system: &mut System) -> Result<(), Failure> {
        let client = system.client()?;
        let (token, _) = load::application(&client, "unread", 0).await?;
        let chat = filled(&client, token, MESSAGES).await?;
        system.drained(SETTLING).await?;
        let hold = Hold::take(system).await?;
        let began = Instant::now();
        for _ in 0..MESSAGES {
            say_in(&client, token, chat).await?;
        }
        let wanted = BTreeMap::from([(chat, Judged::InFlight)]);
        let found = self.wait_for(system, token, &wanted, began).await?;
        let after = found.get(&chat).map(|found| found.after);
        row("unread", hold.text(), Judged::InFlight, after, "");
        self.verdict
            .must("what is in the log is in flight", after.is_some(), || {
                "in_flight is not said".to_owned()
            });
        self.shown(system, token, &wanted).await?;
        let said = self.drift(system, token).await?;
        let drifted = said.json()?["summary"].clone();
        self.verdict.must(
            "what is in flight is no drift",
            said.code == Some(0),
            || drifted.to_string(),
        );
        hold.release(system).await?;
        self.until_ok("unread", system, token).await
    }

    /// Each damage, in quiet chats and in busy ones, with creates going on at a steady rate.
    async fn under_load(&mut self, system: &mut System, seed: u64) -> Result<(), Failure> {
        let load = Load::prepare(system, "under load", LOADED, STUBBORN).await?;
        let load = load.paced(self.plan.rate)?;
        let broken = Broken::prepare(system, load.token).await?;
        system.drained(SETTLING).await?;
        broken.damage_stopped(system).await?;
        let started = Instant::now();
        let running = load.run(usize::MAX / 2, self.plan.connections, seed);
        tokio::time::sleep(Duration::from_secs(self.plan.seconds)).await;
        let before = self.counters(system, load.token).await?;
        let began = Instant::now();
        broken.damage(system, false).await?;
        self.damage_busy(system, &load).await?;
        self.find("under load", system, &broken, began).await?;
        self.mend("under load", system, load.token).await?;
        load.stop();
        running.join().await?;
        self.rate(&load, started.elapsed());
        check::load(system, &load, self.verdict).await?;
        self.until_ok("under load", system, load.token).await?;
        let after = self.counters(system, load.token).await?;
        for (chat, before) in before {
            let now = after.get(&chat).copied();
            self.verdict
                .must("no counter lowered", now >= Some(before), || {
                    format!("chat {chat} stood at {before}, and stands at {now:?}")
                });
        }
        Ok(())
    }

    /// The same in chats that are written to.
    async fn damage_busy(&self, system: &System, load: &Load) -> Result<(), Failure> {
        let (mode, data) = (&system.plan.mode, system.plan.data());
        for (damage, chat) in Damage::ALL.into_iter().zip(&load.chats) {
            if damage.is_borne_under_load(mode) {
                let place = Place {
                    token: load.token,
                    chat: *chat,
                };
                damage.at(place, mode, &data).await?;
            }
        }
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "a case has far fewer creates")]
    fn rate(&mut self, load: &Load, elapsed: Duration) {
        let creates = load.ledger.operations();
        let creates = creates.iter().filter(|one| one.number.is_some()).count();
        let seconds = elapsed.as_secs_f64();
        let (reached, wanted) = (creates as f64 / seconds, self.plan.rate);
        self.verdict.figure(
            "creates beside it",
            format!("{creates} in {seconds:.1} s: {reached:.0}/s of {wanted}/s wanted"),
        );
        self.verdict.figure("answers", load.outcomes().text());
    }

    /// Waits until each damage has its verdict, and looks at the dashboard then.
    async fn find(
        &mut self,
        scene: &str,
        system: &System,
        broken: &Broken,
        began: Instant,
    ) -> Result<(), Failure> {
        let wanted: BTreeMap<ChatNumber, Judged> = broken
            .chats
            .iter()
            .map(|(damage, chat)| (*chat, damage.verdict()))
            .collect();
        let found = self.wait_for(system, broken.token, &wanted, began).await?;
        for (damage, chat) in &broken.chats {
            let text = damage.text(&system.plan.mode).unwrap_or_default();
            let seen = found.get(chat);
            let details = seen.map_or("", |found| found.details.as_str());
            let after = seen.map(|found| found.after);
            row(scene, text, damage.verdict(), after, details);
            self.verdict
                .must("each damage is found", seen.is_some(), || {
                    format!("{scene}: {text}: not {}", damage.verdict().as_str())
                });
        }
        self.shown(system, broken.token, &wanted).await
    }

    /// Asks `chatctl drift` until each chat has had its verdict, or time is up.
    async fn wait_for(
        &self,
        system: &System,
        token: AppToken,
        wanted: &BTreeMap<ChatNumber, Judged>,
        began: Instant,
    ) -> Result<BTreeMap<ChatNumber, Found>, Failure> {
        let mut found = BTreeMap::new();
        while found.len() < wanted.len() && began.elapsed() < FOUND_WITHIN {
            let page = self.drift(system, token).await?.json()?;
            for row in page["rows"].as_array().into_iter().flatten() {
                let Some((chat, verdict)) = judged(row) else {
                    continue;
                };
                if wanted.get(&chat).is_some_and(|one| one.as_str() == verdict) {
                    found.entry(chat).or_insert_with(|| Found {
                        after: began.elapsed(),
                        details: details(row),
                    });
                }
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(found)
    }

    /// The dashboard names each chat with its verdict.
    async fn shown(
        &mut self,
        system: &System,
        token: AppToken,
        wanted: &BTreeMap<ChatNumber, Judged>,
    ) -> Result<(), Failure> {
        let hex = token.reveal();
        let args = ["dashboard", "--once", "--page", "counters", "--app", &hex];
        let args = [&args[..], &["--size", "160x50"]].concat();
        let began = Instant::now();
        let mut missing = wanted.clone();
        loop {
            let frame = self.chatctl(system)?.run(&args).await?.well()?;
            missing.retain(|chat, verdict| !is_shown(&frame.out, *chat, *verdict));
            // Under load a row is in flight in between, and so in some frames.
            if missing.is_empty() || began.elapsed() > FOUND_WITHIN {
                self.verdict
                    .must("the dashboard shows it", missing.is_empty(), || {
                        format!("{missing:?} are not shown:\n{}", frame.out)
                    });
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// One run, which does everything that it finds.
    async fn mend(&mut self, scene: &str, system: &System, token: AppToken) -> Result<(), Failure> {
        let args = ["reconcile", "--execute", "--yes", "-o", "json"];
        let said = self.chatctl(system)?.run(&args).await?;
        let run = said.json()?;
        let left = self.drift(system, token).await?.json()?;
        say(&format!(
            "{scene:<11} chatctl reconcile --execute: {} planned, {} done, {} wait, {} failed, {:.1} s",
            run["planned"],
            run["done"],
            run["waits"],
            run["failed"],
            said.took.as_secs_f64()
        ));
        let all = run["done"] == run["planned"] && said.code == Some(0);
        self.verdict.must("one run mends everything", all, || {
            format!("{scene}: exit {:?}: {}", said.code, said.err.trim())
        });
        say(&format!("{scene:<11} right after it: {}", left["summary"]));
        Ok(())
    }

    /// Waits until nothing has drifted.
    async fn until_ok(
        &mut self,
        scene: &str,
        system: &System,
        token: AppToken,
    ) -> Result<(), Failure> {
        let hex = token.reveal();
        let args = ["drift", "--app", &hex, "--until", "ok", "--timeout", "60s"];
        let said = self.chatctl(system)?.run(&args).await?;
        let took = said.took.as_secs_f64();
        say(&format!("{scene:<11} all ok after {took:.1} s"));
        self.verdict
            .must("ok afterwards", said.code == Some(0), || {
                format!("{scene}: {}{}", said.out, said.err)
            });
        Ok(())
    }

    fn chatctl(&self, system: &System) -> Result<Chatctl, Failure> {
        let first = system.serving().next().ok_or("nothing serves")?;
        Ok(Chatctl::of(&self.plan.chatctl, first))
    }

    async fn drift(&self, system: &System, token: AppToken) -> Result<Said, Failure> {
        let hex = token.reveal();
        let args = [
            "drift", "--app", &hex, "--all", "--limit", "all", "-o", "json",
        ];
        self.chatctl(system)?.run(&args).await
    }

    /// Where every counter of an application's chats stands, as far as it is known.
    async fn counters(
        &self,
        system: &System,
        token: AppToken,
    ) -> Result<BTreeMap<ChatNumber, u64>, Failure> {
        let page = self.drift(system, token).await?.json()?;
        let rows = page["rows"].as_array().into_iter().flatten();
        Ok(rows
            .filter_map(|row| Some((judged(row)?.0, row["counter"].as_u64()?)))
            .collect())
    }
}
