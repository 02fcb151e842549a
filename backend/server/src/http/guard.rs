//! How much is let in, and what is measured of it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use chat_wire::ids::AppToken;
use chat_wire::problem::{Code, Problem};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::config::Config;
use crate::http::Api;
use crate::http::problem::{RETRY_SECONDS, Refusal};
use crate::telemetry::{Metrics, Route};
use crate::traffic::{Answered, Shed};

/// Takes between two clean-ups of limiters that nobody uses any more.
const SWEEP_EVERY: u64 = 65_536;

/// Limits on requests at work and on what one application may create.
#[derive(Debug)]
pub struct Guard {
    in_flight: Semaphore,
    rates: Option<DefaultKeyedRateLimiter<AppToken>>,
    burst: u32,
    takes: AtomicU64,
}

impl Guard {
    /// With the limits of the configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        // One batch must fit into what a second allows, or it could never be sent.
        let lines = u32::try_from(chat_core::limits::BATCH_LINES).unwrap_or(u32::MAX);
        let burst = config.rate_limit.max(lines);
        let rates = NonZeroU32::new(config.rate_limit).map(|rate| {
            let burst = NonZeroU32::new(burst).unwrap_or(rate);
            RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst))
        });
        Self {
            in_flight: Semaphore::new(config.max_in_flight as usize),
            rates,
            burst,
            takes: AtomicU64::new(0),
        }
    }

    /// Lets `count` creates of an application pass, before any number is taken.
    ///
    /// # Errors
    /// 429 with the seconds to wait.
    pub fn creates(&self, token: AppToken, count: usize) -> Result<(), Refusal> {
        let Some(rates) = &self.rates else {
            return Ok(());
        };
        if self
            .takes
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(SWEEP_EVERY)
        {
            rates.retain_recent();
        }
        let count = u32::try_from(count)
            .unwrap_or(u32::MAX)
            .clamp(1, self.burst);
        let count = NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        match rates.check_key_n(&token, count) {
            Ok(Ok(())) | Err(_) => Ok(()),
            Ok(Err(not_until)) => {
                let wait = not_until.wait_time_from(DefaultClock::default().now());
                let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                let problem = Problem::new(
                    Code::TooManyRequests,
                    "the application creates messages faster than its limit",
                );
                Err(Refusal::from(problem).after(seconds.max(RETRY_SECONDS)))
            }
        }
    }
}

/// Sheds a request when too many are at work: before its body is read, before it takes a number.
pub(crate) async fn admit(State(api): State<Api>, request: Request, next: Next) -> Response {
    // A stream stays open for hours and costs nothing while it waits.
    let stream = request.uri().path().ends_with("/stream");
    let permit = if stream {
        None
    } else if let Ok(permit) = api.guard.in_flight.try_acquire() {
        Some(permit)
    } else {
        api.metrics.shed.inc();
        let problem = Problem::new(Code::Overloaded, "too many requests are at work");
        return Refusal::from(problem).into_response();
    };
    let response = next.run(request).await;
    drop(permit);
    response
}

/// Counts an answer of the API under the pattern of its route, and in the traffic.
pub(crate) async fn measure(
    State(metrics): State<Arc<Metrics>>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let _in_flight = metrics.traffic.enter();
    let started = Instant::now();
    let response = count(&metrics, path, request, next).await;
    metrics.traffic.count(Answered {
        status: response.status().as_u16(),
        created: response.extensions().get().copied(),
        shed: response.extensions().get::<Shed>().is_some(),
        took: started.elapsed(),
    });
    response
}

/// Counts an answer of the admin listener under the pattern of its route.
pub(crate) async fn measure_admin(
    State(metrics): State<Arc<Metrics>>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    count(&metrics, path, request, next).await
}

async fn count(
    metrics: &Metrics,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let method = name_of(request.method());
    let at_work = AtWork::begin(&metrics.in_flight);
    let response = next.run(request).await;
    drop(at_work);
    let route = Route {
        route: path.map_or_else(|| "(none)".to_owned(), |path| path.as_str().to_owned()),
        method,
        status: response.status().as_u16(),
    };
    metrics
        .latency
        .get_or_create(&route)
        .observe(started.elapsed().as_secs_f64());
    metrics.requests.get_or_create(&route).inc();
    response
}

/// Counts a request as long as it is at work, also where its client goes away in the middle.
struct AtWork<'a>(&'a Gauge<i64, AtomicI64>);

impl<'a> AtWork<'a> {
    fn begin(gauge: &'a Gauge<i64, AtomicI64>) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The methods that routes take; anything else shares one label, or clients could make labels.
fn name_of(method: &http::Method) -> &'static str {
    match *method {
        http::Method::GET => "GET",
        http::Method::HEAD => "HEAD",
        http::Method::POST => "POST",
        http::Method::PUT => "PUT",
        http::Method::DELETE => "DELETE",
        _ => "OTHER",
    }
}
