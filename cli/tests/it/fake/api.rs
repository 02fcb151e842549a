//! The part of the API that the tests need.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};

use super::admin::{Prepared, TIME};
use super::{Deed, Seen, json_answer, problem};

/// Everything that the server knows, and what it was told to do.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) apps: BTreeMap<String, App>,
    /// First answer by path and key.
    keys: HashMap<(String, String), (Vec<u8>, Value)>,
    pub(crate) seen: Vec<Seen>,
    /// What to do with the next requests instead of the usual.
    pub(crate) script: VecDeque<Deed>,
    /// Lines that contain this are refused.
    pub(crate) refuse: Option<String>,
    /// After this many batches the server takes one more, does not answer, and is away from then on.
    pub(crate) die_after_batches: Option<usize>,
    /// Messages that were created one by one.
    pub(crate) messages: usize,
    /// What becomes of the create of this message, counted from 1.
    pub(crate) mischief: Option<(usize, Mischief)>,
    /// How long each create takes; one at a time.
    pub(crate) message_takes: Duration,
    pub(crate) gate_is_closed: bool,
    /// Batches that have come to the closed gate.
    pub(crate) at_gate: usize,
    pub(crate) batches: usize,
    /// What a look at the lag says is missing; counts down with every look.
    pub(crate) lag: u64,
    /// What it says instead.
    pub(crate) lag_override: Option<Value>,
    /// Answers that are no JSON, by path.
    pub(crate) texts: HashMap<String, Deed>,
    /// Answers of the admin listener.
    pub(crate) admin: Prepared,
    /// How often a read of a single thing answers that it is not stored yet.
    pub(crate) pending: usize,
}

/// An application.
/// How a create goes wrong.
pub(crate) enum Mischief {
    /// It is answered with this number, and nothing is kept.
    Lose(usize),
    /// It is carried out, and not answered.
    Break,
    /// It is not answered, and none after it.
    Hang,
}

#[derive(Default)]
pub(crate) struct App {
    pub(crate) name: String,
    /// Messages by chat; `None` for a deleted one.
    pub(crate) chats: Vec<Vec<Option<Value>>>,
}

impl State {
    pub(crate) fn create_app(&mut self, name: &str, chats: usize) -> String {
        let token = format!("{:032x}", self.apps.len() + 0xabc0);
        let app = App {
            name: name.to_owned(),
            chats: vec![Vec::new(); chats],
        };
        self.apps.insert(token.clone(), app);
        token
    }

    /// Adds messages to the first application.
    pub(crate) fn say(&mut self, chat: usize, bodies: &[&str]) {
        let app = self.apps.values_mut().next().unwrap();
        for body in bodies {
            app.chats[chat - 1].push(Some(json!({"body": body, "sender": "ann"})));
        }
    }

    /// Bodies by chat, of the first application.
    pub(crate) fn bodies(&self) -> Vec<Vec<String>> {
        let chats = self.apps.values().next().unwrap().chats.iter();
        let body = |message: &Option<Value>| {
            let message = message.as_ref()?;
            Some(message["body"].as_str().unwrap().to_owned())
        };
        chats
            .map(|chat| chat.iter().filter_map(body).collect())
            .collect()
    }

