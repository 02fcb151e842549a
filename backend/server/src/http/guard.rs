//! Who is let in: decided by the head of a request, before its body is read or a number is taken.

pub(crate) mod accounts;
mod pace;
mod place;
pub(crate) mod refused;

use std::sync::{Arc, LazyLock};

use axum::extract::FromRequestParts;
use chat_core::port::log::Topic;
use chat_core::rates::Rates;
use chat_wire::ids::AppToken;
use chat_wire::problem::{Code, Problem};
use http::request::Parts;

use self::accounts::{Account, Accounts};
pub(crate) use self::place::Place;
use self::place::Places;
use self::refused::{Refused, Written};
use crate::config::Config;
use crate::http::Api;
use crate::http::problem::{RETRY_SECONDS, Refusal};
use crate::http::route::Asks;
use crate::pressure::Pressure;

static TOO_MANY_APPLICATIONS: LazyLock<Arc<Written>> = LazyLock::new(|| {
    let detail = "applications are created faster than the limit";
    Arc::new(Problem::new(Code::TooManyRequests, detail).into())
});
static TOO_FAST: LazyLock<Arc<Written>> = LazyLock::new(|| {
    let detail = "the application creates faster than its limit";
    Arc::new(Problem::new(Code::TooManyRequests, detail).into())
});

/// Limits on requests at work and on what may be created.
#[derive(Debug)]
pub struct Guard {
    places: Arc<Places>,
    accounts: Accounts,
    /// What no application pays for: creates of applications.
    nobody: Arc<Account>,
    pressure: Arc<Pressure>,
}

/// Why a request was shed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// All places are taken.
    AtWork,
    /// One application has all that it may have.
    ApplicationAtWork,
    /// Bodies hold as much memory as they may.
    Bytes,
    /// A group is too far behind.
    Lag,
    /// The rate of creates is used up.
    Rate,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::AtWork,
        Self::ApplicationAtWork,
        Self::Bytes,
        Self::Lag,
        Self::Rate,
    ];

    /// The name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AtWork => "at_work",
            Self::ApplicationAtWork => "application_at_work",
            Self::Bytes => "bytes",
            Self::Lag => "lag",
            Self::Rate => "rate",
        }
    }
}

impl Guard {
    /// With the limits of the configuration.
    #[must_use]
    pub fn new(config: &Config, pressure: Arc<Pressure>) -> Self {
        Self {
            places: Arc::new(Places::new(config.max_in_flight)),
            accounts: Accounts::new(config.rate_limit),
            nobody: Arc::new(Account::alone(config.applications_rate_limit)),
            pressure,
        }
    }

    /// Takes over the limits that operators have set for single applications.
    pub fn set(&self, rates: Rates) {
        self.accounts.set(rates);
    }

    /// Lets a request in by its head alone, and gives it the right to a place; one that brings no body
    /// has the place at once.
    pub(crate) fn admit(
        &self,
        asks: Asks,
        account: Option<&Arc<Account>>,
        with_body: bool,
    ) -> Result<Place, Refused> {
        self.check(asks, account.map(AsRef::as_ref))?;
        let place = Place::new(Arc::clone(&self.places), account.cloned());
        if !with_body {
            place.take()?;
        }
        Ok(place)
    }

    fn check(&self, asks: Asks, account: Option<&Account>) -> Result<(), Refused> {
        // The cheapest first: where no place is free, there is nothing else to find out.
        self.places.look(account)?;
        if let Asks::Create(topic) = asks
            && let Some(refused) = self.pressure.refusal(topic)
        {
            return Err(refused);
        }
        if let (Asks::Create(_) | Asks::Change, Some(account)) = (asks, account) {
            account.pass().map_err(|wait| {
                let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                let written = match asks {
                    Asks::Create(Topic::Applications) => &TOO_MANY_APPLICATIONS,
                    _ => &TOO_FAST,
                };
                Refused::new(written, Reason::Rate).after(seconds.max(RETRY_SECONDS))
            })?;
        }
        Ok(())
    }

    /// Who pays: the application of the path, or nobody in particular.
    pub(crate) fn account(&self, asks: Asks, path: &str) -> Option<Arc<Account>> {
        if asks == Asks::Create(Topic::Applications) {
            return Some(Arc::clone(&self.nobody));
        }
        let token = path.strip_prefix("/applications/")?.split('/').next()?;
        Some(self.accounts.of(token.parse::<AppToken>().ok()?))
    }
}

impl FromRequestParts<Api> for Place {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refusal> {
        let place = parts.extensions.get::<Self>().cloned();
        // Every request comes through `admit`; one that did not would belong to no application.
        Ok(place.unwrap_or_else(|| Self::new(Arc::clone(&api.guard.places), None)))
    }
}
