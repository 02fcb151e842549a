//! Walking: along everything, along what changed, along one application.

use chat_wire::ids::AppToken;

use super::book::Spot;
use crate::backend::Backend;
use crate::error::Error;
use crate::port::store::ChatKey;

/// Applications of one look.
const APPLICATIONS: u32 = 100;

/// A piece of the way along all applications and their chats, in order of key.
#[derive(Debug, Default)]
pub(super) struct Stretch {
    /// Applications that begin in it.
    pub(super) tokens: Vec<AppToken>,
    /// Chats, with the highest number that their row names.
    pub(super) chats: Vec<(ChatKey, u32)>,
    /// Where the next one begins; `None` at the end.
    pub(super) next: Option<Spot>,
}

impl Stretch {
    /// As much of it as has about so many messages, and a chat at least; what is cut off comes next.
    pub(super) fn within(mut self, messages: u64) -> Self {
        let mut before = 0_u64;
        let full = self.chats.iter().position(|(_, highest)| {
            let full = before >= messages;
            before = before.saturating_add(u64::from(*highest));
            full
        });
        if let Some(kept) = full.map(|first| first.max(1))
            && let Some((last, _)) = self.chats.get(kept - 1)
        {
            self.next = Some(Spot {
                token: last.token,
                after: last.chat.get(),
            });
            self.chats.truncate(kept);
        }
        self
    }
}

impl Backend {
    /// About so many chats from a spot on.
    pub(super) async fn walk_on(&self, from: Option<Spot>, chats: u32) -> Result<Stretch, Error> {
        let store = &self.ports().store;
        let mut stretch = Stretch::default();
        if let Some(spot) = from {
            stretch.next = self
                .add_chats(&mut stretch.chats, spot.token, spot.after, chats)
                .await?;
            if stretch.next.is_some() {
                return Ok(stretch);
            }
        }
        let mut after = from.map(|spot| spot.token);
        loop {
            let applications = store.applications(after, APPLICATIONS).await?;
            for row in &applications {
                stretch.tokens.push(row.token);
                after = Some(row.token);
                let left = chats.saturating_sub(u32::try_from(stretch.chats.len()).unwrap_or(0));
                let next = self
                    .add_chats(&mut stretch.chats, row.token, 0, left.max(1))
                    .await?;
                let full = stretch.chats.len() >= chats as usize
                    || stretch.tokens.len() >= APPLICATIONS as usize;
                // Behind the last chat of this application, whether it has more or not.
                let end = Spot {
                    token: row.token,
                    after: u32::MAX,
                };
                stretch.next = next.or(Some(end).filter(|_| full));
                if stretch.next.is_some() {
                    return Ok(stretch);
                }
            }
            if applications.len() < APPLICATIONS as usize {
                return Ok(stretch);
            }
        }
    }

    /// Chats of one application; tells where to go on where there may be more.
    pub(super) async fn add_chats(
        &self,
        to: &mut Vec<(ChatKey, u32)>,
        token: AppToken,
        after: u32,
        limit: u32,
    ) -> Result<Option<Spot>, Error> {
        let rows = self.ports().store.chats(token, after, limit).await?;
        let more = rows.len() >= limit as usize;
        let last = rows.last().map(|row| row.key.chat.get());
        to.extend(rows.into_iter().map(|row| (row.key, row.highest)));
        Ok(last.filter(|_| more).map(|after| Spot { token, after }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat_wire::ids::ChatNumber;

    fn stretch(highest: &[u32]) -> Stretch {
        let token = AppToken::from_bytes([1; 16]);
        let chats = (1..).zip(highest).map(|(chat, highest)| {
            let chat = ChatNumber::new(chat).unwrap();
            (ChatKey { token, chat }, *highest)
        });
        Stretch {
            tokens: vec![token],
            chats: chats.collect(),
            next: None,
        }
    }

    fn cut(highest: &[u32], messages: u64) -> (usize, Option<u32>) {
        let cut = stretch(highest).within(messages);
        (cut.chats.len(), cut.next.map(|spot| spot.after))
    }

    #[test]
    fn a_stretch_has_no_more_messages_than_wanted_and_one_chat() {
        assert_eq!(cut(&[10, 10, 10], u64::MAX), (3, None));
        assert_eq!(cut(&[10, 10, 10], 30), (3, None));
        assert_eq!(cut(&[10, 10, 10], 20), (2, Some(2)));
        assert_eq!(cut(&[10, 10, 10], 11), (2, Some(2)));
        assert_eq!(cut(&[1_000, 1], 5), (1, Some(1)));
        assert_eq!(cut(&[1_000], 0), (1, Some(1)));
        assert_eq!(cut(&[], 0), (0, None));
    }
}