    pub(super) fn handle(&mut self, seen: &Seen, body: &[u8]) -> Deed {
        self.seen.push(seen.clone());
        if let Some(deed) = self.script.pop_front() {
            return deed;
        }
        if self
            .die_after_batches
            .is_some_and(|most| self.batches > most)
        {
            return Deed::Break;
        }
        let breaks = if seen.method == "POST" && seen.path.ends_with("/messages") {
            #[expect(clippy::disallowed_methods, reason = "a slow server takes its time")]
            std::thread::sleep(self.message_takes);
            self.messages += 1;
            match &self.mischief {
                Some((at, Mischief::Lose(number))) if *at == self.messages => {
                    return json_answer(202, &json!({"message_number": number}));
                }
                Some((at, Mischief::Hang)) if *at <= self.messages => return Deed::Hang,
                Some((at, Mischief::Break)) => *at == self.messages,
                _ => false,
            }
        } else {
            false
        };
        if let Some(text) = self.texts.get(&seen.path) {
            return text.clone();
        }
        let (path, query) = seen.path.split_once('?').unwrap_or((&seen.path, ""));
        let key = seen.key.as_ref().map(|key| (path.to_owned(), key.clone()));
        if let Some((first_body, answer)) = key.as_ref().and_then(|key| self.keys.get(key)) {
            return if first_body == body {
                json_answer(202, answer)
            } else {
                json_answer(
                    422,
                    &problem(422, "key_reused", "the key was used with another body"),
                )
            };
        }
        let result = self.route(&seen.method, path, query, body, seen);
        let deed = match result {
            Ok((status, answer)) => {
                if let (Some(key), 201 | 202) = (key, status) {
                    self.keys.insert(key, (body.to_vec(), answer.clone()));
                }
                match answer {
                    Value::String(stream) => Deed::Answer(
                        200,
                        vec![("content-type", "text/event-stream".to_owned())],
                        stream,
                    ),
                    answer => json_answer(status, &answer),
                }
            }
            Err(problem) => json_answer(
                problem["status"].as_u64().unwrap().try_into().unwrap(),
                &problem,
            ),
        };
        if self
            .die_after_batches
            .is_some_and(|most| self.batches > most)
            || breaks
        {
            return Deed::Break;
        }
        deed
    }

    fn route(
        &mut self,
        method: &str,
        path: &str,
        query: &str,
        body: &[u8],
        seen: &Seen,
    ) -> Result<(u16, Value), Value> {
        if let Some(prepared) = self.admin.take(method, path) {
            return match prepared {
                (status, problem) if status >= 400 => Err(problem),
                prepared => Ok(prepared),
            };
        }
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match (method, parts.as_slice()) {
            ("POST", ["applications"]) => {
                let new: Value = serde_json::from_slice(body).unwrap();
                let token = self.create_app(new["name"].as_str().unwrap(), 0);
                Ok((202, json!({"token": token})))
            }
            ("GET", ["livez"]) => Ok((200, json!({}))),
            ("GET", ["openapi.json"]) => {
                Ok((200, json!({"info": {"version": env!("CARGO_PKG_VERSION")}})))
            }
            ("GET", ["admin", "lag"]) => Ok((200, self.lag())),
            ("GET", ["admin", "applications"]) => {
                let applications: Vec<_> = self
                    .apps
                    .iter()
                    .map(|(token, app)| app.json(token))
                    .collect();
                Ok((200, json!({"applications": applications})))
            }
            ("GET", ["search"]) => {
                let token = parameter(query, "application_token").unwrap();
                let text = parameter(query, "body").unwrap();
                let app = self.find(&token)?;
                let hits = (1..=app.chats.len())
                    .flat_map(|chat| app.hits(chat, &text))
                    .collect::<Vec<_>>();
                Ok((
                    200,
                    json!({"hits": hits, "complete": false, "lag_records": 12_345}),
                ))
            }
            (_, ["applications", token, rest @ ..]) => {
                if method == "GET"
                    && self.pending > 0
                    && !path.ends_with("chats")
                    && !path.ends_with("messages")
                {
                    self.pending -= 1;
                    return Ok((202, json!({"status": "pending"})));
                }
                let refuse = self.refuse.clone();
                let is_batch = path.ends_with("/batch");
                let app = self.find(token)?;
                let answer = app.route(method, token, rest, query, body, seen, refuse.as_deref());
                self.batches += usize::from(is_batch && answer.is_ok());
                answer
            }
            _ => Err(problem(404, "no_such_path", "there is nothing here")),
        }
    }

    fn find(&mut self, token: &str) -> Result<&mut App, Value> {
        let unknown = || problem(404, "unknown_application", "no application has this token");
        self.apps.get_mut(token).ok_or_else(unknown)
    }

