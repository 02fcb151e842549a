//! The bearer key that operators' paths want, where there is one.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use chat_wire::problem::{Code, Problem};
use http::header::AUTHORIZATION;

use crate::http::admin::Admin;
use crate::http::problem::Refusal;

pub(super) async fn authorize(
    State(admin): State<Admin>,
    request: Request,
    next: Next,
) -> Response {
    let Some(key) = &admin.key else {
        return next.run(request).await;
    };
    let given = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        // The name of a scheme has no case (RFC 9110, section 11.1).
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer"))
        .map(|(_, key)| key);
    if given.is_some_and(|given| same(given.as_bytes(), key.as_bytes())) {
        return next.run(request).await;
    }
    let problem = Problem::new(Code::Unauthorized, "the request carries no valid admin key")
        .with_hint("send Authorization: Bearer with the value of CHATD_ADMIN_KEY");
    Refusal::from(problem).into_response()
}

/// Compares in a time that does not tell how much of the key was right.
fn same(given: &[u8], key: &[u8]) -> bool {
    given.len() == key.len()
        && given
            .iter()
            .zip(key)
            .fold(0, |differing, (a, b)| differing | (a ^ b))
            == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_compared_whole() {
        assert!(same(b"key", b"key"));
        assert!(!same(b"ke", b"key"));
        assert!(!same(b"kex", b"key"));
        assert!(!same(b"", b"key"));
    }
}
