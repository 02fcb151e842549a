//! The client of the admin listener.

use chat_wire::admin::doctor::Diagnosis;
use chat_wire::admin::drift::{DriftPage, Verdict};
use chat_wire::admin::lag::Lag;
use chat_wire::admin::limit::{NewRateLimit, RateLimit};
use chat_wire::admin::stats::Stats;
use chat_wire::admin::{ApplicationPage, Readiness};
use chat_wire::admin::{dlq, reconcile};
use chat_wire::ids::{AppToken, ChatNumber};
use reqwest::Method;

use crate::client::Config;
use crate::error::Error;
use crate::http::{Call, Http};

/// A client of the admin listener; its clones share their connections.
#[derive(Debug, Clone)]
pub struct Admin {
    pub(crate) http: Http,
}

/// Which comparisons are wanted: applications, the chats of one, or one chat.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DriftQuery {
    /// The chats of this application; without it, applications.
    pub token: Option<AppToken>,
    /// Only this chat.
    pub chat: Option<ChatNumber>,
    /// Only rows with this verdict.
    pub verdict: Option<Verdict>,
    /// Only rows for which reconciliation has something to do.
    pub drifted: bool,
    /// `next_after` of the page before.
    pub after: Option<String>,
    /// At most so many.
    pub limit: u32,
}

/// Which part of the lag is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LagQuery {
    /// Only this group, for example `messages-store`.
    pub group: Option<String>,
    /// At most so many partitions of each group; without it, all.
    pub partitions: Option<u32>,
    /// Which of them come first.
    pub sort: LagSort,
}

/// The order of partitions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LagSort {
    /// By number.
    #[default]
    Partition,
    /// Unknown first, then where most waits.
    Lag,
}

impl LagSort {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Partition => "partition",
            Self::Lag => "lag",
        }
    }
}

/// Which dead letters are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LetterQuery {
    /// For example `messages.dlq`; without it, all.
    pub topic: Option<String>,
    /// Only those in this state.
    pub state: Option<dlq::State>,
    /// `next_after` of the page before.
    pub after: Option<String>,
    /// At most so many.
    pub limit: u32,
}

impl Admin {
    /// # Errors
    /// [`Error::Address`] where the address is none.
    pub fn new(config: Config) -> Result<Self, Error> {
        Ok(Self {
            http: Http::new(config)?,
        })
    }

    /// `GET /admin/applications`: one page, of the tokens above `after`.
    ///
    /// # Errors
    /// Those of every call; see [`Error`].
    pub async fn applications(
        &self,
        after: Option<AppToken>,
        limit: u32,
    ) -> Result<ApplicationPage, Error> {
        let call = Call::get("/admin/applications".to_owned())
            .query("after", after.map(|after| after.reveal()))
            .query("limit", Some(limit.to_string()));
        self.http.read(&call).await
    }

    /// `GET /admin/applications/{token}/limit`: how fast an application may create, and who says so.
    ///
    /// # Errors
    /// Those of every call; see [`Error`].
    pub async fn limit(&self, token: AppToken) -> Result<RateLimit, Error> {
        self.http.read(&Call::get(limit_of(token))).await
    }

    /// `PUT /admin/applications/{token}/limit`: every API process heeds it within some seconds.
    ///
    /// # Errors
    /// Those of every call; see [`Error`].
    pub async fn set_limit(
        &self,
        token: AppToken,
        limit: NewRateLimit,
    ) -> Result<RateLimit, Error> {
        let call = Call::new(Method::PUT, limit_of(token)).json(&limit);
        self.http.order(&call).await
    }

    /// `DELETE /admin/applications/{token}/limit`: back to what the server is configured with.
    ///
    /// # Errors
    /// Those of every call; see [`Error`].
    pub async fn reset_limit(&self, token: AppToken) -> Result<RateLimit, Error> {
        let call = Call::new(Method::DELETE, limit_of(token));
        self.http.order(&call).await
    }

    /// `GET /admin/lag`: every group with all of its partitions.
    ///
    /// # Errors
    /// Those of every call; see [`Error`].
    pub async fn lag(&self) -> Result<Lag, Error> {
        self.lag_of(&LagQuery::default()).await
    }

    /// `GET /admin/lag`: what was asked for of it.
    ///
    /// # Errors
    /// Those of every call; a problem with the code `invalid_value` where there is no such group.
    pub async fn lag_of(&self, query: &LagQuery) -> Result<Lag, Error> {
        let sorted = query.sort != LagSort::default();
        let call = Call::get("/admin/lag".to_owned())
            .query("group", query.group.clone())
            .query("partitions", query.partitions.map(|most| most.to_string()))
            .query("sort", sorted.then(|| query.sort.as_str().to_owned()));
        self.http.read(&call).await
    }

