//! One `chatd` under test: started, killed, frozen, started again, on the same addresses and data.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use chat_client::admin::Admin;
use chat_client::client::{Client, Config};
use chat_client::retries::Retries;
use tokio::process::Child;

use crate::Failure;
use crate::cores::Split;
use crate::mode::{self, Mode};

/// How long a start may take.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// Between two looks at something that is awaited.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What to run, and where.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The program.
    pub(crate) chatd: PathBuf,
    /// Data in `data`, log lines in `*.log`.
    pub(crate) work: PathBuf,
    /// On what.
    pub(crate) mode: Mode,
    /// What every process is told besides.
    pub(crate) flags: Vec<&'static str>,
    /// Which processors they have, where that is not left to the system.
    pub(crate) split: Option<Split>,
}

impl Plan {
    /// Where the embedded default keeps its data.
    pub(crate) fn data(&self) -> PathBuf {
        self.work.join("data")
    }
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Everything: the embedded default.
    All,
    /// The API.
    Api,
    /// The worker of this name.
    Worker(&'static str),
}

impl Role {
    /// The workers' names.
    pub(crate) const WORKERS: [&'static str; 4] = ["applications", "chats", "messages", "search"];

    /// Whether clients are served.
    pub(crate) const fn serves(self) -> bool {
        matches!(self, Self::All | Self::Api)
    }

    fn command(self) -> Vec<&'static str> {
        match self {
            Self::All => Vec::new(),
            Self::Api => vec!["api"],
            Self::Worker(name) => vec!["worker", name],
        }
    }

    /// For people.
    pub(crate) fn name(self) -> String {
        match self {
            Self::All => "all".to_owned(),
            _ => self.command().join("-"),
        }
    }
}

/// A process and its addresses.
pub(crate) struct Process {
    plan: Plan,
    pub(crate) role: Role,
    log: PathBuf,
    listen: SocketAddr,
    admin_listen: SocketAddr,
    child: Child,
}

impl Process {
    /// Starts it on free ports, and does not wait.
    pub(crate) fn spawn(plan: &Plan, role: Role, nth: usize) -> Result<Self, Failure> {
        let (listen, admin_listen) = (free_port()?, free_port()?);
        let log = plan.work.join(format!("{}-{nth}.log", role.name()));
        let child = spawn(plan, role, &log, (listen, admin_listen), None)?;
        Ok(Self {
            plan: plan.clone(),
            role,
            log,
            listen,
            admin_listen,
            child,
        })
    }

    /// SIGKILL, and a new process in its place, which is not waited for.
    pub(crate) async fn kill_and_respawn(&mut self) -> Result<(), Failure> {
        self.child.kill().await?;
        self.respawn()
    }

    /// A new process in place of one that has ended.
    pub(crate) fn respawn(&mut self) -> Result<(), Failure> {
        self.respawn_armed(None)
    }

    /// The same, aborting when it comes to this failpoint.
    pub(crate) fn respawn_armed(&mut self, failpoint: Option<&str>) -> Result<(), Failure> {
        self.child = spawn(
            &self.plan,
            self.role,
            &self.log,
            (self.listen, self.admin_listen),
            failpoint,
        )?;
        Ok(())
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> Result<bool, Failure> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) -> Result<(), Failure> {
        Ok(self.child.kill().await?)
    }

    /// SIGTERM; returns how long it took to end.
    pub(crate) async fn terminate(&mut self, limit: Duration) -> Result<Duration, Failure> {
        let started = Instant::now();
        self.signal("-TERM").await?;
        match tokio::time::timeout(limit, self.child.wait()).await {
            Ok(status) => match status? {
                status if status.success() => Ok(started.elapsed()),
                status => Err(format!("{} ended with {status}", self.role.name()).into()),
            },
            Err(_) => Err(format!("{} does not end when it is told to", self.role.name()).into()),
        }
    }

