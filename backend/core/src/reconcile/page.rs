//! Pages of comparisons: applications, or the chats of one, worst first.
//!
//! What is compared for a page is a window of bounded work; sorted is what is in it. Where the window
//! is the whole, the page is sorted as a whole.

use std::cmp::Reverse;
use std::time::Duration;

use chat_wire::admin::drift::{Drift, DriftPage, Summary, Verdict};
use chat_wire::ids::{AppToken, ChatNumber};
use tokio::time::Instant;

use super::compare::Depth;
use super::judge::Compared;
use crate::backend::Backend;
use crate::error::Error;
use crate::limits::Broken;
use crate::port::store::ChatKey;

/// Chats that one window compares.
const WINDOW_CHATS: u32 = 2_000;
/// Applications that one window compares.
const WINDOW_APPLICATIONS: u32 = 1_000;
/// Chats that are compared together.
const BATCH: usize = 200;
/// How long a batch waits for the index to read on.
const PATIENCE: Duration = Duration::from_millis(300);
/// How long windows without an answer are followed by others within one request.
const SEARCH: Duration = Duration::from_secs(2);

/// Which comparisons are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// The chats of this application; without it, applications.
    pub token: Option<AppToken>,
    /// Only this chat of it.
    pub chat: Option<ChatNumber>,
    /// Only rows with this verdict.
    pub verdict: Option<Verdict>,
    /// Only rows for which a run has something to do.
    pub drifted: bool,
    /// Where the page before ended.
    pub after: Option<String>,
    /// At most so many rows.
    pub limit: u32,
}

/// What one window holds.
struct Window {
    rows: Vec<Drift>,
    /// Where the next one begins.
    next: Option<String>,
}

impl Backend {
    /// Compares now, and shows a page of it.
    ///
    /// # Errors
    /// [`Error::UnknownApplication`], [`Error::UnknownChat`] and [`Error::Invalid`] where the wish names
    /// nothing; those of the store. What another engine does not answer is unknown in the page.
    pub async fn drift(&self, wish: &Wish) -> Result<DriftPage, Error> {
        let _looking = self.reconciler().looking.lock().await;
        match (wish.token, wish.chat) {
            (None, Some(_)) => Err(Broken::new("token", "must be given with a chat").into()),
            (Some(token), Some(chat)) => self.drift_of(ChatKey { token, chat }, wish).await,
            (_, None) => self.drift_in_windows(wish).await,
        }
    }

    async fn drift_of(&self, chat: ChatKey, wish: &Wish) -> Result<DriftPage, Error> {
        let compared = self.look(&[chat], Depth::Each).await?;
        if compared.is_empty() {
            return Err(match self.ports().store.application(chat.token).await? {
                Some(_) => Error::UnknownChat,
                None => Error::UnknownApplication,
            });
        }
        let mut page = self.empty_page();
        for drift in &compared {
            page.summary.add(drift.verdict);
        }
        page.rows = compared;
        page.rows.retain(|row| wanted(row, wish));
        Ok(page)
    }

    /// Fills a page from one window, or from the next ones where the first has nothing that is wanted.
    async fn drift_in_windows(&self, wish: &Wish) -> Result<DriftPage, Error> {
        let began = Instant::now();
        let broken = || Error::from(Broken::new("after", "must be that of an earlier page"));
        let (mut start, mut skip) = match &wish.after {
            None => (String::new(), 0),
            Some(after) => {
                let (start, shown) = after.split_once(':').ok_or_else(broken)?;
                let shown: usize = shown.parse().map_err(|_| broken())?;
                (start.to_owned(), shown)
            }
        };
        let mut page = self.empty_page();
        loop {
            let window = match wish.token {
                Some(token) => {
                    let after = match start.as_str() {
                        "" => 0,
                        after => after.parse().map_err(|_| broken())?,
                    };
                    self.window_of_chats(token, after).await?
                }
                None => {
                    let after = match start.as_str() {
                        "" => None,
                        after => Some(after.parse().map_err(|_| broken())?),
                    };
                    self.window_of_applications(after).await?
                }
            };
            // A page that goes on within a window counts nothing again: the pages add up.
            if skip == 0 {
                for row in &window.rows {
                    page.summary.add(row.verdict);
                }
            }
            let mut rows = window.rows;
            rows.retain(|row| wanted(row, wish));
            rows.sort_by_key(|row| (Reverse(row.verdict), row.token, row.chat));
            let total = rows.len();
            page.rows = rows
                .into_iter()
                .skip(skip)
                .take(wish.limit as usize)
                .collect();
            let shown = skip + page.rows.len();
            if shown < total {
                page.next_after = Some(format!("{start}:{shown}"));
                return Ok(page);
            }
            let Some(next) = window.next else {
                return Ok(page);
            };
            if !page.rows.is_empty() || began.elapsed() >= SEARCH {
                page.next_after = Some(format!("{next}:0"));
                return Ok(page);
            }
            (start, skip) = (next, 0);
        }
    }

