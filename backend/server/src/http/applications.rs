//! `/applications`.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use chat_core::applications::Read;
use chat_core::limits::Broken;
use chat_wire::applications::{ApplicationCreated, NewApplication};
use http::StatusCode;
use uuid::Uuid;

use crate::http::Api;
use crate::http::extract::{App, Json, Wishes};
use crate::http::guard::Place;
use crate::http::problem::Refusal;
use crate::http::serve::{Answer, accepted, pending};

pub(super) async fn create(
    State(api): State<Api>,
    place: Place,
    wishes: Wishes,
    body: Json<NewApplication>,
) -> Result<Response, Refusal> {
    if let Some(key) = &wishes.key
        && Uuid::try_parse(key).is_err()
    {
        // Nothing but the key keeps two tenants apart here, and a guessable one would hand the
        // first one's credential to the second (invariant: application-key-is-uuid).
        return Err(Broken::new("Idempotency-Key", "must be a UUID on POST /applications").into());
    }
    let key = wishes.stored_key(None, "applications", &body.bytes);
    let backend = api.backend.holding(place.held());
    let token = backend.create_application(body.value.name, key).await?;
    let status = match wishes.waiting(&place) {
        Some((limit, _waiting)) if api.backend.wait_application(token, limit).await? => {
            StatusCode::CREATED
        }
        _ => StatusCode::ACCEPTED,
    };
    let location = format!("/applications/{}", token.reveal());
    Ok(accepted(status, &location, &ApplicationCreated { token }))
}

pub(super) async fn get(State(api): State<Api>, App(token): App) -> Result<Response, Refusal> {
    Ok(match api.backend.application(token).await? {
        Read::Stored(application) => Answer(application).into_response(),
        Read::Pending => pending(),
    })
}

pub(super) async fn rename(
    State(api): State<Api>,
    App(token): App,
    place: Place,
    body: Json<NewApplication>,
) -> Result<Response, Refusal> {
    let backend = api.backend.holding(place.held());
    backend.rename_application(token, body.value.name).await?;
    let location = format!("/applications/{}", token.reveal());
    Ok(accepted(
        StatusCode::ACCEPTED,
        &location,
        &ApplicationCreated { token },
    ))
}
