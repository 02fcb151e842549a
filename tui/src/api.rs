//! Everything that is asked of the server, as values: `update` says what, [`perform`] does it.

use chat_client::admin::{Admin, DriftQuery, LagQuery, LetterQuery};
use chat_client::client::Client;
use chat_client::error::Error;
use chat_client::messages::Span;
use chat_client::search::Query;
use chat_wire::admin::doctor::Diagnosis;
use chat_wire::admin::drift::DriftPage;
use chat_wire::admin::lag::Lag;
use chat_wire::admin::stats::Stats;
use chat_wire::admin::{ApplicationPage, dlq, reconcile};
use chat_wire::chats::ChatPage;
use chat_wire::ids::{AppToken, ChatNumber};
use chat_wire::messages::MessagePage;
use chat_wire::search::SearchPage;

use crate::failure::Failure;

/// The two listeners of a server.
#[derive(Debug, Clone)]
pub struct Api {
    /// The admin listener.
    pub admin: Admin,
    /// The API, for messages and search.
    pub client: Client,
}

/// A source of data. Each has at most one request under way, and its own state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    /// `/admin/stats`.
    Stats,
    /// `/admin/lag`, with partitions.
    Lag,
    /// `/admin/drift`.
    Drift,
    /// `/admin/reconcile`.
    Runs,
    /// `/admin/dlq`.
    Letters,
    /// `/admin/dlq/{id}`.
    Letter,
    /// `/admin/doctor`.
    Doctor,
    /// Messages of the chat that was opened from the counters.
    CounterMessages,
    /// Messages around a hit.
    HitMessages,
    /// A search.
    Hits,
    /// `/admin/applications`, to choose from.
    Applications,
    /// The chats of an application, to choose from.
    Chats,
}

impl Slot {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Stats,
        Self::Lag,
        Self::Drift,
        Self::Runs,
        Self::Letters,
        Self::Letter,
        Self::Doctor,
        Self::CounterMessages,
        Self::HitMessages,
        Self::Hits,
        Self::Applications,
        Self::Chats,
    ];

    /// What it asks for, as it is named to the user.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Stats => "/admin/stats",
            Self::Lag => "/admin/lag",
            Self::Drift => "/admin/drift",
            Self::Runs => "/admin/reconcile",
            Self::Letters | Self::Letter => "/admin/dlq",
            Self::Doctor => "/admin/doctor",
            Self::CounterMessages | Self::HitMessages => "messages",
            Self::Hits => "search",
            Self::Applications => "/admin/applications",
            Self::Chats => "chats",
        }
    }
}

/// A call that reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// See [`Admin::stats`].
    Stats,
    /// See [`Admin::lag_of`].
    Lag(LagQuery),
    /// See [`Admin::drift`].
    Drift(DriftQuery),
    /// See [`Admin::runs`].
    Runs,
    /// See [`Admin::letters`].
    Letters(LetterQuery),
    /// See [`Admin::letter`].
    Letter(String),
    /// See [`Admin::doctor`].
    Doctor,
    /// See [`Client::messages`].
    Messages {
        /// The application.
        token: AppToken,
        /// The chat.
        chat: ChatNumber,
        /// Which part of it.
        span: Span,
        /// At most so many.
        limit: u32,
    },
    /// See [`Client::search`].
    Search {
        /// The application.
        token: AppToken,
        /// What to look for.
        query: Query,
    },
    /// See [`Admin::applications`].
    Applications {
        /// Those above this one.
        after: Option<AppToken>,
        /// At most so many.
        limit: u32,
    },
    /// See [`Client::chats`].
    Chats {
        /// The application.
        token: AppToken,
        /// Those above this one.
        after: Option<ChatNumber>,
        /// At most so many.
        limit: u32,
    },
}

/// What a [`Request`] gave.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// To [`Request::Stats`].
    Stats(Box<Stats>),
    /// To [`Request::Lag`].
    Lag(Lag),
    /// To [`Request::Drift`].
    Drift(DriftPage),
    /// To [`Request::Runs`].
    Runs(Box<reconcile::Runs>),
    /// To [`Request::Letters`].
    Letters(dlq::LetterPage),
    /// To [`Request::Letter`].
    Letter(Box<dlq::LetterWithBytes>),
    /// To [`Request::Doctor`].
    Doctor(Diagnosis),
    /// To [`Request::Messages`].
    Messages(MessagePage),
    /// To [`Request::Search`].
    Hits(SearchPage),
    /// To [`Request::Applications`].
    Applications(ApplicationPage),
    /// To [`Request::Chats`].
    Chats(ChatPage),
}

/// A call that acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// See [`Admin::reconcile`]: a plan, or carrying it out.
    Reconcile(reconcile::Order),
    /// See [`Admin::cancel_reconcile`].
    CancelReconcile,
    /// See [`Admin::replay`].
    Replay(dlq::Order),
    /// See [`Admin::discard`].
    Discard(dlq::Order),
}

/// What an [`Act`] gave.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// A run has begun.
    Started(Box<reconcile::Run>),
    /// The run at work was asked to end.
    Cancelling,
    /// So many letters were replayed.
    Replayed(dlq::Decision),
    /// So many letters were discarded.
    Discarded(dlq::Decision),
}

/// Asks the server.
///
/// # Errors
/// Whatever went wrong, for the screen.
pub async fn perform(api: &Api, slot: Slot, request: Request) -> Result<Answer, Failure> {
    ask(api, request)
        .await
        .map_err(|error| Failure::of(&error, slot.path()))
}

async fn ask(api: &Api, request: Request) -> Result<Answer, Error> {
    let Api { admin, client } = api;
    Ok(match request {
        Request::Stats => Answer::Stats(Box::new(admin.stats().await?)),
        Request::Lag(query) => Answer::Lag(admin.lag_of(&query).await?),
        Request::Drift(query) => Answer::Drift(admin.drift(&query).await?),
        Request::Runs => Answer::Runs(Box::new(admin.runs().await?)),
        Request::Letters(query) => Answer::Letters(admin.letters(&query).await?),
        Request::Letter(id) => Answer::Letter(Box::new(admin.letter(&id).await?)),
        Request::Doctor => Answer::Doctor(admin.doctor().await?),
        Request::Messages {
            token,
            chat,
            span,
            limit,
        } => Answer::Messages(client.messages(token, chat, span, limit).await?),
        Request::Search { token, query } => Answer::Hits(client.search(token, &query).await?),
        Request::Applications { after, limit } => {
            Answer::Applications(admin.applications(after, limit).await?)
        }
        Request::Chats {
            token,
            after,
            limit,
        } => Answer::Chats(client.chats(token, after, limit).await?),
    })
}

/// Carries out what the user confirmed.
///
/// # Errors
/// Whatever went wrong, for the screen.
pub async fn act(api: &Api, act: Act) -> Result<Outcome, Failure> {
    let admin = &api.admin;
    let (what, outcome) = match act {
        Act::Reconcile(order) => (
            Slot::Runs.path(),
            admin
                .reconcile(&order)
                .await
                .map(|run| Outcome::Started(Box::new(run))),
        ),
        Act::CancelReconcile => (
            Slot::Runs.path(),
            admin.cancel_reconcile().await.map(|_| Outcome::Cancelling),
        ),
        Act::Replay(order) => (
            Slot::Letters.path(),
            admin.replay(&order).await.map(Outcome::Replayed),
        ),
        Act::Discard(order) => (
            Slot::Letters.path(),
            admin.discard(&order).await.map(Outcome::Discarded),
        ),
    };
    outcome.map_err(|error| Failure::of(&error, what))
}
