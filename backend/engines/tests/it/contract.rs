//! The promises of the ports, told to a fresh namespace each.

use chat_contract::fixture::Fixture;
use chat_core::port::Ports;
use chat_engines::open::connect;

use crate::namespace::Namespace;

impl Fixture for Namespace {
    async fn fresh() -> Self {
        Self::fresh().await
    }

    async fn open(&self) -> Ports {
        connect(&self.config).await.unwrap()
    }
}

chat_contract::contract_tests!(Namespace);
