//! Who is let in: decided by the head of a request, before its body is read or a number is taken.

mod accounts;
mod pace;
mod place;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use chat_core::port::log::Topic;
use chat_core::rates::Rates;
use chat_wire::ids::AppToken;
use chat_wire::problem::{Code, Problem};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method};

use self::accounts::{Account, Accounts};
pub(crate) use self::place::Place;
use self::place::Places;
use crate::config::Config;
use crate::http::Api;
use crate::http::problem::{RETRY_SECONDS, Refusal};
use crate::pressure::Pressure;
use crate::traffic::Shed;

/// What a limit allows (draft-ietf-httpapi-ratelimit-headers, section 3).
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// What is left of it (section 4 of the same).
const LEFT: HeaderName = HeaderName::from_static("ratelimit");

/// Refusals a second that are answered at once.
///
/// A refusal costs about half of what a create does, most of it in reading a request and writing an
/// answer: at three times the capacity refusing would leave no time for creates.
const REFUSALS_AT_ONCE: u32 = 1_000;
/// How long one beyond that is held back. It waits without work, and its connection brings no other;
/// less than the second after which every refusal asks to come back.
const HOLD_BACK: Duration = Duration::from_millis(600);

/// Limits on requests at work and on what may be created.
#[derive(Debug)]
pub struct Guard {
    places: Arc<Places>,
    accounts: Accounts,
    /// What no application pays for: creates of applications.
    nobody: Arc<Account>,
    /// What refusals are paced by.
    refusals: Account,
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

/// A request that was shed, and why.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    pub(crate) reason: Reason,
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        refused.refusal.shed(refused.reason)
    }
}

/// What a request wants, as far as its method and path tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    /// To stay open for hours; it costs nothing while it waits.
    Stream,
    /// To read.
    Read,
    /// To create something of this topic.
    Create(Topic),
    /// To change what is there.
    Change,
}

impl Asks {
    fn of(method: &Method, route: &str) -> Self {
        if *method == Method::POST {
            return match route.rsplit('/').next() {
                Some("applications") => Self::Create(Topic::Applications),
                Some("chats") => Self::Create(Topic::Chats),
                Some("messages" | "batch") => Self::Create(Topic::Messages),
                // No such path: its answer costs no more than a refusal.
                _ => Self::Read,
            };
        }
        if *method == Method::PUT || *method == Method::DELETE {
            return Self::Change;
        }
        match route.ends_with("/stream") {
            true => Self::Stream,
            false => Self::Read,
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
            refusals: Account::alone(REFUSALS_AT_ONCE),
            pressure,
        }
    }

    /// Waits where so much is refused that refusing is what the process would be busy with.
    async fn hold_back(&self) {
        if self.refusals.pass().is_err() {
            tokio::time::sleep(HOLD_BACK).await;
        }
    }

    /// Takes over the limits that operators have set for single applications.
    pub fn set(&self, rates: Rates) {
        self.accounts.set(rates);
    }

    /// Whether a request may go on, by its head alone.
    fn check(&self, asks: Asks, account: Option<&Account>) -> Result<(), Refused> {
        // The cheapest first: where no place is free, there is nothing else to find out.
        self.places.look(account)?;
        if let Asks::Create(topic) = asks
            && let Some(refusal) = self.pressure.refusal(topic)
        {
            return Err(Refused {
                refusal,
                reason: Reason::Lag,
            });
        }
        if let (Asks::Create(_) | Asks::Change, Some(account)) = (asks, account) {
            account.pass().map_err(|wait| {
                let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                let detail = match asks {
                    Asks::Create(Topic::Applications) => {
                        "applications are created faster than the limit"
                    }
                    _ => "the application creates faster than its limit",
                };
                Refused {
                    refusal: Refusal::from(Problem::new(Code::TooManyRequests, detail))
                        .after(seconds.max(RETRY_SECONDS)),
                    reason: Reason::Rate,
                }
            })?;
        }
        Ok(())
    }

