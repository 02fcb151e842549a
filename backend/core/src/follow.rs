//! Following: what a reader of a chat is given, one page after the other.

use chat_wire::messages::MessagePage;

use crate::backend::Backend;
use crate::error::Error;
use crate::messages::Cursor;
use crate::port::store::ChatKey;

/// What a reader is given who follows a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// What comes next.
    pub page: MessagePage,
    /// How often a number became live that readers had passed.
    pub resets: u32,
    /// The lowest of those the last time.
    pub reset_from: u32,
}

impl Backend {
    /// The page behind `after`, and how often the chat has had numbers become live that readers had
    /// passed: for whoever follows the chat.
    ///
    /// # Errors
    /// As [`Backend::messages`].
    pub async fn follow(&self, chat: ChatKey, after: u32, limit: u32) -> Result<Followed, Error> {
        // The row before the page: what becomes live in between is found by the next call.
        let row = self.ports().store.chat(chat).await?;
        let chat_row = row.as_ref();
        let (resets, reset_from) = chat_row.map_or((0, 0), |row| (row.resets, row.reset_from));
        let settled = row.map(|row| row.settled_through);
        Ok(Followed {
            page: self
                .page(chat, settled, Cursor::After(after), limit)
                .await?,
            resets,
            reset_from,
        })
    }
}
