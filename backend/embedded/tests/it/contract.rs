//! The promises of the ports, told to a fresh data directory each.

use std::time::Duration;

use chat_contract::fixture::Fixture;
use chat_core::port::Ports;
use chat_embedded::open::{Config, open};
use tempfile::TempDir;

struct Directory(TempDir);

impl Fixture for Directory {
    async fn fresh() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    async fn open(&self) -> Ports {
        let config = Config {
            // Whatever may go goes at the first housekeeping.
            log_retention: Duration::ZERO,
            ..Config::new(self.0.path())
        };
        open(&config).await.unwrap()
    }
}

chat_contract::contract_tests!(Directory);
