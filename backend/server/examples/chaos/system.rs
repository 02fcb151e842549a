//! The backend under test as a whole: one process on the embedded default, many on the engines.

use std::process::Stdio;
use std::time::{Duration, Instant};

use chat_client::admin::Admin;
use chat_client::client::Client;
use chat_client::messages::Span;
use chat_wire::admin::lag::Lag;
use chat_wire::ids::{AppToken, ChatNumber};
use rand::Rng as _;
use rand::rngs::StdRng;

use crate::Failure;
use crate::mode::Mode;
use crate::process::{Plan, Process, Role};
use crate::raw;

/// Between two looks at lag, which asks every partition.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long draining and settling may take.
pub(crate) const SETTLING: Duration = Duration::from_secs(120);

/// How many processes of each kind there are on the engines.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Shape {
    /// API processes, on the engines
    #[arg(long, default_value_t = 2, global = true)]
    pub(crate) apis: usize,
    /// Worker processes of each kind, on the engines
    #[arg(long, default_value_t = 2, global = true)]
    pub(crate) workers: usize,
}

/// All processes.
pub(crate) struct System {
    pub(crate) plan: Plan,
    pub(crate) processes: Vec<Process>,
    spawned: usize,
}

impl System {
    /// Migrates and starts; returns when all of them are ready.
    pub(crate) async fn start(plan: Plan, shape: Shape) -> Result<Self, Failure> {
        let mut roles = Vec::new();
        match plan.mode {
            Mode::Embedded => roles.push(Role::All),
            Mode::Engines(_) => {
                migrate(&plan).await?;
                roles.extend(std::iter::repeat_n(Role::Api, shape.apis));
                for worker in Role::WORKERS {
                    roles.extend(std::iter::repeat_n(Role::Worker(worker), shape.workers));
                }
            }
        }
        let mut system = Self {
            plan,
            processes: Vec::new(),
            spawned: 0,
        };
        for role in roles {
            system.add(role)?;
        }
        system.ready().await?;
        Ok(system)
    }

    /// One process more, which is not waited for.
    pub(crate) fn add(&mut self, role: Role) -> Result<(), Failure> {
        self.spawned += 1;
        self.processes
            .push(Process::spawn(&self.plan, role, self.spawned)?);
        Ok(())
    }

    /// Waits until all of them are ready; returns the longest wait.
    pub(crate) async fn ready(&mut self) -> Result<Duration, Failure> {
        let started = Instant::now();
        for process in &mut self.processes {
            process.ready().await?;
        }
        Ok(started.elapsed())
    }

    /// Any of them.
    pub(crate) fn any(&mut self, rng: &mut StdRng) -> &mut Process {
        let nth = rng.random_range(0..self.processes.len());
        &mut self.processes[nth]
    }

    /// Those of a kind.
    pub(crate) fn of(&mut self, role: Role) -> impl Iterator<Item = &mut Process> {
        self.processes
            .iter_mut()
            .filter(move |process| process.role == role || process.role == Role::All)
    }

    /// Those that apply something, none of which serves clients.
    pub(crate) fn workers(&mut self) -> impl Iterator<Item = &mut Process> {
        self.processes
            .iter_mut()
            .filter(|process| matches!(process.role, Role::Worker(_)))
    }

    /// Those that apply messages or index them; on the embedded default that is the only process.
    fn applying(&mut self) -> impl Iterator<Item = &mut Process> {
        const NAMES: [Role; 3] = [Role::All, Role::Worker("messages"), Role::Worker("search")];
        let processes = self.processes.iter_mut();
        processes.filter(|process| NAMES.contains(&process.role))
    }

    /// Ends them.
    pub(crate) async fn stop_applying(&mut self) -> Result<(), Failure> {
        for process in self.applying() {
            process.kill().await?;
        }
        Ok(())
    }

    /// Starts them again.
    pub(crate) async fn go_on_applying(&mut self) -> Result<(), Failure> {
        for process in self.applying() {
            process.respawn()?;
        }
        self.ready().await.map(drop)
    }