    async fn window_of_chats(&self, token: AppToken, after: u32) -> Result<Window, Error> {
        if self.ports().store.application(token).await?.is_none() {
            return Err(Error::UnknownApplication);
        }
        let mut chats = Vec::new();
        let next = self
            .add_chats(&mut chats, token, after, WINDOW_CHATS)
            .await?;
        let keys: Vec<ChatKey> = chats.into_iter().map(|(key, _)| key).collect();
        Ok(Window {
            rows: self.look(&keys, Depth::Counts).await?,
            next: next.map(|spot| spot.after.to_string()),
        })
    }

    /// Applications with all their chats. One that has more chats than a window is compared with the
    /// first of them, and says so.
    async fn window_of_applications(&self, after: Option<AppToken>) -> Result<Window, Error> {
        let store = &self.ports().store;
        let applications = store.applications(after, WINDOW_APPLICATIONS).await?;
        let (mut tokens, mut chats) = (Vec::new(), Vec::new());
        let mut cut: Option<AppToken> = None;
        for row in &applications {
            let room = WINDOW_CHATS.saturating_sub(u32::try_from(chats.len()).unwrap_or(u32::MAX));
            let mut of_this = Vec::new();
            let more = self
                .add_chats(&mut of_this, row.token, 0, room.max(1))
                .await?;
            if more.is_some() && !tokens.is_empty() {
                break;
            }
            cut = cut.or(more.map(|_| row.token));
            tokens.push(row.token);
            chats.extend(of_this.into_iter().map(|(key, _)| key));
        }
        let is_last =
            tokens.len() == applications.len() && applications.len() < WINDOW_APPLICATIONS as usize;
        let next = tokens.last().filter(|_| !is_last).map(AppToken::reveal);
        let of_chats = self.look(&chats, Depth::Counts).await?;
        let mut rows = Vec::with_capacity(tokens.len());
        for Compared { mut drift, .. } in self.compare_applications(&tokens).await? {
            let token = drift.token;
            fold(
                &mut drift,
                of_chats.iter().filter(|chat| chat.token == token),
            );
            if cut == Some(token) {
                drift.documents = None;
                drift.details.push(format!(
                    "only its first {WINDOW_CHATS} chats are compared here; ask for its chats to see all"
                ));
            }
            rows.push(drift);
        }
        Ok(Window { rows, next })
    }

    /// Compares in batches, and remembers for the next run where something is the matter.
    async fn look(&self, keys: &[ChatKey], depth: Depth) -> Result<Vec<Drift>, Error> {
        let mut rows = Vec::with_capacity(keys.len());
        for keys in keys.chunks(BATCH) {
            let compared = self.compare_chats(keys, depth, PATIENCE).await?;
            for Compared { drift, .. } in compared {
                if let (true, Some(chat)) = (drift.verdict.is_drift(), drift.chat) {
                    let token = drift.token;
                    self.reconciler().suspect(ChatKey { token, chat });
                }
                rows.push(drift);
            }
        }
        Ok(rows)
    }
}

impl Backend {
    fn empty_page(&self) -> DriftPage {
        DriftPage {
            compared_at: self.now(),
            summary: Summary::default(),
            rows: Vec::new(),
            next_after: None,
        }
    }
}

fn wanted(row: &Drift, wish: &Wish) -> bool {
    wish.verdict.is_none_or(|verdict| row.verdict == verdict)
        && (!wish.drifted || row.verdict.is_drift())
}

/// An application is as bad as the worst of its chats.
fn fold<'d>(row: &mut Drift, chats: impl Iterator<Item = &'d Drift>) {
    let mut documents = Some(0);
    for chat in chats {
        documents = documents
            .zip(chat.documents)
            .map(|(sum, documents)| sum + documents);
        row.chats_drifted += u64::from(chat.verdict.is_drift());
        row.verdict = row.verdict.max(chat.verdict);
    }
    row.documents = documents;
    if row.chats_drifted > 0 {
        row.details
            .push(format!("{} of its chats have drifted", row.chats_drifted));
    }
}
