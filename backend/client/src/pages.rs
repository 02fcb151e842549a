//! Walking through pages, one at a time.

use chat_wire::admin::ApplicationPage;
use chat_wire::admin::dlq::LetterPage;
use chat_wire::chats::ChatPage;
use chat_wire::ids::{AppToken, ChatNumber, MessageNumber};
use chat_wire::messages::MessagePage;
use chat_wire::search::SearchPage;

use crate::error::Error;

/// A part of a list that says where the next part begins.
pub trait Page {
    /// Names a place in the list.
    type Cursor: Clone;

    /// Where the next page begins; `None` on the last.
    fn next(&self) -> Option<Self::Cursor>;
}

impl Page for ApplicationPage {
    type Cursor = AppToken;

    fn next(&self) -> Option<AppToken> {
        self.next_after
    }
}

impl Page for LetterPage {
    type Cursor = String;

    fn next(&self) -> Option<String> {
        self.next_after.clone()
    }
}

impl Page for ChatPage {
    type Cursor = ChatNumber;

    fn next(&self) -> Option<ChatNumber> {
        self.next_after
    }
}

impl Page for MessagePage {
    type Cursor = MessageNumber;

    fn next(&self) -> Option<MessageNumber> {
        self.next_after
    }
}

impl Page for SearchPage {
    type Cursor = String;

    fn next(&self) -> Option<String> {
        self.next_cursor.clone()
    }
}

/// Calls `fetch` with each cursor in turn and `take` with each page, until the last page or until `take` says `false`.
///
/// # Errors
/// The first of `fetch` or `take`.
pub async fn walk<P: Page, E: From<Error>>(
    mut cursor: Option<P::Cursor>,
    mut fetch: impl AsyncFnMut(Option<P::Cursor>) -> Result<P, Error>,
    mut take: impl FnMut(P) -> Result<bool, E>,
) -> Result<(), E> {
    loop {
        let page = fetch(cursor.take()).await?;
        cursor = page.next();
        if !take(page)? || cursor.is_none() {
            return Ok(());
        }
    }
}
