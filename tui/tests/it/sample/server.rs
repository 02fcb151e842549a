//! A server that says what the sample has: enough of the API for every page, and some ways to fail.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use chat_client::admin::{LagQuery, LagSort};
use chat_wire::admin::dlq;
use chat_wire::admin::reconcile::{Order, Phase, Runs};
use chat_wire::problem::{Code, Problem};
use chat_wire::time::Timestamp;
use serde::Serialize;

use super::{chats, data};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the server does.
#[derive(Debug, Default)]
pub(crate) struct Manner {
    /// It takes every request and answers none.
    pub(crate) hangs: bool,
    /// It does not know any path that begins like this.
    pub(crate) lacks: Option<&'static str>,
    /// Method and path of each request so far.
    pub(crate) seen: Vec<String>,
    /// Bodies of what was posted.
    pub(crate) posted: Vec<String>,
    /// What `GET /admin/reconcile` says.
    pub(crate) runs: Option<Runs>,
}

/// A running server. It ends with the process.
pub(crate) struct Server {
    pub(crate) url: String,
    shared: Arc<(Mutex<Manner>, Condvar)>,
}

impl Server {
    /// At a free port.
    pub(crate) fn start() -> Self {
        Self::start_at("127.0.0.1:0")
    }

    /// At this address.
    pub(crate) fn start_at(address: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared: Arc<(Mutex<Manner>, Condvar)> = Arc::default();
        let served = Arc::clone(&shared);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let shared = Arc::clone(&served);
                // A connection that breaks is the client's to notice.
                std::thread::spawn(move || serve(&socket, &shared));
            }
        });
        Self { url, shared }
    }

    /// What it does, to look at or to change.
    pub(crate) fn manner(&self) -> MutexGuard<'_, Manner> {
        self.shared.0.lock().unwrap()
    }

    /// Waits until it has come so far.
    #[track_caller]
    pub(crate) fn wait_until(&self, mut there: impl FnMut(&Manner) -> bool) {
        let waited = self
            .shared
            .1
            .wait_timeout_while(self.manner(), PATIENCE, |manner| !there(manner))
            .unwrap();
        assert!(!waited.1.timed_out(), "the server did not come so far");
    }
}

fn serve(socket: &TcpStream, shared: &(Mutex<Manner>, Condvar)) -> Option<()> {
    let mut reader = BufReader::new(socket);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let mut parts = line.split(' ');
        let (method, target) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            let header = header.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let body = String::from_utf8(body).ok()?;
        let (status, text) = {
            let mut manner = shared.0.lock().unwrap();
            manner.seen.push(format!("{method} {target}"));
            if method != "GET" {
                manner.posted.push(body.clone());
            }
            shared.1.notify_all();
            if manner.hangs {
                let waited = shared.1.wait_while(manner, |manner| manner.hangs);
                drop(waited);
                return None;
            }
            answer(&mut manner, &method, &target, &body)
        };
        let kind = if status < 400 {
            "application/json"
        } else {
            "application/problem+json"
        };
        let head = format!(
            "HTTP/1.1 {status} OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            text.len()
        );
        (&*socket).write_all((head + &text).as_bytes()).ok()?;
    }
}

fn json(value: &impl Serialize) -> (u16, String) {
    (200, serde_json::to_string(value).unwrap())
}

fn missing(target: &str) -> (u16, String) {
    let problem = Problem::new(Code::NoSuchPath, format!("there is nothing at {target}"));
    (404, serde_json::to_string(&problem).unwrap())
}

fn answer(manner: &mut Manner, method: &str, target: &str, body: &str) -> (u16, String) {
    let at = Timestamp::now();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if manner.lacks.is_some_and(|lacks| path.starts_with(lacks)) {
        return missing(target);
    }
    let given = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let mut pairs = pairs.filter(|(key, _)| *key == name);
        pairs.next().map(|(_, value)| value.to_owned())
    };
    match (method, path) {
        ("GET", "/admin/stats") => json(&data::stats(at)),
        ("GET", "/admin/lag") => json(&data::lag_of(
            at,
            &LagQuery {
                group: given("group"),
                partitions: given("partitions").and_then(|most| most.parse().ok()),
                sort: match given("sort").as_deref() {
                    Some("lag") => LagSort::Lag,
                    _ => LagSort::Partition,
                },
            },
        )),
        ("GET", "/admin/drift") => {
            let token = given("token").and_then(|token| token.parse().ok());
            json(&data::drift(at, token))
        }
        ("GET", "/admin/reconcile") => match &manner.runs {
            Some(runs) => json(runs),
            None => json(&data::planned(at)),
        },
        ("POST", "/admin/reconcile") => {
            let order: Order = serde_json::from_str(body).unwrap();
            let phase = if order.execute {
                Phase::Acting
            } else {
                Phase::Finished
            };
            let run = data::run(at, order, phase);
            let mut runs = Runs::default();
            if order.execute {
                runs.current = Some(run.clone());
            } else {
                runs.last = Some(run.clone());
            }
            manner.runs = Some(runs);
            json(&run)
        }
        ("DELETE", "/admin/reconcile") => {
            let order = Order {
                execute: true,
                ..Order::default()
            };
            let runs = Runs {
                current: None,
                last: Some(data::run(at, order, Phase::Cancelled)),
            };
            manner.runs = Some(runs.clone());
            json(&runs)
        }
        ("GET", "/admin/dlq") => json(&data::letters(at)),
        ("GET", _) if path.starts_with("/admin/dlq/") => json(&data::letter(at)),
        ("POST", "/admin/dlq/replay" | "/admin/dlq/discard") => {
            let order: dlq::Order = serde_json::from_str(body).unwrap();
            let done = if order.all {
                103
            } else {
                order.ids.len() as u64
            };
            json(&dlq::Decision {
                done,
                ..dlq::Decision::default()
            })
        }
        ("GET", "/admin/doctor") => json(&data::doctor()),
        ("GET", "/admin/applications") => json(&chats::application_page(at)),
        ("GET", "/search") => json(&chats::hits(at)),
        ("GET", _) if path.ends_with("/messages/search") => json(&chats::hits(at)),
        ("GET", _) if path.ends_with("/messages") => json(&chats::messages(at)),
        ("GET", _) if path.ends_with("/chats") => json(&chats::chat_page(at)),
        _ => missing(target),
    }
}
