//! A `chatd` under test: started, killed, started again, on the same ports and data.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use chat_client::admin::Admin;
use chat_client::client::{Client, Config};
use chat_client::retries::Retries;
use tokio::process::{Child, Command};

use crate::Failure;

/// How long a start may take.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// Between two looks at something that is awaited.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What to run, and where.
pub(crate) struct Plan {
    /// The program.
    pub(crate) chatd: PathBuf,
    /// Data in `data`, log lines in `chatd.log`.
    pub(crate) work: PathBuf,
}

/// A process and its addresses.
pub(crate) struct Server {
    plan: Plan,
    listen: SocketAddr,
    admin_listen: SocketAddr,
    child: Child,
}

impl Server {
    /// Starts it on free ports; returns when it is ready.
    pub(crate) async fn start(plan: Plan) -> Result<Self, Failure> {
        let (listen, admin_listen) = (free_port()?, free_port()?);
        let child = spawn(&plan, listen, admin_listen)?;
        let mut server = Self {
            plan,
            listen,
            admin_listen,
            child,
        };
        server.ready().await?;
        Ok(server)
    }

    /// SIGKILL, and a new process on what the old one left; returns the time until it was ready.
    pub(crate) async fn kill_and_restart(&mut self) -> Result<Duration, Failure> {
        self.child.kill().await?;
        let started = Instant::now();
        self.child = spawn(&self.plan, self.listen, self.admin_listen)?;
        self.ready().await?;
        Ok(started.elapsed())
    }

    async fn ready(&mut self) -> Result<(), Failure> {
        let started = Instant::now();
        let admin = self.admin()?;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("chatd ended at its start: {status}; see chatd.log").into());
            }
            if admin.ready().await.is_ok_and(|readiness| readiness.ready) {
                return Ok(());
            }
            if started.elapsed() > START_DEADLINE {
                return Err("chatd is not ready in time".into());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// A client that repeats nothing by itself: what a case repeats is in its ledger.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(patient(&format!("http://{}", self.listen)))?)
    }

    /// A client of the admin listener.
    pub(crate) fn admin(&self) -> Result<Admin, Failure> {
        Ok(Admin::new(patient(&format!(
            "http://{}",
            self.admin_listen
        )))?)
    }

    /// Waits until every group has read its topic to the end; returns how long that took.
    pub(crate) async fn drained(&self, limit: Duration) -> Result<Duration, Failure> {
        let admin = self.admin()?;
        let started = Instant::now();
        loop {
            let lag = admin.lag().await?;
            if lag
                .groups
                .iter()
                .all(|group| group.figures.lag_records == Some(0))
            {
                return Ok(started.elapsed());
            }
            if started.elapsed() > limit {
                return Err("the workers did not drain the log in time".into());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// URLs of the API and of the admin listener.
    pub(crate) fn addresses(&self) -> (String, String) {
        (
            format!("http://{}", self.listen),
            format!("http://{}", self.admin_listen),
        )
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

    /// SIGTERM would be kinder; a case is over, and its data may go.
    pub(crate) async fn end(mut self) -> Result<(), Failure> {
        Ok(self.child.kill().await?)
    }
}

fn patient(server: &str) -> Config {
    Config {
        timeout: Duration::from_secs(10),
        retries: Retries {
            most: 0,
            ..Retries::default()
        },
        ..Config::new(server)
    }
}

fn spawn(plan: &Plan, listen: SocketAddr, admin_listen: SocketAddr) -> Result<Child, Failure> {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(plan.work.join("chatd.log"))?;
    Command::new(&plan.chatd)
        .arg("--listen")
        .arg(listen.to_string())
        .arg("--admin-listen")
        .arg(admin_listen.to_string())
        .arg("--data-dir")
        .arg(plan.work.join("data"))
        .stdin(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{} cannot be started: {error}", plan.chatd.display()).into())
}

/// A port that was free a moment ago; the process is restarted on it, so it cannot be left to the system.
fn free_port() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}
