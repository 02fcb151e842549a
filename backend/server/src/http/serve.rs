//! hyper: connections with limits, a graceful end, and the answers that handlers give.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use chat_core::limits;
use chat_core::limits::Broken;
use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::http::gate::HEADERS_MAX;
use crate::http::problem::{RETRY_SECONDS, Refusal};

/// How long a connection may take for the head of a request, or lie idle between two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Largest head of a request, and most that is read ahead.
const HEAD_BYTES: usize = 64 * 1024;
/// Pause when the system has no more file handles.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop`, then lets the requests at work finish within `stop_deadline`. Each connection is read
/// from and written to by way of what `service` makes of it, and answered by what it gives beside that.
///
/// # Errors
/// None after the listener stands: what fails at one connection ends that connection.
pub async fn serve<I, S>(
    listener: TcpListener,
    service: impl Fn(TcpStream) -> (I, S),
    connections: u32,
    stop: CancellationToken,
    stop_deadline: Duration,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<http::Request<Incoming>, Response = Response, Error = Infallible>,
    S: Send + 'static,
    S::Future: Send,
{
    let permits = Arc::new(Semaphore::new(connections as usize));
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .max_header_size(HEAD_BYTES)
        .max_headers(HEADERS_MAX)
        // Answers are small: one copy more costs less than a list of parts for the system to gather.
        .writev(false);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &permits) => accepted,
        };
        let (stream, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // An answer is one small write: waiting for more would only delay it.
        let _ = stream.set_nodelay(true);
        let (stream, service) = service(stream);
        let connection = http.serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A client that goes away is no event.
            let _ = connection.await;
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(stop_deadline, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("requests at work were cut off at the stop deadline");
    }
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

/// 200 with JSON.
pub struct Answer<T>(pub T);

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        json(StatusCode::OK, &self.0)
    }
}

/// Any status with JSON.
pub fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    let body = serde_json::to_vec(value).expect("answers are plain data");
    let mut response = (status, body).into_response();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// 202 or 201: what was created or changed, and where it can be read.
pub fn accepted<T: Serialize>(status: StatusCode, location: &str, value: &T) -> Response {
    let mut response = json(status, value);
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// 202 to a read: it was handed out and is not stored yet.
pub fn pending() -> Response {
    #[derive(Serialize)]
    struct Pending {
        status: &'static str,
    }
    let mut response = json(StatusCode::ACCEPTED, &Pending { status: "pending" });
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from(RETRY_SECONDS));
    response
}

/// The size of a page.
///
/// # Errors
/// 422 for 0 or more than [`limits::PAGE_ITEMS`].
pub fn page_limit(limit: Option<u32>) -> Result<u32, Refusal> {
    match limit {
        None => Ok(limits::PAGE_ITEMS_DEFAULT),
        Some(limit) if (1..=limits::PAGE_ITEMS).contains(&limit) => Ok(limit),
        Some(_) => Err(Broken::new("limit", "must be from 1 to 1000").into()),
    }
}
