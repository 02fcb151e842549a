//! The highest number of each chat that an index has ever held.

use std::collections::BTreeMap;

use chat_core::port::store::ChatKey;

use super::schema;
use super::view::View;

impl View {
    /// The highest number of every chat, also of messages that were deleted since, as far as their names have
    /// not been merged away. Reads the names of all messages.
    pub(super) fn highest(&self) -> tantivy::Result<BTreeMap<ChatKey, u32>> {
        let mut highest = BTreeMap::new();
        for segment in &self.segments {
            let mut names = segment.paths.terms().stream()?;
            while names.advance() {
                let Some((chat, number)) = schema::from_message_path(names.key()) else {
                    continue;
                };
                let known = highest.entry(chat).or_insert(0);
                *known = number.max(*known);
            }
        }
        Ok(highest)
    }
}
