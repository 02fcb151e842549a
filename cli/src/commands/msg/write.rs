//! `msg create`, `edit` and `delete`.

use std::io::Read;

use chat_wire::ids::{ChatNumber, MessageNumber};
use chat_wire::messages::{EditMessage, NewMessage};
use chat_wire::time::Timestamp;
use clap::Args;
use serde::Serialize;

use crate::commands::create::CreateArgs;
use crate::error::Error;
use crate::output::Record;
use crate::output::table::{Cell, Column, right};
use crate::session::Session;

/// Longest body, in bytes of UTF-8; standard input is not read further than one byte more.
const BODY_BYTES_MAX: u64 = 64 * 1024;

/// Send a message and print its number
#[derive(Debug, Args)]
pub(crate) struct CreateMsg {
    /// Body, 1 byte to 64 KiB; - reads it from standard input, byte for byte
    #[arg(allow_hyphen_values = true)]
    body: Option<String>,
    /// Who says it, at most 255 characters
    #[arg(long, value_name = "NAME")]
    sender: Option<String>,
    /// When it was said, for messages from elsewhere, like 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    sent_at: Option<Timestamp>,
    #[command(flatten)]
    create: CreateArgs,
}

/// Replace the body of a message
#[derive(Debug, Args)]
pub(crate) struct Edit {
    /// Number of the message
    number: MessageNumber,
    /// New body, 1 byte to 64 KiB; - reads it from standard input, byte for byte
    #[arg(allow_hyphen_values = true)]
    body: Option<String>,
}

/// Delete a message; its number is never used again
#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// Number of the message
    number: MessageNumber,
}

/// What edits and deletions print: the API answers without a body.
#[derive(Debug, Serialize)]
struct Changed {
    chat_number: ChatNumber,
    message_number: MessageNumber,
}

impl Record for Changed {
    const FIELDS: &'static [&'static str] = &["chat_number", "message_number"];
    const COLUMNS: &'static [Column] = &[right("CHAT"), right("MESSAGE")];

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::show(self.chat_number),
            Cell::show(self.message_number),
        ]
    }

    fn id(&self) -> String {
        self.message_number.to_string()
    }
}

impl CreateMsg {
    pub(crate) async fn run(self, session: &mut Session) -> Result<(), Error> {
        let (token, chat) = (session.app(None)?, session.chat(None)?);
        let new = NewMessage {
            body: body(session, self.body)?,
            sender: self.sender,
            sent_at: self.sent_at,
        };
        let created = session
            .client()?
            .create_message(token, chat, &new, &self.create.options())
            .await?;
        self.create.report(session, &created);
        session.out.one(&created.value)
    }
}

impl Edit {
    pub(crate) async fn run(self, session: &mut Session) -> Result<(), Error> {
        let (token, chat) = (session.app(None)?, session.chat(None)?);
        let edit = EditMessage {
            body: body(session, self.body)?,
        };
        session
            .client()?
            .edit_message(token, chat, self.number, &edit)
            .await?;
        session.out.one(&Changed {
            chat_number: chat,
            message_number: self.number,
        })
    }
}

impl Delete {
    pub(crate) async fn run(self, session: &mut Session) -> Result<(), Error> {
        let (token, chat) = (session.app(None)?, session.chat(None)?);
        session
            .client()?
            .delete_message(token, chat, self.number)
            .await?;
        session.out.one(&Changed {
            chat_number: chat,
            message_number: self.number,
        })
    }
}

fn body(session: &Session, argument: Option<String>) -> Result<String, Error> {
    match argument {
        Some(text) if text == "-" => read_body(std::io::stdin().lock()),
        Some(text) => Ok(text),
        None => session.ask("body", "an argument, or - to read it from standard input"),
    }
}

fn read_body(input: impl Read) -> Result<String, Error> {
    let mut bytes = Vec::new();
    input
        .take(BODY_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::file("standard input", &error))?;
    if bytes.len() as u64 > BODY_BYTES_MAX {
        let error = Error::failure(
            "standard input has more than 65536 bytes, the most that a body can have",
        );
        return Err(error.with_code("too_large"));
    }
    String::from_utf8(bytes)
        .map_err(|_| Error::failure("standard input is not UTF-8").with_code("invalid_value"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_taken_as_it_is_or_not_at_all() {
        assert_eq!(read_body("a\n".as_bytes()).unwrap(), "a\n");
        let longest = "x".repeat(65_536);
        assert_eq!(read_body(longest.as_bytes()).unwrap(), longest);
        let endless = std::io::repeat(b'x');
        assert_eq!(read_body(endless).unwrap_err().code, "too_large");
        assert!(read_body(&b"\xff"[..]).is_err());
    }
}
