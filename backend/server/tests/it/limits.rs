//! `/admin/applications/{token}/limit`: what an operator sets for one application.

use chat_wire::admin::limit::{NewRateLimit, RateLimit, Source};
use chat_wire::ids::AppToken;
use chat_wire::problem::Code;

use crate::harness::{Chat, Server, eventually};

fn path(token: AppToken) -> String {
    format!("/admin/applications/{}/limit", token.reveal())
}

/// Waits until the head of an answer to a create says this limit.
async fn heeded(server: &Server, chat: Chat, rate: Option<u32>) {
    let wanted = rate.map(|rate| format!("\"creates\";q={rate};w=1"));
    eventually("the limit is heeded", async || {
        let request = server.post(chat.path("/messages")).json(r#"{"body":"x"}"#);
        let answer = request.send().await;
        let told = answer.headers.get("ratelimit-policy");
        let told = told.map(|told| told.to_str().unwrap().to_owned());
        (told == wanted).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_one_application_is_kept_and_heeded() {
    let server = Server::with(&["--rate-limit=900"]).await;
    let (chat, other) = (server.chat().await, server.chat().await);
    let told = |rate_limit, source| RateLimit { rate_limit, source };
    let at_first: RateLimit = server.admin_get(path(chat.token)).send().await.is(200);
    assert_eq!(at_first, told(900, Source::Default));

    let set = server.admin_request("PUT", path(chat.token));
    let set: RateLimit = set.json(r#"{"rate_limit":2}"#).send().await.is(200);
    assert_eq!(set, told(2, Source::Application));
    heeded(&server, chat, Some(2)).await;
    heeded(&server, other, Some(900)).await;

    // What was set is stored.
    let server = server.restart().await;
    assert_eq!(server.admin.limit(chat.token).await.unwrap(), set);
    heeded(&server, chat, Some(2)).await;
    let none = NewRateLimit { rate_limit: 0 };
    server.admin.set_limit(chat.token, none).await.unwrap();
    heeded(&server, chat, None).await;

    let back = server.admin_request("DELETE", path(chat.token));
    let back: RateLimit = back.send().await.is(200);
    assert_eq!(back, told(900, Source::Default));
    heeded(&server, chat, Some(900)).await;
    // Once more is harmless.
    assert_eq!(server.admin.reset_limit(chat.token).await.unwrap(), back);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_for_an_application_that_is_there() {
    let server = Server::start().await;
    let nobody = "/admin/applications/00000000000000000000000000000000/limit";
    for (method, path) in [
        ("GET", nobody),
        ("DELETE", nobody),
        ("GET", "/admin/applications/x/limit"),
    ] {
        let answer = server.admin_request(method, path).send().await;
        answer.refused(Code::UnknownApplication, None, None);
    }
    let put = |body: &'static str| server.admin_request("PUT", nobody).json(body).send();
    put(r#"{"rate_limit":1}"#)
        .await
        .refused(Code::UnknownApplication, None, None);
    put("{}")
        .await
        .refused(Code::InvalidValue, Some("rate_limit"), None);
    put(r#"{"rate_limit":-1}"#)
        .await
        .refused(Code::InvalidValue, Some("rate_limit"), None);
}
