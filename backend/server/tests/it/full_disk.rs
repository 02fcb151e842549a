//! `chatd` as a process of its own, whose disk or standard error is full.
//!
//! The disk is a small file system that only the process sees. Where the system allows no such thing,
//! the tests that need one say so and end.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use chat_client::admin::{Admin, DriftQuery};
use chat_client::client::{Client, Config as ClientConfig, Create};
use chat_client::error::Error;
use chat_client::messages::Span;
use chat_client::retries::Retries;
use chat_wire::admin::Readiness;
use chat_wire::applications::NewApplication;
use chat_wire::ids::{AppToken, ChatNumber, MessageNumber};
use chat_wire::problem::Code;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::harness::{PATIENCE, eventually, message};
use crate::mode;
use crate::raw::{Answer, Request};

/// Of the file system.
const DISK: &str = "24m";
/// Creates that are sent at the same time.
const CLIENTS: usize = 20;

/// A `chatd` with everything in one directory.
struct Process {
    child: Child,
    /// As this process sees it.
    data: PathBuf,
    client: Client,
    admin: Admin,
    admin_address: SocketAddr,
    _dir: TempDir,
}

impl Process {
    /// Starts it; on a disk of its own where that is asked for, and `None` where that is not to be had.
    async fn start(own_disk: bool, stderr: Stdio, log: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("disk");
        std::fs::create_dir(&place).unwrap();
        let (api, admin) = (free_port(), free_port());
        let chatd = env!("CARGO_BIN_EXE_chatd");
        let mut command = if own_disk {
            let script = format!(
                "mount -t tmpfs -o size={DISK} tmpfs \"$1\" && shift && echo mounted && exec \"$@\""
            );
            let mut command = Command::new("unshare");
            // Root of a namespace of its own may mount.
            command.args([
                "--user",
                "--map-root-user",
                "--mount",
                "sh",
                "-c",
                &script,
                "sh",
            ]);
            command.arg(&place).arg(chatd);
            command
        } else {
            Command::new(chatd)
        };
        let mut child = command
            .args(["--listen", &format!("127.0.0.1:{api}")])
            .args(["--admin-listen", &format!("127.0.0.1:{admin}")])
            .arg("--data-dir")
            .arg(place.join("data"))
            .env("CHATD_LOG", log)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .ok()?;
        let data = if own_disk {
            let pid = child.id()?;
            let mut told = [0; 8];
            let mut stdout = child.stdout.take()?;
            let mounted = tokio::io::AsyncReadExt::read_exact(&mut stdout, &mut told);
            if !matches!(tokio::time::timeout(PATIENCE, mounted).await, Ok(Ok(_))) {
                show(format_args!(
                    "not tried: this system lets nobody mount a file system of his own"
                ));
                return None;
            }
            let seen = place.strip_prefix("/").unwrap();
            PathBuf::from(format!("/proc/{pid}/root")).join(seen)
        } else {
            place
        };
        let config = |port| ClientConfig {
            timeout: PATIENCE,
            retries: Retries {
                most: 0,
                ..Retries::default()
            },
            ..ClientConfig::new(format!("http://127.0.0.1:{port}"))
        };
        let process = Self {
            child,
            data,
            client: Client::new(config(api)).unwrap(),
            admin: Admin::new(config(admin)).unwrap(),
            admin_address: SocketAddr::from(([127, 0, 0, 1], admin)),
            _dir: dir,
        };
        eventually("a server that is ready", async || {
            let readiness = process.admin.ready().await.ok()?;
            readiness.ready.then_some(())
        })
        .await;
        Some(process)
    }

    async fn chat(&self) -> (AppToken, ChatNumber) {
        let new = NewApplication {
            name: "test".into(),
        };
        let create = Create {
            key: None,
            wait: Some(PATIENCE),
        };
        let created = self.client.create_application(&new, &create).await;
        let token = created.unwrap().value.token;
        let created = self.client.create_chat(token, &create).await;
        (token, created.unwrap().value.chat_number)
    }

    async fn say(&self, (token, chat): (AppToken, ChatNumber)) -> Result<u32, Error> {
        let (new, create) = (message("a body of some words"), Create::default());
        let created = self.client.create_message(token, chat, &new, &create);
        Ok(created.await?.value.message_number.get())
    }

    async fn readyz(&self) -> Answer {
        let request = Request::new(self.admin_address, "GET", "/readyz".to_owned());
        request.on_admin().send().await
    }

