//! Creates on a schedule: arrivals come when they are due, whether or not earlier ones were answered.
//!
//! A time counts from when a create was due, so that whatever holds up the generator or the server is in
//! it. Connections are kept and used again; an arrival that finds none free, and no room for another, is
//! counted as skipped.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chat_wire::ids::{AppToken, ChatNumber, MessageNumber};
use chat_wire::messages::MessageCreated;
use chat_wire::problem::Problem;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::Failure;
use crate::ledger::Operation;
use crate::load::COMMON;

/// Between two looks at the schedule.
const TICK: Duration = Duration::from_millis(1);
/// Longer than any deadline of ours.
const PATIENCE: Duration = Duration::from_secs(40);
/// Writes of the ledger that are collected.
const LEDGER_BYTES: usize = 1024 * 1024;

/// One that was kept, or the right to open one.
type Connection = Option<SendRequest<Full<Bytes>>>;

/// Where creates go.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// API processes, used in turns.
    pub(crate) apis: Vec<SocketAddr>,
    pub(crate) token: AppToken,
    pub(crate) chats: Vec<ChatNumber>,
    /// Begins every body, behind what all bodies of the harness contain.
    pub(crate) name: &'static str,
}

/// What became of one create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Nobody knows: it may be stored or not.
    Unknown,
    /// A number was given.
    Given(MessageNumber),
    /// It was refused before anything was taken.
    Shed,
}

/// Every create, written down before it is sent, and what came of it.
struct Book {
    fates: Vec<Fate>,
    file: BufWriter<File>,
}

/// What was measured of a span of creates.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Microseconds of those that were accepted.
    pub(crate) accepted_us: Vec<u32>,
    /// Of those that were refused or failed, by code.
    pub(crate) refused_us: BTreeMap<String, Vec<u32>>,
    /// Arrivals without a free connection.
    pub(crate) skipped: u64,
    /// How late the generator itself was, at most.
    pub(crate) late_us: u64,
    /// How long the span was.
    pub(crate) seconds: f64,
}

impl Figures {
    /// Accepted a second.
    pub(crate) fn rate(&self) -> f64 {
        count(self.accepted_us.len()) / self.seconds.max(f64::MIN_POSITIVE)
    }

    /// Milliseconds that this share of the accepted did not exceed, in percent.
    pub(crate) fn accepted_ms(&self, percent: usize) -> f64 {
        at(&self.accepted_us, percent)
    }

    /// The same of all that were refused as they should be.
    pub(crate) fn shed_ms(&self, percent: usize) -> f64 {
        let shed = self.refused_us.iter().filter(|(code, _)| is_shed(code));
        let all: Vec<u32> = shed.flat_map(|(_, times)| times).copied().collect();
        at(&all, percent)
    }

    /// Answers that are neither an acknowledgement nor a refusal as it should be.
    pub(crate) fn failed(&self) -> usize {
        let failed = self.refused_us.iter().filter(|(code, _)| !is_shed(code));
        failed.map(|(_, times)| times.len()).sum()
    }

    /// For people.
    pub(crate) fn refused_text(&self) -> String {
        let each = self.refused_us.iter().map(|(code, times)| {
            let (p50, p99) = (at(times, 50), at(times, 99));
            format!("{code} {} (p50 {p50:.1} ms, p99 {p99:.1} ms)", times.len())
        });
        let text = each.collect::<Vec<_>>().join(", ");
        if text.is_empty() {
            "none".to_owned()
        } else {
            text
        }
    }
}

/// Codes of refusals that are fast, say when to come back, and take nothing.
fn is_shed(code: &str) -> bool {
    matches!(code, "overloaded" | "too_many_requests")
}

/// Milliseconds at this share of times in microseconds.
pub(crate) fn at(times: &[u32], percent: usize) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let place = sorted.len().saturating_sub(1) * percent / 100;
    f64::from(sorted.get(place).copied().unwrap_or(0)) / 1_000.0
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn count(number: usize) -> f64 {
    number as f64
}

/// A generator of creates, and the ledger of all of them.
pub(crate) struct Generator {
    target: Target,
    free: Mutex<Vec<SendRequest<Full<Bytes>>>>,
    open: AtomicUsize,
    most: usize,
    book: Mutex<Book>,
    figures: Mutex<Figures>,
    late_us: AtomicU64,
}

impl Generator {
    /// Opens at most so many connections; keeps its ledger in `work`.
    pub(crate) fn new(target: Target, most: usize, work: &Path) -> Result<Arc<Self>, Failure> {
        let file = File::create(work.join(format!("{}.ledger", target.name)))?;
        Ok(Arc::new(Self {
            target,
            free: Mutex::default(),
            open: AtomicUsize::new(0),
            most,
            book: Mutex::new(Book {
                fates: Vec::new(),
                file: BufWriter::with_capacity(LEDGER_BYTES, file),
            }),
            figures: Mutex::default(),
            late_us: AtomicU64::new(0),
        }))
    }

    /// The closed model: so many connections, each of which sends as soon as it has its answer.
    pub(crate) async fn closed(
        self: &Arc<Self>,
        connections: usize,
        span: Duration,
    ) -> Result<Figures, Failure> {
        let began = Instant::now();
        let mut senders = JoinSet::new();
        for _ in 0..connections {
            let this = Arc::clone(self);
            senders.spawn(async move {
                while began.elapsed() < span {
                    let Some(connection) = this.connection() else {
                        return Err("there are fewer connections than senders".into());
                    };
                    this.create(connection, Instant::now()).await?;
                }
                Ok::<_, Failure>(())
            });
        }
        while let Some(done) = senders.join_next().await {
            done??;
        }
        Ok(self.take(began.elapsed()))
    }