    fn lag(&mut self) -> Value {
        if let Some(lag) = &self.lag_override {
            return lag.clone();
        }
        let missing = self.lag;
        self.lag = self.lag.saturating_sub(1);
        let groups: Vec<_> = ["messages-store", "messages-index"]
            .into_iter()
            .map(|group| {
                json!({
                    "group": group, "topic": "messages", "status": "ok", "reason": "",
                    "lag_records": missing, "partitions_total": 1,
                    "partitions": [{
                        "partition": 0, "status": "ok", "end_offset": 100,
                        "committed_offset": 100 - missing, "lag_records": missing,
                    }],
                })
            })
            .collect();
        json!({"sampled_at": TIME, "interval_ms": 1_000, "status": "ok", "groups": groups})
    }
}

impl App {
    fn json(&self, token: &str) -> Value {
        json!({"token": token, "name": self.name, "chats_count": self.chats.len(), "created_at": TIME, "updated_at": TIME})
    }

    #[expect(clippy::too_many_arguments, reason = "a request has that many parts")]
    fn route(
        &mut self,
        method: &str,
        token: &str,
        rest: &[&str],
        query: &str,
        body: &[u8],
        seen: &Seen,
        refuse: Option<&str>,
    ) -> Result<(u16, Value), Value> {
        match (method, rest) {
            ("GET", []) => Ok((200, self.json(token))),
            ("PUT", []) => {
                let new: Value = serde_json::from_slice(body).unwrap();
                new["name"].as_str().unwrap().clone_into(&mut self.name);
                Ok((202, json!({})))
            }
            ("POST", ["chats"]) => {
                self.chats.push(Vec::new());
                Ok((202, json!({"chat_number": self.chats.len()})))
            }
            ("GET", ["chats"]) => {
                let after = number(query, "after").unwrap_or(0);
                let limit = number(query, "limit").unwrap();
                let all: Vec<_> = (after + 1..=self.chats.len())
                    .map(|chat| self.chat_json(chat))
                    .collect();
                Ok((200, page("chats", "chat_number", &all, limit, json!({}))))
            }
            (_, ["chats", chat, rest @ ..]) => {
                let chat: usize = chat.parse().unwrap();
                if chat > self.chats.len() {
                    return Err(problem(
                        404,
                        "unknown_chat",
                        "the application has no such chat",
                    ));
                }
                self.chat(method, chat, rest, query, body, seen, refuse)
            }
            _ => Err(problem(405, "method_not_allowed", "not here")),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "as above")]
    fn chat(
        &mut self,
        method: &str,
        chat: usize,
        rest: &[&str],
        query: &str,
        body: &[u8],
        seen: &Seen,
        refuse: Option<&str>,
    ) -> Result<(u16, Value), Value> {
        let last = self.chats[chat - 1].len();
        match (method, rest) {
            ("GET", []) => Ok((200, self.chat_json(chat))),
            ("GET", ["messages"]) => Ok((200, self.messages_page(chat, query))),
            ("POST", ["messages"]) => {
                self.chats[chat - 1].push(Some(serde_json::from_slice(body).unwrap()));
                Ok((202, json!({"message_number": last + 1})))
            }
            ("POST", ["messages", "batch"]) => {
                let lines: Vec<&str> = std::str::from_utf8(body).unwrap().lines().collect();
                assert!(lines.len() <= 1_000 && body.len() <= 768 * 1024);
                if let Some(bad) =
                    refuse.and_then(|text| lines.iter().position(|line| line.contains(text)))
                {
                    let mut problem = problem(422, "invalid_value", "the server does not like it");
                    problem["line"] = json!(bad + 1);
                    return Err(problem);
                }
                let messages = lines.iter().map(|line| serde_json::from_str(line).unwrap());
                self.chats[chat - 1].extend(messages);
                Ok((202, json!({"first": last + 1, "last": last + lines.len()})))
            }
            ("GET", ["messages", "stream"]) => {
                let id = seen
                    .header
                    .iter()
                    .find(|(name, _)| name == "last-event-id")
                    .unwrap();
                let after: usize = id.1.parse().unwrap();
                let events = (after + 1..=last).filter_map(|at| self.message_json(chat, at));
                let events = events.map(|message| {
                    format!(
                        "event: message\nid: {}\ndata: {message}\n\n",
                        message["message_number"]
                    )
                });
                Ok((
                    200,
                    Value::String(format!(": hello\n\n{}", events.collect::<String>())),
                ))
            }
            ("GET", ["messages", "search"]) => {
                let text = parameter(query, "q").unwrap();
                Ok((
                    200,
                    json!({"hits": self.hits(chat, &text), "complete": true, "lag_records": 0}),
                ))
            }
            (_, ["messages", message]) => {
                let at: usize = message.parse().unwrap();
                if at > last {
                    return Err(problem(
                        404,
                        "unknown_message",
                        "the chat has no such message",
                    ));
                }
                let shown = self
                    .message_json(chat, at)
                    .ok_or_else(|| problem(410, "gone", "the message is gone"))?;
                match method {
                    "GET" => return Ok((200, shown)),
                    "DELETE" => self.chats[chat - 1][at - 1] = None,
                    _ => {
                        let edit: Value = serde_json::from_slice(body).unwrap();
                        self.chats[chat - 1][at - 1].as_mut().unwrap()["body"] =
                            edit["body"].clone();
                    }
                }
                Ok((202, json!({})))
            }
            _ => Err(problem(405, "method_not_allowed", "not here")),
        }
    }