    /// Who pays: the application of the path, or nobody in particular.
    fn account(&self, asks: Asks, path: &str) -> Option<Arc<Account>> {
        if asks == Asks::Create(Topic::Applications) {
            return Some(Arc::clone(&self.nobody));
        }
        let token = path.strip_prefix("/applications/")?.split('/').next()?;
        Some(self.accounts.of(token.parse::<AppToken>().ok()?))
    }
}

/// Sheds a request that comes beyond a limit; gives the others the right to a place.
pub(crate) async fn admit(
    State(api): State<Api>,
    path: Option<MatchedPath>,
    mut request: Request,
    next: Next,
) -> Response {
    let route = path.as_ref().map_or("", MatchedPath::as_str);
    let asks = Asks::of(request.method(), route);
    if asks == Asks::Stream {
        return next.run(request).await;
    }
    let account = api.guard.account(asks, request.uri().path());
    let place = Place::new(Arc::clone(&api.guard.places), account.clone());
    let with_body = matches!(*request.method(), Method::POST | Method::PUT);
    let admitted = api
        .guard
        .check(asks, account.as_deref())
        .and_then(|()| match with_body {
            // Who reads the body takes the place.
            true => Ok(()),
            false => place.take(),
        });
    let mut response = match admitted {
        Ok(()) => {
            request.extensions_mut().insert(place);
            next.run(request).await
        }
        Err(refused) => Refusal::from(refused).into_response(),
    };
    if let Some(Shed(Some(reason))) = response.extensions().get() {
        api.metrics.shed(*reason);
        api.guard.hold_back().await;
    }
    if let (Asks::Create(_) | Asks::Change, Some(account)) = (asks, account) {
        tell(&account, &mut response);
    }
    response
}

/// Says in the head of an answer what the limit is and what is left of it, where there is one.
fn tell(account: &Account, response: &mut Response) {
    let Some((rate, left)) = account.left() else {
        return;
    };
    let seconds = left.full_in.as_secs() + u64::from(left.full_in.subsec_nanos() > 0);
    let policy = format!("\"creates\";q={rate};w=1");
    let left = format!("\"creates\";r={};t={seconds}", left.count);
    let headers = response.headers_mut();
    for (name, value) in [(POLICY, policy), (LEFT, left)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
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

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tokio::time::Instant;

    use super::*;

    fn guard() -> Guard {
        #[derive(Parser)]
        struct Flags {
            #[command(flatten)]
            config: Config,
        }
        let config = Flags::parse_from(["chatd"]).config;
        Guard::new(&config, Arc::new(Pressure::new(&config)))
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_held_back_where_there_are_too_many() {
        let guard = guard();
        let began = Instant::now();
        for _ in 0..REFUSALS_AT_ONCE {
            guard.hold_back().await;
        }
        assert!(began.elapsed().is_zero());
        guard.hold_back().await;
        assert!(began.elapsed() >= HOLD_BACK);
        guard.hold_back().await;
        assert!(began.elapsed() < HOLD_BACK * 2);
    }

    #[test]
    fn every_route_that_appends_is_known_by_its_path() {
        let message = "/applications/{token}/chats/{chat}/messages/{message}";
        for (method, route, asks) in [
            (
                Method::POST,
                "/applications",
                Asks::Create(Topic::Applications),
            ),
            (
                Method::POST,
                "/applications/{token}/chats",
                Asks::Create(Topic::Chats),
            ),
            (
                Method::POST,
                "/applications/{token}/chats/{chat}/messages",
                Asks::Create(Topic::Messages),
            ),
            (
                Method::POST,
                "/applications/{token}/chats/{chat}/messages/batch",
                Asks::Create(Topic::Messages),
            ),
            (Method::PUT, "/applications/{token}", Asks::Change),
            (Method::PUT, message, Asks::Change),
            (Method::DELETE, message, Asks::Change),
            (Method::GET, message, Asks::Read),
            (Method::GET, "/search", Asks::Read),
            (
                Method::GET,
                "/applications/{token}/chats/{chat}/messages/stream",
                Asks::Stream,
            ),
        ] {
            assert!(
                crate::http::routes().iter().any(|(path, _)| path == route),
                "{route}"
            );
            assert_eq!(Asks::of(&method, route), asks, "{method} {route}");
        }
    }
}