    /// Events that the processes have applied since they started.
    pub(crate) async fn applied(&self) -> Result<usize, Failure> {
        let mut applied = 0;
        for process in &self.processes {
            let asked = raw::send(process.admin_address(), "GET", "/metrics", &[], "").await?;
            let (_, text) = asked.answer().await?;
            applied += text
                .lines()
                .filter(|line| line.starts_with("chatd_events_applied_total{"))
                .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .map(|count| count as usize)
                .sum::<usize>();
        }
        Ok(applied)
    }

    /// The ones that clients talk to.
    pub(crate) fn serving(&self) -> impl Iterator<Item = &Process> {
        self.processes
            .iter()
            .filter(|process| process.role.serves())
    }

    /// A client for each process that serves.
    pub(crate) fn clients(&self) -> Result<Vec<Client>, Failure> {
        self.serving().map(Process::client).collect()
    }

    /// A client of the first process that serves.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let first = self.serving().next().ok_or("nothing serves")?;
        first.client()
    }

    /// A client of its admin listener.
    pub(crate) fn admin(&self) -> Result<Admin, Failure> {
        let first = self.serving().next().ok_or("nothing serves")?;
        first.admin()
    }

    /// Waits until every group has read its topic to the end; returns how long that took.
    pub(crate) async fn drained(&self, limit: Duration) -> Result<Duration, Failure> {
        let admin = self.admin()?;
        let started = Instant::now();
        loop {
            let lag = admin.lag().await;
            if lag.as_ref().is_ok_and(is_drained) {
                return Ok(started.elapsed());
            }
            if started.elapsed() > limit {
                return Err(match lag {
                    Ok(lag) => format!("not drained in time: {}", backlog(&lag)),
                    Err(error) => format!("the lag cannot be asked: {error}"),
                }
                .into());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits until a chat has no number without a row up to this one.
    pub(crate) async fn settled(
        &self,
        token: AppToken,
        chat: ChatNumber,
        through: u32,
    ) -> Result<(), Failure> {
        let client = self.client()?;
        let started = Instant::now();
        loop {
            let page = client.messages(token, chat, Span::Start, 1).await;
            match page {
                Ok(page) if page.settled_through >= through => return Ok(()),
                _ if started.elapsed() < SETTLING => tokio::time::sleep(LOOK_AGAIN).await,
                Ok(page) => {
                    return Err(format!(
                        "chat {chat} is settled through {}, not {through}",
                        page.settled_through
                    )
                    .into());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// SIGTERM would be kinder; a case is over, and its data may go.
    pub(crate) async fn end(mut self) -> Result<(), Failure> {
        for process in &mut self.processes {
            process.kill().await?;
        }
        if let Mode::Engines(engines) = &self.plan.mode {
            engines.remove().await;
        }
        Ok(())
    }
}

/// Whether nothing is left to read.
pub(crate) fn is_drained(lag: &Lag) -> bool {
    let mut left = lag.groups.iter().map(|group| group.figures.lag_records);
    !lag.groups.is_empty() && left.all(|left| left == Some(0))
}

/// Records that a group has not read.
pub(crate) fn lag_of(lag: &Lag, group: &str) -> Result<u64, Failure> {
    let found = lag.groups.iter().find(|one| one.group == group);
    let left = found.and_then(|group| group.figures.lag_records);
    Ok(left.ok_or_else(|| format!("the lag of {group} is not known"))?)
}

/// What is left to read, for people.
pub(crate) fn backlog(lag: &Lag) -> String {
    let groups = lag.groups.iter().map(|group| {
        let left = group.figures.lag_records;
        let left = left.map_or_else(|| "unknown".to_owned(), |left| left.to_string());
        format!("{} {left}", group.group)
    });
    groups.collect::<Vec<_>>().join(", ")
}

/// Makes schemas, topics and index.
pub(crate) async fn migrate(plan: &Plan) -> Result<(), Failure> {
    let done = plan
        .mode
        .chatd(&plan.chatd)
        .args(["migrate", "--start-deadline-s", "60"])
        .stdin(Stdio::null())
        .output()
        .await?;
    match done.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&done.stderr).into()),
    }
}
