//! The head of a plain request: all that a decision needs, and nothing that only hyper should judge.
//!
//! `backend/fuzz` compiles this file by itself and holds it against hyper, so it uses nothing of this crate.

use http::Method;

/// Most headers of a request.
pub(crate) const HEADERS_MAX: usize = 64;

/// A request that begins with these bytes.
pub(super) struct Head<'b> {
    pub(super) method: Method,
    /// Without the query.
    pub(super) path: &'b str,
    /// Bytes of head and body together.
    pub(super) whole: usize,
}

impl<'b> Head<'b> {
    /// Reads a whole head; `None` where it is cut off, wrong, or says anything about the connection or about
    /// the way in which the body comes. Framing is as in RFC 9112, section 6.
    pub(super) fn read(bytes: &'b [u8]) -> Option<Self> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(head) = request.parse(bytes).ok()? else {
            return None;
        };
        if request.version != Some(1) {
            return None;
        }
        let target = request.path?;
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        if !path.starts_with('/') || target.contains('#') {
            return None;
        }
        let mut length = None;
        for header in &*request.headers {
            match header.name {
                name if is(name, "content-length") && length.is_none() => {
                    length = Some(number(header.value)?);
                }
                name if is(name, "connection") && header.value == b"keep-alive" => {}
                name if UNUSUAL.iter().any(|unusual| is(name, unusual)) => return None,
                _ => {}
            }
        }
        let method = Method::from_bytes(request.method?.as_bytes()).ok()?;
        // The answer to the one has a length and no body; what follows the answer to the other may be no HTTP.
        if method == Method::HEAD || method == Method::CONNECT {
            return None;
        }
        Some(Self {
            method,
            path,
            whole: head.checked_add(length.unwrap_or(0))?,
        })
    }
}

/// What hyper alone should see: other framing, a connection that ends or changes, a body that waits to be
/// asked for, a second length.
const UNUSUAL: [&str; 5] = [
    "content-length",
    "transfer-encoding",
    "connection",
    "expect",
    "upgrade",
];

fn is(name: &str, known: &str) -> bool {
    name.eq_ignore_ascii_case(known)
}

/// Digits and nothing else: a sign or a list is not for us to read.
fn number(value: &[u8]) -> Option<usize> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PATH: &str = "/applications/00000000000000000000000000000001/chats/7/messages";

    fn request(head: &str) -> Option<usize> {
        let bytes = format!("POST {PATH} HTTP/1.1\r\nHost: a\r\n{head}\r\n");
        let read = Head::read(bytes.as_bytes());
        read.map(|head| {
            assert_eq!((&head.method, head.path), (&Method::POST, PATH));
            head.whole - bytes.len()
        })
    }

    #[test]
    fn a_plain_request_is_read() {
        assert_eq!(request(""), Some(0));
        assert_eq!(request("content-LENGTH: 12\r\n"), Some(12));
        let usual = "Connection: keep-alive\r\nIdempotency-Key: k\r\nContent-Length: 3\r\n";
        assert_eq!(request(usual), Some(3));
        let query = b"GET /search?a=b/c HTTP/1.1\r\n\r\n";
        let head = Head::read(query).unwrap();
        assert_eq!((head.path, head.whole), ("/search", query.len()));
    }

    #[test]
    fn what_only_hyper_should_judge_is_left_to_it() {
        for head in [
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length: \r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
            "Connection: close\r\n",
            "Connection: keep-alive, upgrade\r\n",
            "Upgrade: h2c\r\n",
            "Expect: 100-continue\r\n",
            "no colon\r\n",
        ] {
            assert_eq!(request(head), None, "{head}");
        }
        for bytes in [
            &b"POST /x HTTP/1.0\r\n\r\n"[..],
            b"POST http://a/x HTTP/1.1\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\n\r\n",
            b"POST /x#y HTTP/1.1\r\n\r\n",
            b"HEAD /x HTTP/1.1\r\n\r\n",
            b"CONNECT /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
            b"POST /x HTTP/1.1\r\nHost: a\r\n",
            b"\x16\x03\x01",
            b"",
        ] {
            assert!(Head::read(bytes).is_none());
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Head::read(&bytes);
        }

        #[test]
        fn a_cut_head_is_no_head(cut in 0_usize..60) {
            let whole = format!("POST {PATH} HTTP/1.1\r\nContent-Length: 2\r\n\r\n");
            let cut = &whole.as_bytes()[..whole.len() - 1 - cut];
            prop_assert!(Head::read(cut).is_none());
        }
    }
}
