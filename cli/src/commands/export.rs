//! `chatctl export`: everything that `import` needs to make it again.

use chat_client::client::Client;
use chat_client::error::Error as ClientError;
use chat_client::messages::Span;
use chat_wire::ids::{AppToken, ChatNumber, MessageNumber};
use chat_wire::messages::Message;
use chat_wire::problem::Code;
use chat_wire::time::Timestamp;
use clap::Args;
use serde::Serialize;

use crate::error::Error;
use crate::exit::Exit;
use crate::output::text::grouped;
use crate::output::{Format, Out};
use crate::session::Session;

/// Messages on one page: few enough that a page of the longest bodies stays small in memory.
const PAGE_MESSAGES: u32 = 500;
/// Chats on one page.
const PAGE_CHATS: u32 = 1_000;

/// Print all messages of an application, or of one chat, as NDJSON that import reads
///
/// One object a line, in order of chat and number: chat, message_number, sender, sent_at and
/// body. A chat without messages is the line {"chat":N,"empty":true}, so that an import gives
/// every chat its number again. Everything that was acknowledged before the export began is in
/// it, stored or not. Deleted messages are not, and their numbers cannot be made again: an
/// import numbers the messages after them lower.
#[derive(Debug, Args)]
pub(crate) struct Export {}

#[derive(Serialize)]
struct Line<'a> {
    chat: ChatNumber,
    message_number: MessageNumber,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_at: Option<Timestamp>,
    body: &'a str,
}

#[derive(Serialize)]
struct EmptyLine {
    chat: ChatNumber,
    empty: bool,
}

struct Exporter<'a> {
    client: Client,
    token: AppToken,
    out: &'a mut Out,
    /// Numbers that have no message any more.
    missing: u64,
}

/// What is at a number that no page has shown.
enum Probe {
    /// It was handed out, and is stored by now.
    Stored,
    /// It was handed out, and there is nothing any more.
    Gone,
    /// It was not handed out.
    End,
}

impl Export {
    pub(crate) async fn run(self, session: &mut Session) -> Result<Exit, Error> {
        let format = session.settings.format;
        if session.settings.format_is_flag && !format.is_json() && format != Format::Table {
            return Err(Error::usage("an export is always NDJSON"));
        }
        let token = session.app(None)?;
        let chat = session.settings.chat;
        let mut exporter = Exporter {
            client: session.client()?,
            token,
            out: &mut session.out,
            missing: 0,
        };
        match chat {
            Some(chat) => {
                exporter.chat(chat).await?;
            }
            None => exporter.application().await?,
        }
        exporter.out.flush()?;
        let missing = exporter.missing;
        if missing > 0 {
            let missing = grouped(missing);
            session.remark(&format!(
                "{missing} deleted or unused numbers are left out; an import gives the messages after them lower numbers"
            ));
        }
        Ok(Exit::Ok)
    }
}

impl Exporter<'_> {
    async fn application(&mut self) -> Result<(), Error> {
        let mut last = 0;
        loop {
            let page = self
                .client
                .chats(self.token, ChatNumber::new(last), PAGE_CHATS)
                .await?;
            for chat in &page.chats {
                let number = chat.chat_number;
                // A chat that was never stored keeps its number by being empty.
                self.empty_chats(last + 1, number.get() - 1)?;
                if !self.chat(number).await? {
                    self.empty_chats(number.get(), number.get())?;
                }
                last = number.get();
            }
            if page.next_after.is_some() && !page.chats.is_empty() {
                continue;
            }
            let Some(next) = last.checked_add(1).and_then(ChatNumber::new) else {
                return Ok(());
            };
            match probe(self.client.chat(self.token, next).await)? {
                Probe::Stored => {}
                Probe::Gone => {
                    self.empty_chats(next.get(), next.get())?;
                    last = next.get();
                }
                Probe::End => return Ok(()),
            }
        }
    }

    /// Prints one chat; `false` where it has no messages.
    async fn chat(&mut self, chat: ChatNumber) -> Result<bool, Error> {
        let (mut last, mut any) = (0, false);
        loop {
            let span = MessageNumber::new(last).map_or(Span::Start, Span::After);
            let page = self
                .client
                .messages(self.token, chat, span, PAGE_MESSAGES)
                .await?;
            for message in &page.messages {
                let number = message.message_number.get();
                self.missing += u64::from(number - last - 1);
                last = number;
                any = true;
                self.print(message)?;
            }
            if page.next_after.is_some() && !page.messages.is_empty() {
                continue;
            }
            // Up to here nothing can appear any more.
            if page.settled_through > last {
                self.missing += u64::from(page.settled_through - last);
                last = page.settled_through;
            }
            let Some(next) = last.checked_add(1).and_then(MessageNumber::new) else {
                return Ok(any);
            };
            match probe(self.client.message(self.token, chat, next).await)? {
                Probe::Stored => {}
                Probe::Gone => {
                    self.missing += 1;
                    last = next.get();
                }
                Probe::End => return Ok(any),
            }
        }
    }

    fn print(&mut self, message: &Message) -> Result<(), Error> {
        self.out.json_line(&Line {
            chat: message.chat_number,
            message_number: message.message_number,
            sender: message.sender.as_deref(),
            sent_at: message.sent_at,
            body: &message.body,
        })
    }

    fn empty_chats(&mut self, first: u32, last: u32) -> Result<(), Error> {
        for chat in (first..=last).filter_map(ChatNumber::new) {
            self.out.json_line(&EmptyLine { chat, empty: true })?;
        }
        Ok(())
    }
}

fn probe<T>(read: Result<T, ClientError>) -> Result<Probe, Error> {
    match read {
        Ok(_) => Ok(Probe::Stored),
        Err(error) => match error.code() {
            Some(Code::Gone) => Ok(Probe::Gone),
            Some(Code::UnknownChat | Code::UnknownMessage) => Ok(Probe::End),
            _ => Err(error.into()),
        },
    }
}
