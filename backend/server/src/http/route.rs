//! Which route a path belongs to, told without the router: what is shed never comes that far.

use chat_core::port::log::Topic;
use http::Method;

/// The pattern that the router would find for a path, if it would find one.
pub(crate) fn pattern(path: &str) -> Option<&'static str> {
    let mut segments = path.strip_prefix('/')?.split('/');
    // One more than the longest path of ours has.
    let mut next = || segments.next();
    let all = [next(), next(), next(), next(), next(), next(), next()];
    if all.contains(&Some("")) {
        return None;
    }
    match all {
        [Some("search"), None, ..] => Some("/search"),
        [Some("openapi.json"), None, ..] => Some("/openapi.json"),
        [Some("docs"), None, ..] => Some("/docs"),
        [Some("applications"), rest @ ..] => below_applications(rest),
        _ => None,
    }
}

fn below_applications(rest: [Option<&str>; 6]) -> Option<&'static str> {
    let messages = match rest {
        [None, ..] => return Some("/applications"),
        [_, None, ..] => return Some("/applications/{token}"),
        [_, Some("chats"), None, ..] => return Some("/applications/{token}/chats"),
        [_, Some("chats"), _, None, ..] => return Some("/applications/{token}/chats/{chat}"),
        [_, Some("chats"), _, Some("messages"), below @ ..] => below,
        _ => return None,
    };
    match messages {
        [None, _] => Some("/applications/{token}/chats/{chat}/messages"),
        [Some("batch"), None] => Some("/applications/{token}/chats/{chat}/messages/batch"),
        [Some("stream"), None] => Some("/applications/{token}/chats/{chat}/messages/stream"),
        [Some("search"), None] => Some("/applications/{token}/chats/{chat}/messages/search"),
        [Some(_), None] => Some("/applications/{token}/chats/{chat}/messages/{message}"),
        [_, Some(_)] => None,
    }
}

/// What a request wants, as far as its method and path tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    /// To stay open for hours; it costs nothing while it waits.
    Stream,
    /// To read.
    Read,
    /// To create something of this topic.
    Create(Topic),
    /// To change what is there.
    Change,
}

impl Asks {
    /// By the method and the pattern of the path.
    pub(crate) fn of(method: &Method, pattern: Option<&str>) -> Self {
        let last = pattern.and_then(|pattern| pattern.rsplit('/').next());
        match *method {
            Method::POST => match last {
                Some("applications") => Self::Create(Topic::Applications),
                Some("chats") => Self::Create(Topic::Chats),
                Some("messages" | "batch") => Self::Create(Topic::Messages),
                // No such path: its answer costs no more than a refusal.
                _ => Self::Read,
            },
            Method::PUT | Method::DELETE => Self::Change,
            _ if last == Some("stream") => Self::Stream,
            _ => Self::Read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_known_by_its_path() {
        for (route, _) in crate::http::routes() {
            let path = route
                .replace("{token}", "00000000000000000000000000000001")
                .replace("{chat}", "12")
                .replace("{message}", "345");
            assert_eq!(pattern(&path), Some(route.as_str()), "{path}");
            // A slash more is another path, which nobody answers.
            assert_eq!(pattern(&format!("{path}/")), None, "{path}/");
        }
        for path in [
            "",
            "/",
            "//",
            "applications",
            "/Applications",
            "/applications//chats",
            "/applications/t/chat",
            "/applications/t/chats/1/message",
            "/applications/t/chats/1/messages/batch/1",
            "/applications/t/chats/1/messages/1/2/3",
        ] {
            assert_eq!(pattern(path), None, "{path}");
        }
    }

    #[test]
    fn every_route_that_appends_is_known() {
        let message = "/applications/{token}/chats/{chat}/messages/{message}";
        for (method, route, asks) in [
            (
                Method::POST,
                "/applications",
                Asks::Create(Topic::Applications),
            ),
            (
                Method::POST,
                "/applications/{token}/chats",
                Asks::Create(Topic::Chats),
            ),
            (
                Method::POST,
                "/applications/{token}/chats/{chat}/messages",
                Asks::Create(Topic::Messages),
            ),
            (
                Method::POST,
                "/applications/{token}/chats/{chat}/messages/batch",
                Asks::Create(Topic::Messages),
            ),
            (Method::PUT, "/applications/{token}", Asks::Change),
            (Method::PUT, message, Asks::Change),
            (Method::DELETE, message, Asks::Change),
            (Method::GET, message, Asks::Read),
            (Method::GET, "/search", Asks::Read),
            (
                Method::GET,
                "/applications/{token}/chats/{chat}/messages/stream",
                Asks::Stream,
            ),
        ] {
            assert!(
                crate::http::routes().iter().any(|(path, _)| path == route),
                "{route}"
            );
            assert_eq!(Asks::of(&method, Some(route)), asks, "{method} {route}");
        }
    }
}
