//! Creates on a schedule: arrivals come when they are due, whether or not earlier ones were answered.
//!
//! A time counts from when a create was due, so that whatever holds up the generator or the server is in
//! it. An arrival that finds no connection free, and no room for another, is counted as skipped. The
//! generator is one thread, on a processor that the backend does not use.

mod connection;
mod drive;
mod figures;
mod paper;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use chat_wire::ids::{AppToken, ChatNumber, MessageNumber};
use tokio::sync::oneshot;

use self::drive::Drive;
pub(crate) use self::figures::Figures;
use self::paper::Paper;
use crate::Failure;
use crate::cores::{self, Split};
use crate::ledger::Operation;
use crate::load::COMMON;

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

/// When creates are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Arrivals {
    /// The closed model: so many connections, each of which sends as soon as it has its answer.
    Closed(usize),
    /// The open model: so many a second, evenly spread.
    Open(f64),
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
    paper: Paper,
}

/// A source of creates, and the ledger of all of them.
pub(crate) struct Generator {
    target: Target,
    /// Most connections at once.
    most: usize,
    /// What every request begins with.
    head: String,
    book: Mutex<Book>,
}

/// Lets generators send together for so long, and waits for what they sent; what was measured of each.
///
/// One thread does it for all of them, on the generator's processors, so that none waits for another's
/// turn.
pub(crate) async fn run(
    flows: Vec<(&Arc<Generator>, Arrivals)>,
    span: Duration,
    split: Option<&Split>,
) -> Result<Vec<Figures>, Failure> {
    let flows: Vec<_> = flows
        .into_iter()
        .map(|(generator, arrivals)| (Arc::clone(generator), arrivals))
        .collect();
    let cores = split.map(|split| split.generator.clone());
    let (tell, done) = oneshot::channel();
    std::thread::Builder::new()
        .name("generator".to_owned())
        .spawn(move || {
            cores::go_first();
            let work = || Drive::new(flows)?.run(span);
            let figures = match cores {
                Some(cores) => cores.run(work).map_err(Failure::from).flatten(),
                None => work(),
            };
            // Nobody listens when the case was ended.
            let _ = tell.send(figures);
        })?;
    done.await?
}

impl Generator {
    /// Opens at most so many connections; keeps its ledger in `work`.
    pub(crate) fn new(target: Target, most: usize, work: &Path) -> Result<Arc<Self>, Failure> {
        let paper = Paper::create(&work.join(format!("{}.ledger", target.name)))?;
        Ok(Arc::new(Self {
            head: format!("POST /applications/{}/chats/", target.token.reveal()),
            target,
            most,
            book: Mutex::new(Book {
                fates: Vec::new(),
                paper,
            }),
        }))
    }

    /// It alone.
    pub(crate) async fn run(
        self: &Arc<Self>,
        arrivals: Arrivals,
        span: Duration,
        split: Option<&Split>,
    ) -> Result<Figures, Failure> {
        let mut all = run(vec![(self, arrivals)], span, split).await?;
        Ok(all.remove(0))
    }

    /// Writes down that a create begins.
    fn begin(&self) -> Result<usize, Failure> {
        let mut book = self.book();
        let id = book.fates.len();
        book.fates.push(Fate::Unknown);
        book.paper.line(format_args!("{id} begins"))?;
        Ok(id)
    }

    /// Writes down what became of it.
    fn end(&self, id: usize, fate: Fate, code: &str) -> Result<(), Failure> {
        let mut book = self.book();
        book.fates[id] = fate;
        book.paper.line(format_args!("{id} {code}"))
    }

    /// The whole request of a create.
    fn request(&self, id: usize, out: &mut Vec<u8>) {
        let (head, chat, body) = (&self.head, self.chat(id), self.body(id));
        let length = body.len() + r#"{"body":""}"#.len();
        // Writing into memory does not fail.
        let _ = write!(
            out,
            "{head}{chat}/messages HTTP/1.1\r\nHost: chaos\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{{\"body\":\"{body}\"}}"
        );
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
        let book = self.book();
        let kept = book.fates.iter().enumerate();
        kept.filter(|(_, fate)| **fate != Fate::Shed)
            .map(|(id, fate)| Operation {
                acknowledged_at: None,
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

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no holder panics")
    }
}