    fn chat_json(&self, chat: usize) -> Value {
        let live = self.chats[chat - 1].iter().flatten().count();
        json!({"chat_number": chat, "messages_count": live, "created_at": TIME})
    }

    fn message_json(&self, chat: usize, at: usize) -> Option<Value> {
        let message = self.chats[chat - 1].get(at - 1)?.as_ref()?;
        Some(json!({
            "chat_number": chat, "message_number": at, "sender": message["sender"], "body": message["body"],
            "sent_at": message["sent_at"], "created_at": TIME, "updated_at": null, "revision": at,
        }))
    }

    fn messages_page(&self, chat: usize, query: &str) -> Value {
        let last = self.chats[chat - 1].len();
        let limit = number(query, "limit").unwrap();
        let before = number(query, "before");
        let after = number(query, "after").unwrap_or(0);
        let end = before.map_or(last, |before| last.min(before - 1));
        let mut all: Vec<_> = (after + 1..=end)
            .filter_map(|at| self.message_json(chat, at))
            .collect();
        if before.is_some() {
            all.drain(..all.len().saturating_sub(limit));
        }
        page(
            "messages",
            "message_number",
            &all,
            limit,
            json!({"settled_through": last}),
        )
    }

    fn hits(&self, chat: usize, text: &str) -> Vec<Value> {
        let all = (1..=self.chats[chat - 1].len()).filter_map(|at| self.message_json(chat, at));
        let hits = all.filter_map(|mut message| {
            let body = message["body"].as_str().unwrap();
            let start = body[..body.find(text)?].chars().count();
            message["highlights"] = json!([[start, start + text.chars().count()]]);
            Some(message)
        });
        hits.collect()
    }
}

fn page(name: &str, number: &str, all: &[Value], limit: usize, more: Value) -> Value {
    let mut page = more;
    page[name] = json!(&all[..all.len().min(limit)]);
    if all.len() > limit {
        page["next_after"] = all[limit - 1][number].clone();
    }
    page
}

fn parameter(query: &str, name: &str) -> Option<String> {
    let value = query
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    // Parts after a % begin with two hexadecimal digits (WHATWG URL, percent-decoding).
    let value = value.replace('+', " ");
    let mut parts = value.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(code, 16).unwrap());
        bytes.extend(rest.bytes());
    }
    Some(String::from_utf8(bytes).unwrap())
}

fn number(query: &str, name: &str) -> Option<usize> {
    parameter(query, name).map(|value| value.parse().unwrap())
}