    /// `GET /admin/stats`: one snapshot of everything that a dashboard shows.
    ///
    /// # Errors
    /// Those of every call; see [`Error`].
    pub async fn stats(&self) -> Result<Stats, Error> {
        self.http.read(&Call::get("/admin/stats".to_owned())).await
    }

    /// `GET /admin/doctor`: what the server finds out about itself and its engines.
    ///
    /// # Errors
    /// Those of every call; see [`Error`].
    pub async fn doctor(&self) -> Result<Diagnosis, Error> {
        self.http.read(&Call::get("/admin/doctor".to_owned())).await
    }

    /// `GET /admin/drift`: a page of what was asked for, worst first.
    ///
    /// # Errors
    /// Those of every call; see [`Error`].
    pub async fn drift(&self, query: &DriftQuery) -> Result<DriftPage, Error> {
        let call = Call::get("/admin/drift".to_owned())
            .query("token", query.token.map(|token| token.reveal()))
            .query("chat", query.chat.map(|chat| chat.to_string()))
            .query("verdict", query.verdict.map(|v| v.as_str().to_owned()))
            .query("drifted", query.drifted.then(|| "true".to_owned()))
            .query("after", query.after.clone())
            .query("limit", Some(query.limit.to_string()));
        self.http.read(&call).await
    }

    /// `GET /admin/reconcile`: the run at work, and the last one.
    ///
    /// # Errors
    /// Those of every call; see [`Error`].
    pub async fn runs(&self) -> Result<reconcile::Runs, Error> {
        self.http
            .read(&Call::get("/admin/reconcile".to_owned()))
            .await
    }

    /// `POST /admin/reconcile`: begins a run, and answers before it ends.
    ///
    /// # Errors
    /// A problem with the code `busy` while another run is at work; it says who holds it.
    pub async fn reconcile(&self, order: &reconcile::Order) -> Result<reconcile::Run, Error> {
        let call = Call::new(Method::POST, "/admin/reconcile".to_owned()).json(order);
        self.http.order(&call).await
    }

    /// `DELETE /admin/reconcile`: asks the run at work to end after its step.
    ///
    /// # Errors
    /// Those of every call; see [`Error`].
    pub async fn cancel_reconcile(&self) -> Result<reconcile::Runs, Error> {
        let call = Call::new(Method::DELETE, "/admin/reconcile".to_owned());
        self.http.order(&call).await
    }

    /// `GET /admin/dlq`: a page of dead letters.
    ///
    /// # Errors
    /// Those of every call; see [`Error`].
    pub async fn letters(&self, query: &LetterQuery) -> Result<dlq::LetterPage, Error> {
        let call = Call::get("/admin/dlq".to_owned())
            .query("topic", query.topic.clone())
            .query("state", query.state.map(|state| state.as_str().to_owned()))
            .query("after", query.after.clone())
            .query("limit", Some(query.limit.to_string()));
        self.http.read(&call).await
    }

    /// `GET /admin/dlq/{id}`: one dead letter with its bytes.
    ///
    /// # Errors
    /// A problem with the code `unknown_letter` where there is none.
    pub async fn letter(&self, id: &str) -> Result<dlq::LetterWithBytes, Error> {
        self.http.read(&Call::get(format!("/admin/dlq/{id}"))).await
    }

    /// `POST /admin/dlq/replay`: back to where they came from, each at most once.
    ///
    /// # Errors
    /// Those of every call; see [`Error`].
    pub async fn replay(&self, order: &dlq::Order) -> Result<dlq::Decision, Error> {
        let call = Call::new(Method::POST, "/admin/dlq/replay".to_owned()).json(order);
        self.http.order(&call).await
    }

    /// `POST /admin/dlq/discard`: given up, with a reason that is kept.
    ///
    /// # Errors
    /// Those of every call; see [`Error`].
    pub async fn discard(&self, order: &dlq::Order) -> Result<dlq::Decision, Error> {
        let call = Call::new(Method::POST, "/admin/dlq/discard".to_owned()).json(order);
        self.http.order(&call).await
    }

    /// `GET /readyz`.
    ///
    /// # Errors
    /// Those of every call; a server that is not ready answers 503.
    pub async fn ready(&self) -> Result<Readiness, Error> {
        self.http.read(&Call::get("/readyz".to_owned())).await
    }
}

fn limit_of(token: AppToken) -> String {
    format!("/admin/applications/{}/limit", token.reveal())
}
