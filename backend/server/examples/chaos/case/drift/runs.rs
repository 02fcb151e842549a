//! One run at a time across processes, and what becomes of one whose process is killed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_wire::admin::reconcile::Run;
use chat_wire::ids::{AppToken, ChatNumber};
use tokio::task::JoinSet;

use super::Scenes;
use super::chats::{MESSAGES, filled, say_in};
use crate::chatctl::{Chatctl, Said};
use crate::damage::{self, Damage, Place};
use crate::load;
use crate::process::LOOK_AGAIN;
use crate::system::{SETTLING, System};
use crate::{Failure, say};

/// Exit code of a run that is refused because another is at work.
const BUSY: Option<i32> = Some(6);
/// Connections that make the chats.
const MAKERS: u32 = 16;
/// The chat after this part of all of them has a hole.
const EARLY: u32 = 20;
/// A run whose process is gone makes way within this time: its lease is 15 s.
const MAKES_WAY: Duration = Duration::from_secs(30);
/// Everything, and no question asked.
const FULL: [&str; 6] = ["reconcile", "--full", "--execute", "--yes", "-o", "json"];

impl Scenes<'_> {
    /// Many drifted chats; a run that is refused, and one that is killed in its middle.
    pub(super) async fn one_at_a_time(&mut self, system: &mut System) -> Result<(), Failure> {
        let token = self.many(system).await?;
        let owner = system.serving().next().ok_or("nothing serves")?;
        let process = format!("process {}", owner.id()?);
        let first = Chatctl::of(&self.plan.chatctl, owner);
        let other = system.serving().last().ok_or("nothing serves")?;
        let second = Chatctl::of(&self.plan.chatctl, other);
        let admin = other.admin()?;

        let begun = Instant::now();
        first
            .run(&[&FULL[..], &["--no-wait"]].concat())
            .await?
            .well()?;
        let refused = second
            .run(&["reconcile", "--execute", "--yes", "-o", "json"])
            .await?;
        self.refused(&refused, &process);
        let middle = loop {
            let run = admin.runs().await?.current;
            let run = run.ok_or("the run ended before it was killed: give more --chats")?;
            if run.done > u64::from(self.plan.chats / 10) {
                break run;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        };
        for process in system
            .processes
            .iter_mut()
            .filter(|one| one.role.serves())
            .take(1)
        {
            process.kill().await?;
        }
        let killed = Instant::now();
        say(&format!(
            "two at once killed with SIGKILL {:.1} s after its begin, {} steps done",
            (killed - begun).as_secs_f64(),
            middle.done
        ));
        if system.processes.len() == 1 {
            // The embedded default has no second process: it comes back as the same.
            system.processes[0].respawn()?;
            system.ready().await?;
        }
        self.goes_on(&second, killed, &middle).await?;
        for process in system
            .processes
            .iter_mut()
            .filter(|one| one.role.serves())
            .take(1)
        {
            process.kill_and_respawn().await?;
        }
        system.ready().await?;
        self.until_ok("two at once", system, token).await
    }

    /// Who comes second is told who is at work.
    fn refused(&mut self, said: &Said, process: &str) {
        let told = said.err.contains(process) || said.out.contains(process);
        say(&format!(
            "two at once the second ends with {:?}: {}{}",
            said.code,
            said.out.trim(),
            said.err.trim()
        ));
        self.verdict
            .must("one run at a time", said.code == BUSY, || {
                format!("the second ended with {:?}", said.code)
            });
        self.verdict
            .must("the holder is named", told, || said.err.clone());
    }

    /// The same order again, until nobody holds it any more, and then to its end.
    async fn goes_on(
        &mut self,
        chatctl: &Chatctl,
        killed: Instant,
        middle: &Run,
    ) -> Result<(), Failure> {
        let (accepted, said) = loop {
            let asked = killed.elapsed();
            let said = chatctl.run(&FULL).await?;
            if said.code != BUSY {
                break (asked, said);
            }
            if asked > SETTLING {
                return Err("a run whose process was killed makes no way".into());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        };
        let run = said.well()?.json()?;
        self.verdict.figure(
            "killed in its middle",
            format!(
                "{} steps done; the next run begins after {:.1} s, ends after {:.1} s, {} of {} done",
                middle.done,
                accepted.as_secs_f64(),
                killed.elapsed().as_secs_f64(),
                run["done"],
                run["planned"]
            ),
        );
        self.verdict
            .must("a killed run makes way", accepted < MAKES_WAY, || {
                format!("{accepted:?}")
            });
        let all = run["done"] == run["planned"];
        self.verdict
            .must("the next run completes it", all, || run.to_string());
        Ok(())
    }

    /// An application whose chats' counts are all wrong; an early one has a hole besides, which a run
    /// keeps for its end.
    async fn many(&self, system: &System) -> Result<AppToken, Failure> {
        let client = Arc::new(system.client()?);
        let (token, _) = load::application(&client, "many", 0).await?;
        say(&format!("making {} chats", self.plan.chats));
        let mut makers = JoinSet::new();
        for nth in 0..MAKERS {
            let client = Arc::clone(&client);
            let share = self.plan.chats / MAKERS + u32::from(nth < self.plan.chats % MAKERS);
            makers.spawn(async move {
                for _ in 0..share {
                    filled(&client, token, 1).await?;
                }
                Ok::<_, Failure>(())
            });
        }
        while let Some(done) = makers.join_next().await {
            done??;
        }
        let early = ChatNumber::new(self.plan.chats / EARLY).ok_or("give more --chats")?;
        for _ in 0..MESSAGES {
            say_in(&client, token, early).await?;
        }
        system.drained(SETTLING).await?;
        let (mode, data) = (&system.plan.mode, system.plan.data());
        damage::falsify_all(token, mode, &data).await?;
        let place = Place { token, chat: early };
        Damage::NumberBurned.at(place, mode, &data).await?;
        Ok(token)
    }
}
