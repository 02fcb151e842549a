//! Messages: create one or many, read, list, edit, delete, follow.

use bytes::Bytes;
use chat_wire::ids::{AppToken, ChatNumber, MessageNumber};
use chat_wire::messages::{
    BatchCreated, EditMessage, Message, MessageCreated, MessagePage, NewMessage,
};
use reqwest::Method;

use crate::chats::chat_path;
use crate::client::{Client, Create, Created, Read};
use crate::error::Error;
use crate::http::{Call, NDJSON};
use crate::stream::MessageStream;

/// Which part of a chat a page shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// From the first message.
    Start,
    /// The messages above this number.
    After(MessageNumber),
    /// The messages below this number, as near to it as the limit allows.
    Before(MessageNumber),
    /// This message and what is on both sides of it.
    Around(MessageNumber),
}

impl Client {
    /// `POST …/messages`.
    ///
    /// # Errors
    /// Those of every call; see [`Error`].
    pub async fn create_message(
        &self,
        token: AppToken,
        chat: ChatNumber,
        new: &NewMessage,
        create: &Create,
    ) -> Result<Created<MessageCreated>, Error> {
        let call = Call::create(chat_path(token, chat, "/messages"), create).json(new);
        self.http.create(&call).await
    }

    /// `POST …/messages/batch`: all lines or none. `lines` is NDJSON of
    /// [`NewMessage`]s, at most 1,000 of them and 768 KiB.
    ///
    /// # Errors
    /// Those of every call; where one line is refused, the problem's `line` names it, from 1.
    pub async fn create_batch(
        &self,
        token: AppToken,
        chat: ChatNumber,
        lines: Bytes,
        create: &Create,
    ) -> Result<Created<BatchCreated>, Error> {
        let path = chat_path(token, chat, "/messages/batch");
        let call = Call::create(path, create).body(NDJSON, lines);
        self.http.create(&call).await
    }

    /// `GET …/messages/{message}`, waiting until it is stored.
    ///
    /// # Errors
    /// Those of every call; a deleted message or unused number is the problem `gone`.
    pub async fn message(
        &self,
        token: AppToken,
        chat: ChatNumber,
        message: MessageNumber,
    ) -> Result<Message, Error> {
        let path = message_path(token, chat, message);
        self.http.read(&Call::get(path)).await
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// Those of [`Client::message`].
    pub async fn peek_message(
        &self,
        token: AppToken,
        chat: ChatNumber,
        message: MessageNumber,
    ) -> Result<Read<Message>, Error> {
        let path = message_path(token, chat, message);
        self.http.peek(&Call::get(path)).await
    }

    /// `GET …/messages`: one page, in order of number.
    ///
    /// # Errors
    /// Those of every call; see [`Error`].
    pub async fn messages(
        &self,
        token: AppToken,
        chat: ChatNumber,
        span: Span,
        limit: u32,
    ) -> Result<MessagePage, Error> {
        let call = Call::get(chat_path(token, chat, "/messages"));
        let call = match span {
            Span::Start => call,
            Span::After(number) => call.query("after", Some(number.to_string())),
            Span::Before(number) => call.query("before", Some(number.to_string())),
            Span::Around(number) => call.query("around", Some(number.to_string())),
        };
        self.http
            .read(&call.query("limit", Some(limit.to_string())))
            .await
    }

    /// `PUT …/messages/{message}`: the new body is durable, and stored soon after.
    ///
    /// # Errors
    /// Those of every call; see [`Error`].
    pub async fn edit_message(
        &self,
        token: AppToken,
        chat: ChatNumber,
        message: MessageNumber,
        edit: &EditMessage,
    ) -> Result<(), Error> {
        let call = Call::new(Method::PUT, message_path(token, chat, message)).json(edit);
        self.http.send(&call).await.map(drop)
    }

    /// `DELETE …/messages/{message}`: the deletion is durable, and stored soon after.
    ///
    /// # Errors
    /// Those of every call; see [`Error`].
    pub async fn delete_message(
        &self,
        token: AppToken,
        chat: ChatNumber,
        message: MessageNumber,
    ) -> Result<(), Error> {
        let call = Call::new(Method::DELETE, message_path(token, chat, message));
        self.http.send(&call).await.map(drop)
    }

    /// `GET …/messages/stream`: every message above `after`, and then each new one. Nothing is asked until the first `next`.
    #[must_use]
    pub fn stream(&self, token: AppToken, chat: ChatNumber, after: u32) -> MessageStream {
        let path = chat_path(token, chat, "/messages/stream");
        MessageStream::new(self.http.clone(), path, after)
    }
}

fn message_path(token: AppToken, chat: ChatNumber, message: MessageNumber) -> String {
    chat_path(token, chat, &format!("/messages/{message}"))
}