    /// The last number that the chat's counter gave out.
    async fn counter(&self, (token, chat): (AppToken, ChatNumber)) -> u32 {
        let query = DriftQuery {
            token: Some(token),
            limit: 100,
            ..DriftQuery::default()
        };
        eventually("the counter", async || {
            let page = self.admin.drift(&query).await.ok()?;
            let row = page.rows.iter().find(|row| row.chat == Some(chat))?;
            row.counter
        })
        .await
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Takes all the room that is left.
fn fill(place: &Path) -> PathBuf {
    let path = place.join("filler");
    let mut file = File::create(&path).unwrap();
    for size in [64 * 1024, 1_024, 1] {
        let block = vec![b'x'; size];
        while file.write_all(&block).is_ok() {}
    }
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_costs_no_numbers_and_is_over_when_it_is_over() {
    if mode::on_engines() {
        return;
    }
    let log = tempfile::NamedTempFile::new().unwrap();
    let stderr = Stdio::from(log.reopen().unwrap());
    let Some(process) = Process::start(true, stderr, "info").await else {
        return;
    };
    let process = Arc::new(process);
    let chat = process.chat().await;
    for _ in 0..10 {
        process.say(chat).await.unwrap();
    }
    let filler = fill(&process.data);
    let full_at = Instant::now();
    let (refused, stop) = (
        Arc::new(AtomicU32::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (process, refused, stop) = (
                Arc::clone(&process),
                Arc::clone(&refused),
                Arc::clone(&stop),
            );
            tokio::spawn(async move {
                let mut accepted = 0;
                while !stop.load(Ordering::Relaxed) {
                    match process.say(chat).await {
                        Ok(_) => accepted += 1,
                        Err(_) => {
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                accepted
            })
        })
        .collect();
    eventually("a refusal", async || {
        (refused.load(Ordering::Relaxed) > 0).then_some(())
    })
    .await;
    tokio::time::sleep_until(full_at + Duration::from_secs(1)).await;
    let after_a_second = process.counter(chat).await;

    let error = eventually("a refusal that says why", async || {
        process.say(chat).await.err()
    })
    .await;
    assert_eq!(error.code(), Some(Code::Unavailable), "{error}");
    assert_eq!(
        error.to_string(),
        "the log cannot take records: database or disk is full"
    );
    assert!(error.retry_after().is_some());
    let readiness: Readiness = process.readyz().await.is(503);
    assert!(!readiness.ready, "{readiness:?}");
    let creates = readiness
        .checks
        .iter()
        .find(|check| check.name == "creates");
    let detail = creates.unwrap().detail.as_ref().unwrap();
    assert!(detail.contains("full"), "{detail}");

    tokio::time::sleep_until(full_at + full_for()).await;
    let at_the_end = process.counter(chat).await;
    let refused = refused.load(Ordering::Relaxed);
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    show(format_args!(
        "{refused} refused, {after_a_second} numbers after a second, {at_the_end} at the end"
    ));
    assert_eq!(
        at_the_end, after_a_second,
        "after {refused} refused creates"
    );
    assert!(after_a_second < 10 + 4 * u32::try_from(CLIENTS).unwrap());
    assert!(refused > 200, "{refused}");

    std::fs::remove_file(filler).unwrap();
    let free_at = Instant::now();
    let number = eventually("a create", async || process.say(chat).await.ok()).await;
    let accepted = free_at.elapsed();
    let (token, chat_number) = chat;
    let before = MessageNumber::new(number - 1).unwrap();
    eventually("a page with it", async || {
        let page = process
            .client
            .messages(token, chat_number, Span::After(before), 10)
            .await
            .ok()?;
        let mut numbers = page
            .messages
            .iter()
            .map(|message| message.message_number.get());
        numbers.any(|found| found == number).then_some(())
    })
    .await;
    let visible = free_at.elapsed();
    show(format_args!(
        "accepted after {accepted:?}, visible after {visible:?}"
    ));
    assert!(visible < Duration::from_secs(5), "{visible:?}");
    assert!(process.admin.ready().await.unwrap().ready);
    let mut text = String::new();
    log.reopen().unwrap().read_to_string(&mut text).unwrap();
    show(format_args!("{} bytes of log", text.len()));
    assert!(text.len() < 64 * 1024, "{text}");
}

/// How long the disk stays full; longer where somebody measures.
fn full_for() -> Duration {
    let seconds = std::env::var("CHAT_TEST_FULL_SECONDS");
    let seconds = seconds.ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(4))
}

/// Rounds of requests, each of which makes so many log lines: together far more than any pipe holds.
const ROUNDS: u32 = 50;
const LINES: u32 = 100;

async fn creates_go_on(stderr: Stdio) {
    // At this level each answer is a line.
    let Some(mut process) = Process::start(false, stderr, "debug").await else {
        panic!("chatd does not start");
    };
    let chat @ (token, chat_number) = process.chat().await;
    for number in 1..=ROUNDS {
        assert_eq!(process.say(chat).await.unwrap(), number);
        let reads = (0..LINES).map(|_| process.client.chat(token, chat_number));
        for read in futures_util::future::join_all(reads).await {
            read.unwrap();
        }
    }
    assert!(process.admin.ready().await.unwrap().ready);
    assert!(process.child.try_wait().unwrap().is_none(), "it has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_stops_nothing() {
    if mode::on_engines() {
        return;
    }
    let full = File::options().write(true).open("/dev/full").unwrap();
    creates_go_on(Stdio::from(full)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_stops_nothing() {
    if mode::on_engines() {
        return;
    }
    creates_go_on(Stdio::piped()).await;
}

/// A figure for whoever runs the test with its output shown.
fn show(figure: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    // Nobody needs it.
    let _ = writeln!(std::io::stderr(), "{figure}");
}
