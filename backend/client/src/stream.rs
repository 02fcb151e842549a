//! Following a chat: one connection after the other, each going on where the last one ended.

use std::time::Duration;

use chat_wire::messages::{Message, StreamReset};

use crate::error::Error;
use crate::http::Http;
use crate::observer::Event;
use crate::sse::Parser;

/// The server sends at least a heartbeat every 15 s; three missed ones mean a dead connection.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// What a stream tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamEvent {
    /// A message with a number above all before it.
    Message(Box<Message>),
    /// Numbers that were passed are not what they were; whoever wants them has to read the pages again.
    Reset(StreamReset),
}

/// Messages in order of number, each once, across any number of connections.
#[derive(Debug)]
pub struct MessageStream {
    http: Http,
    path: String,
    after: u32,
    /// What the server gave to come back with.
    last_event_id: String,
    connection: Option<reqwest::Response>,
    parser: Parser,
    /// Failures since the last sign of life.
    failures: u32,
    opened: bool,
}

impl MessageStream {
    pub(crate) fn new(http: Http, path: String, after: u32) -> Self {
        Self {
            http,
            path,
            after,
            last_event_id: after.to_string(),
            connection: None,
            parser: Parser::default(),
            failures: 0,
            opened: false,
        }
    }

    /// The next event; connects, and connects again where the connection is lost.
    ///
    /// # Errors
    /// What cannot be mended by connecting again; before the first connection, also failing to connect.
    pub async fn next(&mut self) -> Result<StreamEvent, Error> {
        loop {
            if let Some(event) = self.buffered()? {
                return Ok(event);
            }
            if let Err(error) = self.receive().await {
                self.recover(error).await?;
            }
        }
    }

    /// What has arrived already.
    fn buffered(&mut self) -> Result<Option<StreamEvent>, Error> {
        while let Some(event) = self.parser.next() {
            if !event.id.is_empty() {
                self.last_event_id.clone_from(&event.id);
            }
            match event.name.as_str() {
                "message" => {
                    let message: Message = serde_json::from_str(&event.data)
                        .map_err(|error| self.http.protocol(error.to_string()))?;
                    let number = message.message_number.get();
                    // A server that repeats itself after a reconnection does no harm.
                    if number > self.after {
                        self.after = number;
                        return Ok(Some(StreamEvent::Message(Box::new(message))));
                    }
                }
                "reset" => {
                    // A server that says nothing about where means everywhere.
                    let reset = serde_json::from_str(&event.data).unwrap_or(StreamReset {
                        from: 1,
                        after: self.after,
                    });
                    self.after = reset.after;
                    return Ok(Some(StreamEvent::Reset(reset)));
                }
                // Kinds that are added later are not for us.
                _ => {}
            }
        }
        Ok(None)
    }

    async fn receive(&mut self) -> Result<(), Error> {
        if self.connection.is_none() {
            self.parser = Parser::default();
            self.connection = Some(self.http.open(&self.path, &self.last_event_id).await?);
            self.opened = true;
        }
        let connection = self.connection.as_mut().expect("it was just opened");
        let chunk = tokio::time::timeout(SILENCE_MAX, connection.chunk())
            .await
            .map_err(|_| self.http.timed_out(SILENCE_MAX))?
            .map_err(|error| self.http.unreachable(error))?;
        let Some(chunk) = chunk else {
            return Err(Error::Unreachable {
                url: self.http.address(),
                cause: "the stream ended".to_owned(),
            });
        };
        self.failures = 0;
        self.parser
            .feed(&chunk)
            .map_err(|_| self.http.protocol("an event of the stream is too long"))
    }

    async fn recover(&mut self, error: Error) -> Result<(), Error> {
        self.connection = None;
        let patient = self.opened || self.failures < self.http.retries.most;
        if !error.retryable() || !patient {
            return Err(error);
        }
        let pause = self.http.retries.pause(self.failures, error.retry_after());
        self.http.observer.tell(&Event::Retrying {
            cause: &error,
            after: pause,
        });
        tokio::time::sleep(pause).await;
        self.failures = self.failures.saturating_add(1);
        Ok(())
    }
}
