//! Chats: create, read, list.

use chat_wire::chats::{Chat, ChatCreated, ChatPage};
use chat_wire::ids::{AppToken, ChatNumber};

use crate::client::{Client, Create, Created, Read};
use crate::error::Error;
use crate::http::{Call, application_path};

impl Client {
    /// `POST /applications/{token}/chats`.
    ///
    /// # Errors
    /// Those of every call; see [`Error`].
    pub async fn create_chat(
        &self,
        token: AppToken,
        create: &Create,
    ) -> Result<Created<ChatCreated>, Error> {
        let call = Call::create(application_path(token, "/chats"), create);
        self.http.create(&call).await
    }

    /// `GET /applications/{token}/chats/{chat}`, waiting until it is stored.
    ///
    /// # Errors
    /// Those of every call; see [`Error`].
    pub async fn chat(&self, token: AppToken, chat: ChatNumber) -> Result<Chat, Error> {
        self.http.read(&Call::get(chat_path(token, chat, ""))).await
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// Those of every call; see [`Error`].
    pub async fn peek_chat(&self, token: AppToken, chat: ChatNumber) -> Result<Read<Chat>, Error> {
        self.http.peek(&Call::get(chat_path(token, chat, ""))).await
    }

    /// `GET /applications/{token}/chats`: one page, of the chats above `after`.
    ///
    /// # Errors
    /// Those of every call; see [`Error`].
    pub async fn chats(
        &self,
        token: AppToken,
        after: Option<ChatNumber>,
        limit: u32,
    ) -> Result<ChatPage, Error> {
        let call = Call::get(application_path(token, "/chats"))
            .query("after", after.map(|after| after.to_string()))
            .query("limit", Some(limit.to_string()));
        self.http.read(&call).await
    }
}

/// The path of a chat and what is below it.
pub(crate) fn chat_path(token: AppToken, chat: ChatNumber, below: &str) -> String {
    application_path(token, &format!("/chats/{chat}{below}"))
}
