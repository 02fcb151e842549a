//! What no path, method or parameter leads to.

use chat_wire::problem::Code;

use crate::harness::Server;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_404_and_says_what() {
    let server = Server::start().await;
    let chat = server.chat().await;
    server.say_all(chat, &["a"]).await;
    let token = chat.token.reveal();
    let unknown_tokens = [
        "00000000000000000000000000000000".to_owned(),
        "x".to_owned(),
        token[1..].to_owned(),
        token.to_uppercase().replace(char::is_numeric, "A"),
        format!("{token}0"),
        "%F0%9F%98%80".to_owned(),
    ];
    for token in unknown_tokens {
        let app = format!("/applications/{token}");
        for below in ["", "/chats", "/chats/1", "/chats/1/messages"] {
            let answer = server.get(format!("{app}{below}")).send().await;
            answer.refused(Code::UnknownApplication, None, None);
        }
        for below in ["/chats/1/messages/1", "/chats/1/messages/stream"] {
            let answer = server.get(format!("{app}{below}")).send().await;
            answer.refused(Code::UnknownApplication, None, None);
        }
        let search = server.get(format!("{app}/chats/1/messages/search?q=a"));
        let answer = search.send().await;
        answer.refused(Code::UnknownApplication, None, None);
        let search = server.get(format!("/search?application_token={token}&body=a"));
        let answer = search.send().await;
        answer.refused(Code::UnknownApplication, None, None);
        let chat = server.post(format!("{app}/chats")).send().await;
        chat.refused(Code::UnknownApplication, None, None);
        let rename = server.put(&app).json(r#"{"name":"x"}"#).send().await;
        rename.refused(Code::UnknownApplication, None, None);
        let message = server.post(format!("{app}/chats/1/messages"));
        let message = message.json(r#"{"body":"x"}"#).send().await;
        message.refused(Code::UnknownApplication, None, None);
    }
    for number in [
        "2",
        "0",
        "01",
        "+1",
        "-1",
        "1.0",
        "x",
        "4294967295",
        "4294967296",
    ] {
        let path = format!("/applications/{token}/chats/{number}");
        for below in [
            "",
            "/messages",
            "/messages/1",
            "/messages/stream",
            "/messages/search?q=a",
        ] {
            let answer = server.get(format!("{path}{below}")).send().await;
            answer.refused(Code::UnknownChat, None, None);
        }
        let message = server.post(format!("{path}/messages"));
        let message = message.json(r#"{"body":"x"}"#).send().await;
        message.refused(Code::UnknownChat, None, None);
        let batch = server.post(format!("{path}/messages/batch"));
        let batch = batch.ndjson(r#"{"body":"x"}"#).send().await;
        batch.refused(Code::UnknownChat, None, None);
    }
    for number in ["2", "0", "01", "x", "4294967295", "4294967296"] {
        let path = chat.path(&format!("/messages/{number}"));
        let answer = server.get(&path).send().await;
        answer.refused(Code::UnknownMessage, None, None);
        let answer = server.delete(&path).send().await;
        answer.refused(Code::UnknownMessage, None, None);
        let answer = server.put(&path).json(r#"{"body":"x"}"#).send().await;
        answer.refused(Code::UnknownMessage, None, None);
    }
    assert_eq!(server.say(chat, "b").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_do_not_exist() {
    let server = Server::start().await;
    let chat = server.chat().await;
    let paths = [
        "/".to_owned(),
        "/nothing".to_owned(),
        "/applications/".to_owned(),
        "/livez".to_owned(),
        "/metrics".to_owned(),
        "/admin/applications".to_owned(),
        "//applications".to_owned(),
        chat.path("/"),
        chat.path("/messages/1/2"),
        "/applications/%ff/chats".to_owned(),
    ];
    for path in &paths {
        for method in ["GET", "POST", "DELETE", "OPTIONS", "BREW"] {
            let answer = server.request(method, path).send().await;
            if answer.status != 405 {
                answer.refused(Code::NoSuchPath, None, None);
            }
        }
        let answer = server.get(path).send().await;
        answer.refused(Code::NoSuchPath, None, None);
    }
    for path in ["/", "/applications", "/admin"] {
        let answer = server.admin_get(path).send().await;
        answer.refused(Code::NoSuchPath, None, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_cannot_be_read_are_named() {
    let server = Server::start().await;
    let chat = server.chat().await;
    let app = format!("/applications/{}", chat.token.reveal());
    let messages = chat.path("/messages");
    let search = chat.path("/messages/search");
    let anywhere = format!("/search?application_token={}", chat.token.reveal());
    let cases = [
        (format!("{app}/chats?limit=x"), Some("limit")),
        (format!("{app}/chats?limit="), Some("limit")),
        (format!("{app}/chats?limit=-1"), Some("limit")),
        (format!("{app}/chats?after=4294967296"), Some("after")),
        (format!("{app}/chats?before=1"), Some("before")),
        (format!("{messages}?after=x"), Some("after")),
        (format!("{messages}?around=1.5"), Some("around")),
        (format!("{messages}?before=1&before=2"), Some("before")),
        (format!("{messages}?after=1&before=2"), None),
        (format!("{messages}?after=1&around=2"), None),
        (search.clone(), Some("q")),
        (format!("{search}?body=x"), Some("body")),
        (format!("{search}?q=x&sort=best"), Some("sort")),
        (anywhere.clone(), Some("body")),
        (format!("{anywhere}&q=x"), Some("q")),
        ("/search?body=x".to_owned(), Some("application_token")),
    ];
    for (path, field) in cases {
        let answer = server.get(path).send().await;
        answer.refused(Code::InvalidParameter, field, None);
    }
    let long = "x".repeat(257);
    let cases = [
        (format!("{app}/chats?limit=0"), "limit"),
        (format!("{messages}?limit=0"), "limit"),
        (format!("{messages}?limit=1001"), "limit"),
        (format!("{search}?q=x&limit=1001"), "limit"),
        (format!("{search}?q="), "q"),
        (format!("{search}?q={long}"), "q"),
        (format!("{search}?q=%CC%81"), "q"),
        (format!("{search}?q=x&cursor=x"), "cursor"),
        (format!("{anywhere}&body="), "body"),
        (format!("{anywhere}&body={long}"), "body"),
    ];
    for (path, field) in cases {
        let answer = server.get(path).send().await;
        answer.refused(Code::InvalidValue, Some(field), None);
    }
}
