//! What a server tells of itself, for whoever looks for what is wrong.

use std::time::{Duration, Instant};

use chat_wire::time::Timestamp;
use serde::Deserialize;

use crate::admin::Admin;
use crate::client::Client;
use crate::error::Error;
use crate::http::{Call, Http};

/// A server that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// From sending to the end of the answer.
    pub elapsed: Duration,
    /// The server's clock, in whole seconds; absent where it sent none.
    pub date: Option<Timestamp>,
    /// Our clock in the middle between sending and the answer.
    pub asked_at: Timestamp,
    /// Version of the server; absent where it was not asked, or did not say.
    pub version: Option<String>,
}

impl Probe {
    /// How far the server's clock is ahead of ours, in milliseconds, negative where it is behind;
    /// 0 within the whole second that the server's clock is told in. Absent where it sent none.
    #[must_use]
    pub fn skew_ms(&self) -> Option<i64> {
        let ahead = self.date?.as_micros() - self.asked_at.as_micros();
        let ahead_ms = ahead / 1_000;
        // The server cut its time down to the second, and half the round trip is not known either.
        let half = i64::try_from(self.elapsed.as_millis() / 2).unwrap_or(i64::MAX);
        Some(match ahead_ms {
            ..=-1_000 => (ahead_ms + 1_000 + half).min(0),
            0.. => (ahead_ms - half).max(0),
            _ => 0,
        })
    }
}

impl Client {
    /// Asks the API for its own description, which names the version.
    ///
    /// # Errors
    /// Those of every call; see [`Error`].
    pub async fn probe(&self) -> Result<Probe, Error> {
        #[derive(Deserialize)]
        struct Document {
            info: Info,
        }
        #[derive(Deserialize)]
        struct Info {
            version: String,
        }
        let (mut probe, body) = probe(&self.http, "/openapi.json").await?;
        let document = serde_json::from_slice::<Document>(&body);
        probe.version = document.ok().map(|document| document.info.version);
        Ok(probe)
    }
}

impl Admin {
    /// Asks the admin listener whether it lives, which wants no key.
    ///
    /// # Errors
    /// Those of every call; see [`Error`].
    pub async fn probe(&self) -> Result<Probe, Error> {
        Ok(probe(&self.http, "/livez").await?.0)
    }

    /// `GET /metrics`: as Prometheus reads them.
    ///
    /// # Errors
    /// Those of every call; see [`Error`].
    pub async fn metrics(&self) -> Result<String, Error> {
        let answer = self.http.send(&Call::get("/metrics".to_owned())).await?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }
}

async fn probe(http: &Http, path: &str) -> Result<(Probe, bytes::Bytes), Error> {
    let (began, clock) = (Instant::now(), Timestamp::now());
    let answer = http.send(&Call::get(path.to_owned())).await?;
    let elapsed = began.elapsed();
    let half = i64::try_from(elapsed.as_micros() / 2).unwrap_or(0);
    let probe = Probe {
        elapsed,
        date: answer.date,
        asked_at: Timestamp::from_micros(clock.as_micros() + half).unwrap_or(clock),
        version: None,
    };
    Ok((probe, answer.body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_second_is_no_skew() {
        let asked_at: Timestamp = "2026-01-31T12:00:00.9Z".parse().unwrap();
        let skew = |date: &str| {
            let probe = Probe {
                elapsed: Duration::from_millis(20),
                date: Some(date.parse().unwrap()),
                asked_at,
                version: None,
            };
            probe.skew_ms()
        };
        assert_eq!(skew("2026-01-31T12:00:00Z"), Some(0));
        assert_eq!(skew("2026-01-31T12:00:03Z"), Some(2_090));
        assert_eq!(skew("2026-01-31T11:59:58Z"), Some(-1_890));
    }
}