    /// The open model: so many arrivals a second, evenly spread.
    pub(crate) async fn open(
        self: &Arc<Self>,
        rate: f64,
        span: Duration,
    ) -> Result<Figures, Failure> {
        let began = Instant::now();
        let mut tick = tokio::time::interval(TICK);
        let mut arrivals = JoinSet::new();
        let mut sent = 0_u32;
        while began.elapsed() < span {
            tick.tick().await;
            let now = began.elapsed().min(span);
            while f64::from(sent) < now.as_secs_f64() * rate {
                let due = began + Duration::from_secs_f64(f64::from(sent) / rate);
                sent += 1;
                let Some(connection) = self.connection() else {
                    lock(&self.figures).skipped += 1;
                    continue;
                };
                let this = Arc::clone(self);
                arrivals.spawn(async move { this.create(connection, due).await });
            }
            while let Some(done) = arrivals.try_join_next() {
                done??;
            }
        }
        let span = began.elapsed();
        while let Some(done) = arrivals.join_next().await {
            done??;
        }
        Ok(self.take(span))
    }

    /// What was measured since this was called last.
    fn take(&self, span: Duration) -> Figures {
        let mut figures = std::mem::take(&mut *lock(&self.figures));
        figures.seconds = span.as_secs_f64();
        figures.late_us = self.late_us.swap(0, Ordering::Relaxed);
        figures
    }

    /// One create.
    async fn create(&self, connection: Connection, due: Instant) -> Result<(), Failure> {
        let late = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.late_us.fetch_max(late, Ordering::Relaxed);
        let id = self.begin()?;
        let sent = tokio::time::timeout(PATIENCE, self.send(connection, id)).await;
        let (fate, code) = match sent {
            Ok(Ok(answered)) => answered,
            Ok(Err(error)) => (Fate::Unknown, format!("broken: {error}")),
            Err(_) => (Fate::Unknown, "no answer".to_owned()),
        };
        let took = u32::try_from(due.elapsed().as_micros()).unwrap_or(u32::MAX);
        {
            let mut figures = lock(&self.figures);
            match fate {
                Fate::Given(_) => figures.accepted_us.push(took),
                Fate::Unknown | Fate::Shed => {
                    figures
                        .refused_us
                        .entry(code.clone())
                        .or_default()
                        .push(took);
                }
            }
        }
        let mut book = lock(&self.book);
        book.fates[id] = fate;
        writeln!(book.file, "{id} {code}")?;
        Ok(())
    }

    /// A free connection, or the right to open one.
    fn connection(&self) -> Option<Connection> {
        if let Some(free) = lock(&self.free).pop() {
            return Some(Some(free));
        }
        let more = |open: usize| (open < self.most).then_some(open + 1);
        let opened = self
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        opened.is_ok().then_some(None)
    }

    /// Writes down that a create begins.
    fn begin(&self) -> Result<usize, Failure> {
        let mut book = lock(&self.book);
        let id = book.fates.len();
        book.fates.push(Fate::Unknown);
        writeln!(book.file, "{id} begins")?;
        Ok(id)
    }

    async fn send(&self, connection: Connection, id: usize) -> Result<(Fate, String), Failure> {
        let open = Opened(&self.open);
        let mut connection = match connection.filter(|free| !free.is_closed()) {
            Some(connection) => connection,
            None => self.connect(id).await?,
        };
        let answer = connection.send_request(self.request(id)?).await?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await?.to_bytes();
        connection.ready().await?;
        lock(&self.free).push(connection);
        open.stays();
        if status == 202 {
            let created: MessageCreated = serde_json::from_slice(&body)?;
            let fate = Fate::Given(created.message_number);
            return Ok((fate, "acknowledged".to_owned()));
        }
        let problem: Problem = serde_json::from_slice(&body)?;
        let code = problem.code.as_str().to_owned();
        let fate = match is_shed(&code) {
            true => Fate::Shed,
            false => Fate::Unknown,
        };
        Ok((fate, code))
    }

    async fn connect(&self, id: usize) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let to = self.target.apis[id % self.target.apis.len()];
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    fn request(&self, id: usize) -> Result<http::Request<Full<Bytes>>, Failure> {
        let Target { token, .. } = &self.target;
        let chat = self.chat(id);
        let path = format!("/applications/{}/chats/{chat}/messages", token.reveal());
        let body = format!("{{\"body\":\"{}\"}}", self.body(id));
        Ok(http::Request::post(path)
            .header("host", "chaos")
            .header("content-type", "application/json")
            .body(Full::new(body.into()))?)
    }

    fn body(&self, id: usize) -> String {
        format!("{COMMON}{} {id}", self.target.name)
    }

    fn chat(&self, id: usize) -> ChatNumber {
        self.target.chats[id % self.target.chats.len()]
    }

    /// Where its creates went.
    pub(crate) const fn target(&self) -> &Target {
        &self.target
    }

    /// Every create that may be stored. What was shed is none of them: if one is stored after all, it is
    /// in no ledger.
    pub(crate) fn operations(&self) -> Vec<Operation> {
        let book = lock(&self.book);
        let kept = book.fates.iter().enumerate();
        kept.filter(|(_, fate)| **fate != Fate::Shed)
            .map(|(id, fate)| Operation {
                chat: self.chat(id),
                body: self.body(id),
                number: match fate {
                    Fate::Given(number) => Some(*number),
                    Fate::Unknown | Fate::Shed => None,
                },
                other: None,
                sends: 1,
            })
            .collect()
    }
}

/// A connection that is counted; one that broke makes room for another.
struct Opened<'a>(&'a AtomicUsize);

impl Opened<'_> {
    /// It goes on.
    const fn stays(self) {
        std::mem::forget(self);
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder panics")
}
