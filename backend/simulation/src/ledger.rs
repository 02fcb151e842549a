//! What clients know: what they asked for, when, and what they were answered.

use chat_core::key::StoredKey;
use chat_core::port::store::ChatKey;
use chat_wire::ids::AppToken;
use tokio::time::Instant;

/// What a create makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// An application.
    Application,
    /// A chat of an application.
    Chat(AppToken),
    /// Messages of a chat.
    Messages(ChatKey),
}

/// A number range, or the token of an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Of an application.
    Token(AppToken),
    /// First and last number.
    Numbers(u32, u32),
}

/// One create, with all of its tries.
#[derive(Debug, Clone)]
pub struct Create {
    /// What.
    pub made: Made,
    /// The bodies, each of which occurs nowhere else; the name of an application.
    pub texts: Vec<String>,
    /// With this key.
    pub key: Option<StoredKey>,
    /// When the first try began.
    pub began: Instant,
    /// Every success, and when it was told.
    pub answers: Vec<(Instant, Answer)>,
    /// When a try without an end is over for sure.
    pub tries: u32,
}

impl Create {
    /// What it was answered first.
    #[must_use]
    pub fn answer(&self) -> Option<Answer> {
        self.answers.first().map(|(_, answer)| *answer)
    }
}

/// An edit or a delete.
#[derive(Debug, Clone)]
pub struct Change {
    /// Rank of the create, and of the line in it.
    pub of: (usize, usize),
    /// The new body; `None` for a delete.
    pub body: Option<String>,
    /// When it began.
    pub began: Instant,
    /// When it was acknowledged.
    pub acknowledged: Option<Instant>,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Creates, in the order in which they began.
    pub creates: Vec<Create>,
    /// Edits and deletes.
    pub changes: Vec<Change>,
    /// Broken promises that clients met on the way.
    pub breaches: Vec<String>,
    /// Broken promises that nothing excuses.
    pub certain: Vec<String>,
}

impl Ledger {
    /// Acknowledged applications, in order.
    #[must_use]
    pub fn applications(&self) -> Vec<AppToken> {
        let token = |create: &Create| match create.answer() {
            Some(Answer::Token(token)) => Some(token),
            _ => None,
        };
        self.creates.iter().filter_map(token).collect()
    }

    /// Acknowledged chats, in order.
    #[must_use]
    pub fn chats(&self) -> Vec<ChatKey> {
        let chat = |create: &Create| match (create.made, create.answer()) {
            (Made::Chat(token), Some(Answer::Numbers(number, _))) => Some(ChatKey {
                token,
                chat: chat_wire::ids::ChatNumber::new(number)?,
            }),
            _ => None,
        };
        self.creates.iter().filter_map(chat).collect()
    }

    /// Acknowledged messages: rank of the create, rank of the line, chat and number.
    #[must_use]
    pub fn messages(&self) -> Vec<(usize, usize, ChatKey, u32)> {
        let mut all = Vec::new();
        for (nth, create) in self.creates.iter().enumerate() {
            if let (Made::Messages(chat), Some(Answer::Numbers(first, _))) =
                (create.made, create.answer())
            {
                for line in 0..create.texts.len() {
                    let number = first + u32::try_from(line).unwrap_or(0);
                    all.push((nth, line, chat, number));
                }
            }
        }
        all
    }
}
