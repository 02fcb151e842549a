//! Search, in one chat or in a whole application.

use chat_wire::ids::{AppToken, ChatNumber};
use chat_wire::search::{SearchPage, Sort};

use crate::chats::chat_path;
use crate::client::Client;
use crate::error::Error;
use crate::http::Call;

/// What to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Any part of a body; every character stands for itself.
    pub text: String,
    /// One chat; the whole application where there is none.
    pub chat: Option<ChatNumber>,
    /// Order of the hits.
    pub sort: Sort,
    /// Most hits on the page.
    pub limit: u32,
    /// Where the page begins: `next_cursor` of the one before.
    pub cursor: Option<String>,
}

impl Client {
    /// `GET …/chats/{chat}/messages/search`, or `GET /search` for the whole application.
    ///
    /// # Errors
    /// Those of every call; see [`Error`].
    pub async fn search(&self, token: AppToken, query: &Query) -> Result<SearchPage, Error> {
        let text = Some(query.text.clone());
        let call = match query.chat {
            Some(chat) => Call::get(chat_path(token, chat, "/messages/search")).query("q", text),
            None => Call::get("/search".to_owned())
                .query("application_token", Some(token.reveal()))
                .query("body", text),
        };
        let sort = match query.sort {
            Sort::Newest => "newest",
            Sort::Number => "number",
        };
        let call = call
            .query("sort", Some(sort.to_owned()))
            .query("limit", Some(query.limit.to_string()))
            .query("cursor", query.cursor.clone());
        self.http.read(&call).await
    }
}
