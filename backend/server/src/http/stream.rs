//! `…/messages/stream`: server-sent events that resume where they broke off.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use chat_core::messages::Cursor;
use chat_core::port::signals::{Subject, Subscription};
use chat_core::port::store::ChatKey;
use chat_wire::messages::Message;
use chat_wire::problem::{Code, Problem};
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use crate::http::Api;
use crate::http::extract::InChat;
use crate::http::problem::Refusal;

/// Between two signs of life.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Between two looks without a hint (rule 19).
const REREAD: Duration = Duration::from_secs(1);
/// Messages of one look.
const PAGE: u32 = 256;

struct Reader {
    api: Api,
    chat: ChatKey,
    after: u32,
    subscription: Box<dyn Subscription>,
    heartbeat_at: Instant,
    greeted: bool,
}

pub(super) async fn open(
    State(api): State<Api>,
    InChat(chat): InChat,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let after = match headers.get("last-event-id") {
        None => None,
        Some(value) => Some(
            value
                .to_str()
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| {
                    Problem::new(Code::InvalidParameter, "Last-Event-ID is no message number")
                        .with_field("Last-Event-ID")
                })?,
        ),
    };
    // Listening before reading: what comes in between is heard.
    let subscription = api
        .backend
        .ports()
        .signals
        .subscribe(Subject::Chat(chat.token, chat.chat))
        .await;
    // Also the proof that the chat exists.
    let now = api
        .backend
        .messages(chat, Cursor::After(u32::MAX), 1)
        .await?;
    let reader = Reader {
        api,
        chat,
        after: after.unwrap_or(now.settled_through),
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
        let greeting = format!(": after {}\n\n", reader.after);
        return Some((Ok(greeting.into()), reader));
    }
    loop {
        let page = reader
            .api
            .backend
            .messages(reader.chat, Cursor::After(reader.after), PAGE)
            .await;
        match page {
            Ok(page) => {
                // Without another page everything up to the settled end was seen, deleted ones too.
                let end = page
                    .messages
                    .last()
                    .map(|message| message.message_number.get());
                reader.after = match page.next_after {
                    Some(next) => next.get(),
                    None => page.settled_through.max(end.unwrap_or(0)).max(reader.after),
                };
                if !page.messages.is_empty() {
                    reader.heartbeat_at = Instant::now() + HEARTBEAT;
                    let events: String = page.messages.iter().map(event).collect();
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

fn event(message: &Message) -> String {
    // JSON has no raw line breaks, so one data line holds it.
    let data = serde_json::to_string(message).expect("a message is plain data");
    format!(
        "id: {}\nevent: message\ndata: {data}\n\n",
        message.message_number
    )
}