    /// Sends it a signal.
    pub(crate) async fn signal(&self, signal: &str) -> Result<(), Failure> {
        mode::send(signal, self.id()?).await
    }

    /// Its number in the system.
    pub(crate) fn id(&self) -> Result<u32, Failure> {
        Ok(self.child.id().ok_or("the process has ended")?)
    }

    /// Waits until it says that it is ready; returns how long that took.
    pub(crate) async fn ready(&mut self) -> Result<Duration, Failure> {
        let started = Instant::now();
        let admin = self.admin()?;
        loop {
            if let Some(status) = self.child.try_wait()? {
                let log = self.log.display();
                return Err(format!("chatd ended at its start: {status}; see {log}").into());
            }
            if admin.ready().await.is_ok_and(|readiness| readiness.ready) {
                return Ok(started.elapsed());
            }
            if started.elapsed() > START_DEADLINE {
                let log = self.log.display();
                return Err(format!("chatd is not ready in time; see {log}").into());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// A client that repeats nothing by itself: what a case repeats is in its ledger.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(patient(&self.api()))?)
    }

    /// A client of the admin listener.
    pub(crate) fn admin(&self) -> Result<Admin, Failure> {
        Ok(Admin::new(patient(&self.admin_url()))?)
    }

    /// URL of the API.
    pub(crate) fn api(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// Where the API listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.listen
    }

    /// URL of the admin listener.
    pub(crate) fn admin_url(&self) -> String {
        format!("http://{}", self.admin_listen)
    }

    /// Where the admin listener is.
    pub(crate) const fn admin_address(&self) -> SocketAddr {
        self.admin_listen
    }

    /// What it has logged, all its lives together.
    pub(crate) fn log(&self) -> Result<String, Failure> {
        Ok(std::fs::read_to_string(&self.log)?)
    }

    /// Resident memory now and at its most, in MiB, where the system tells.
    pub(crate) fn memory(&self) -> Option<(u64, u64)> {
        let pid = self.child.id()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| -> Option<u64> {
            let line = status.lines().find(|line| line.starts_with(name))?;
            let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
            Some(kib / 1024)
        };
        Some((field("VmRSS:")?, field("VmHWM:")?))
    }

    /// Processor time that it has used, where the system tells.
    pub(crate) fn processor_time(&self) -> Option<Duration> {
        let pid = self.child.id()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, fields) = stat.rsplit_once(") ")?;
        let ticks = |at: usize| fields.split(' ').nth(at)?.parse::<u64>().ok();
        // Fields 14 and 15 of proc(5), in hundredths of a second on every Linux of today.
        Some(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
    }
}

/// What every client of the harness is: patient for longer than any deadline of ours, and trying once.
fn patient(server: &str) -> Config {
    Config {
        timeout: Duration::from_secs(40),
        retries: Retries {
            most: 0,
            ..Retries::default()
        },
        ..Config::new(server)
    }
}

fn spawn(
    plan: &Plan,
    role: Role,
    log: &std::path::Path,
    (listen, admin_listen): (SocketAddr, SocketAddr),
    failpoint: Option<&str>,
) -> Result<Child, Failure> {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)?;
    let mut command = plan.mode.chatd(&plan.chatd);
    command
        .args(role.command())
        .args(&plan.flags)
        .arg("--listen")
        .arg(listen.to_string())
        .arg("--admin-listen")
        .arg(admin_listen.to_string())
        .arg("--data-dir")
        .arg(plan.data())
        .stdin(Stdio::null())
        .stderr(log)
        .kill_on_drop(true);
    if let Some(failpoint) = failpoint {
        command.env("CHATD_FAILPOINT", failpoint);
    }
    let child = match &plan.split {
        Some(split) => split.backend.run(|| command.spawn()).flatten(),
        None => command.spawn(),
    };
    child.map_err(|error| format!("{} cannot be started: {error}", plan.chatd.display()).into())
}

/// A port that was free a moment ago; the process is restarted on it, so it cannot be left to the system.
pub(crate) fn free_port() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}
