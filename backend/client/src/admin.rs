//! The client of the admin listener.

use chat_wire::admin::lag::Lag;
use chat_wire::admin::{ApplicationPage, Readiness};
use chat_wire::ids::AppToken;

use crate::client::Config;
use crate::error::Error;
use crate::http::{Call, Http};

/// A client of the admin listener; its clones share their connections.
#[derive(Debug, Clone)]
pub struct Admin {
    http: Http,
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

    /// `GET /admin/lag`.
    ///
    /// # Errors
    /// Those of every call; see [`Error`].
    pub async fn lag(&self) -> Result<Lag, Error> {
        self.http.read(&Call::get("/admin/lag".to_owned())).await
    }

    /// `GET /readyz`.
    ///
    /// # Errors
    /// Those of every call; a server that is not ready answers 503.
    pub async fn ready(&self) -> Result<Readiness, Error> {
        self.http.read(&Call::get("/readyz".to_owned())).await
    }
}
