//! The real program as a child process.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use chat_client::admin::Admin;
use chat_client::client::{Client, Config};
use chat_client::retries::Retries;
use chat_core::failpoint::Failpoint;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{ChildStderr, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::harness::PATIENCE;
use crate::mode;

const SIGABRT: i32 = 6;
const FLAGS: [&str; 5] = [
    // Numbers that were lost become void after twice this time.
    "--create-deadline-ms=2000",
    "--reconcile-every=0",
    "--lag-every-ms=100",
    "--log=warn,chat_server::boot=info",
    "--log-format=json",
];

pub(super) struct Child {
    process: tokio::process::Child,
    /// Reads what it says after it was ready, to its end.
    rest: JoinHandle<String>,
    /// Tries each call once.
    pub(super) client: Client,
    /// Tries until there is an answer.
    pub(super) patient: Client,
    pub(super) admin: Admin,
}

/// How a process ended.
#[derive(Debug)]
pub(super) struct End {
    status: ExitStatus,
    /// Its last lines.
    pub(super) said: String,
}

impl End {
    /// Whether it aborted at this failpoint.
    pub(super) fn is_of(&self, point: Failpoint) -> bool {
        let line = format!("failpoint {} aborts", point.name());
        self.status.signal() == Some(SIGABRT) && self.said.lines().any(|said| said == line)
    }
}

/// The program on free ports and these data, with nothing of the environment of this process.
pub(super) fn command(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chatd"));
    command
        .env_clear()
        .envs(mode::urls())
        .current_dir(data)
        .args(mode::line(data, &FLAGS))
        .kill_on_drop(true);
    command
}

impl Child {
    /// The settings that it has.
    pub(super) fn config(data: &Path) -> chat_server::config::Config {
        mode::config(data, &FLAGS)
    }

    /// Starts it and waits until it is ready, or until it has ended before that.
    pub(super) async fn start(data: &Path) -> Result<Self, End> {
        Self::run(command(data)).await
    }

    /// The same with a failpoint, and with further flags.
    pub(super) async fn armed(data: &Path, failpoint: &str, flags: &[&str]) -> Result<Self, End> {
        let mut command = command(data);
        command.env("CHATD_FAILPOINT", failpoint).args(flags);
        Self::run(command).await
    }

    async fn run(mut command: Command) -> Result<Self, End> {
        command.stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let stderr = process.stderr.take().expect("it is piped");
        let mut lines = BufReader::new(stderr).lines();
        let mut said = String::new();
        let ready = timeout(PATIENCE, ready(&mut lines, &mut said)).await;
        let Some((api, admin)) = ready.expect("it is ready in time, or ends") else {
            let status = process.wait().await.unwrap();
            return Err(End { status, said });
        };
        let once = Retries {
            most: 0,
            ..Retries::default()
        };
        let often = Retries {
            most: 50,
            ..Retries::default()
        };
        let config = |address: &str, retries| Config {
            timeout: PATIENCE,
            retries,
            ..Config::new(address)
        };
        Ok(Self {
            process,
            rest: tokio::spawn(rest(lines, said)),
            client: Client::new(config(&api, once)).unwrap(),
            patient: Client::new(config(&api, often)).unwrap(),
            admin: Admin::new(config(&admin, often)).unwrap(),
        })
    }

    /// Waits for its end.
    pub(super) async fn end(mut self) -> End {
        let status = timeout(PATIENCE, self.process.wait()).await;
        let status = status.expect("it ends").unwrap();
        let said = self.rest.await.unwrap();
        End { status, said }
    }

    /// Asks it to stop, which it does without an error.
    pub(super) async fn stop(self) {
        let id = self.process.id().expect("it runs");
        let id = i32::try_from(id)
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        let id = id.expect("an id of a process");
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        let end = self.end().await;
        assert!(end.status.success(), "{end:?}");
    }
}

/// The addresses of the API and of the admin listener; `None` where it ended.
async fn ready(
    lines: &mut Lines<BufReader<ChildStderr>>,
    said: &mut String,
) -> Option<(String, String)> {
    while let Some(line) = lines.next_line().await.unwrap() {
        said.push_str(&line);
        said.push('\n');
        let fields = serde_json::from_str(&line).map(|mut line: Value| line["fields"].take());
        let Ok(fields) = fields else { continue };
        if fields["message"] == "chatd is ready" {
            let address = |value: &Value| value.as_str().map(str::to_owned);
            return address(&fields["api"]).zip(address(&fields["admin"]));
        }
    }
    None
}

async fn rest(mut lines: Lines<BufReader<ChildStderr>>, mut said: String) -> String {
    while let Ok(Some(line)) = lines.next_line().await {
        said.push_str(&line);
        said.push('\n');
    }
    said
}
