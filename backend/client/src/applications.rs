//! Applications: create, read, rename.

use chat_wire::applications::{Application, ApplicationCreated, NewApplication};
use chat_wire::ids::AppToken;
use reqwest::Method;

use crate::client::{Client, Create, Created};
use crate::error::Error;
use crate::http::{Call, application_path};

impl Client {
    /// `POST /applications`. A key must be a UUID here.
    ///
    /// # Errors
    /// Those of every call; see [`Error`].
    pub async fn create_application(
        &self,
        new: &NewApplication,
        create: &Create,
    ) -> Result<Created<ApplicationCreated>, Error> {
        let call = Call::create("/applications".to_owned(), create).json(new);
        self.http.create(&call).await
    }

    /// `GET /applications/{token}`, waiting until it is stored.
    ///
    /// # Errors
    /// Those of every call; see [`Error`].
    pub async fn application(&self, token: AppToken) -> Result<Application, Error> {
        self.http
            .read(&Call::get(application_path(token, "")))
            .await
    }

    /// `PUT /applications/{token}`: the new name is durable, and stored soon after.
    ///
    /// # Errors
    /// Those of every call; see [`Error`].
    pub async fn rename_application(
        &self,
        token: AppToken,
        new: &NewApplication,
    ) -> Result<(), Error> {
        let call = Call::new(Method::PUT, application_path(token, "")).json(new);
        self.http.send(&call).await.map(drop)
    }
}
