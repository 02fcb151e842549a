//! `…/messages/stream`: server-sent events that resume where they broke off.

use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use chat_core::follow::Followed;
use chat_core::port::signals::{Subject, Subscription};
use chat_core::port::store::ChatKey;
use chat_wire::messages::StreamReset;
use chat_wire::problem::{Code, Problem};
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde::Serialize;
use tokio::time::Instant;

use crate::http::Api;
use crate::http::extract::InChat;
use crate::http::problem::Refusal;

/// Between two signs of life.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Between two reads without a hint (invariant: streams-lose-nothing).
const REREAD: Duration = Duration::from_secs(1);
/// Messages of one look.
const PAGE: u32 = 256;

/// How far a reader is: `Last-Event-ID` as a number, or as two with a dot between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// The last number that was sent or passed over.
    after: u32,
    /// How often numbers that readers had passed had become live by then.
    resets: u32,
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        let (after, resets) = text.split_once('.').unwrap_or((text, "0"));
        Some(Self {
            after: after.parse().ok()?,
            resets: resets.parse().ok()?,
        })
    }

    /// Where the reader has to read again, if what is there now is not what the reader has passed.
    fn compare(&mut self, now: &Followed) -> Option<StreamReset> {
        let settled = now.page.settled_through;
        // A store that was rolled back, or a number that nobody gave.
        let beyond = (self.after > settled).then(|| settled.saturating_add(1));
        let again = match now.resets.wrapping_sub(self.resets) {
            0 => None,
            1 => Some(now.reset_from),
            // Which numbers became live before the last time is not known.
            _ => Some(1),
        };
        self.after = self.after.min(settled);
        self.resets = now.resets;
        let again = again.filter(|from| *from <= self.after);
        let from = match (beyond, again) {
            (Some(beyond), Some(again)) => beyond.min(again),
            (one, other) => one.or(other)?,
        };
        Some(StreamReset {
            from,
            after: self.after,
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.resets {
            0 => write!(f, "{}", self.after),
            resets => write!(f, "{}.{resets}", self.after),
        }
    }
}

struct Reader {
    api: Api,
    chat: ChatKey,
    place: Place,
    subscription: Box<dyn Subscription>,
    heartbeat_at: Instant,
    greeted: bool,
}

pub(super) async fn open(
    State(api): State<Api>,
    InChat(chat): InChat,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let place = match headers.get("last-event-id") {
        None => None,
        Some(value) => Some(value.to_str().ok().and_then(Place::parse).ok_or_else(|| {
            Problem::new(Code::InvalidParameter, "Last-Event-ID is no id of an event")
                .with_field("Last-Event-ID")
        })?),
    };
    // Listening before reading: what comes in between is heard.
    let subscription = api
        .backend
        .ports()
        .signals
        .subscribe(Subject::Chat(chat.token, chat.chat))
        .await;
    // Also the proof that the chat exists.
    let now = api.backend.follow(chat, u32::MAX, 1).await?;
    let end = Place {
        after: now.page.settled_through,
        resets: now.resets,
    };
    let reader = Reader {
        api,
        chat,
        place: place.unwrap_or(end),
        subscription,
        heartbeat_at: Instant::now() + HEARTBEAT,
        greeted: false,
    };
    let mut response = Response::new(Body::from_stream(stream::unfold(reader, next)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn next(mut reader: Reader) -> Option<(Result<Bytes, Infallible>, Reader)> {
    // The first bytes at once: a client knows then that the stream stands, and where it begins.
    if !reader.greeted {
        reader.greeted = true;
        let greeting = format!(": after {}\n\n", reader.place.after);
        return Some((Ok(greeting.into()), reader));
    }
    loop {
        let backend = &reader.api.backend;
        match backend.follow(reader.chat, reader.place.after, PAGE).await {
            Ok(followed) => {
                if let Some(events) = reader.place.events(&followed) {
                    reader.heartbeat_at = Instant::now() + HEARTBEAT;
                    return Some((Ok(events.into()), reader));
                }
            }
            Err(error) => tracing::warn!(%error, "a stream waits for the store"),
        }
        if Instant::now() >= reader.heartbeat_at {
            reader.heartbeat_at = Instant::now() + HEARTBEAT;
            return Some((Ok(Bytes::from_static(b": alive\n\n")), reader));
        }
        let until = (Instant::now() + REREAD).min(reader.heartbeat_at);
        tokio::select! {
            () = reader.api.stop.cancelled() => return None,
            () = reader.subscription.changed() => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }
}

impl Place {
    /// What a reader is told who is here, and moves on with it; `None` for nothing.
    fn events(&mut self, followed: &Followed) -> Option<String> {
        if let Some(reset) = self.compare(followed) {
            // The page may have begun behind where the reader goes on: the next look sends the rest.
            return Some(event(*self, "reset", &reset));
        }
        let page = &followed.page;
        let mut events = String::new();
        for message in &page.messages {
            self.after = message.message_number.get();
            events += &event(*self, "message", message);
        }
        // Without another page everything up to the settled end was seen, deleted ones too.
        if page.next_after.is_none() {
            self.after = page.settled_through.max(self.after);
        }
        (!events.is_empty()).then_some(events)
    }
}

fn event(id: Place, kind: &str, data: &impl Serialize) -> String {
    // JSON has no raw line breaks, so one data line holds it.
    let data = serde_json::to_string(data).expect("events are plain data");
    format!("id: {id}\nevent: {kind}\ndata: {data}\n\n")
}

#[cfg(test)]
mod tests {
    use chat_wire::messages::MessagePage;

    use super::*;

    fn followed(settled_through: u32, resets: u32, reset_from: u32) -> Followed {
        Followed {
            page: MessagePage {
                messages: Vec::new(),
                settled_through,
                next_after: None,
                next_before: None,
            },
            resets,
            reset_from,
        }
    }

    fn told(id: &str, followed: &Followed) -> (Option<(u32, u32)>, String) {
        let mut place = Place::parse(id).unwrap();
        let reset = place.compare(followed);
        let reset = reset.map(|reset| (reset.from, reset.after));
        (reset, place.to_string())
    }

    #[test]
    fn a_reader_is_reset_where_what_he_passed_is_not_what_it_was() {
        let quiet = followed(10, 0, 0);
        assert_eq!(told("7", &quiet), (None, "7".into()));
        assert_eq!(told("10", &quiet), (None, "10".into()));
        assert_eq!(told("1000", &quiet), (Some((11, 10)), "10".into()));
        let one = followed(10, 1, 5);
        assert_eq!(told("7", &one), (Some((5, 7)), "7.1".into()));
        assert_eq!(told("7.1", &one), (None, "7.1".into()));
        // It is still to come for this reader.
        assert_eq!(told("4", &one), (None, "4.1".into()));
        assert_eq!(told("1000", &one), (Some((5, 10)), "10.1".into()));
        let many = followed(10, 4, 9);
        assert_eq!(told("7.3", &many), (None, "7.4".into()));
        assert_eq!(told("9.3", &many), (Some((9, 9)), "9.4".into()));
        assert_eq!(told("7.2", &many), (Some((1, 7)), "7.4".into()));
        // The store has gone back.
        assert_eq!(told("7.5", &many), (Some((1, 7)), "7.4".into()));
        for id in [
            "",
            ".",
            "1.",
            ".1",
            "1.2.3",
            "x",
            "-1",
            "1.-1",
            "4294967296",
        ] {
            assert_eq!(Place::parse(id), None, "{id}");
        }
    }
}
