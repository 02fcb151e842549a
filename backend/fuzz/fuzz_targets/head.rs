//! The gate's reading of a request against hyper's: where the gate knows a plain request, hyper has to find the
//! same one in the same bytes, and nothing of it before or behind.
//!
//! The input is the beginning of a connection. Where the gate reads a head of it, hyper is given exactly the
//! bytes that the gate counts to the request, and behind them another request: it has to find both.

#![no_main]

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use libfuzzer_sys::{Corpus, fuzz_target};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[path = "../../server/src/http/gate/head.rs"]
mod head;

/// Bodies that are longer are not tried.
const BODY_BYTES: usize = 4 * 1024;
const NEXT: &[u8] = b"PUT /next HTTP/1.1\r\nconnection: close\r\n\r\n";

/// A request as hyper hands it to a handler.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some(head) = head::Head::read(data) else {
        return Corpus::Keep;
    };
    let (begin, length) = parts(data);
    assert_eq!(head.whole, begin + length);
    if length > BODY_BYTES {
        return Corpus::Reject;
    }
    let mut bytes = data[..data.len().min(head.whole)].to_vec();
    // What of the body has not come yet.
    bytes.resize(head.whole, b'x');
    let body = bytes[begin..].to_vec();
    bytes.extend_from_slice(NEXT);
    let seen = serve(&bytes);
    // hyper may refuse what the gate takes for a request, and then ends the connection; it never sees another.
    let [first, next] = &seen[..] else {
        assert!(seen.is_empty(), "hyper found {seen:?}");
        return Corpus::Keep;
    };
    assert_eq!(first.method, head.method);
    assert_eq!(first.path, head.path);
    assert_eq!(first.body, body);
    assert_eq!(first.headers, headers(data));
    assert_eq!((&next.method, next.path.as_str()), (&Method::PUT, "/next"));
    assert!(next.body.is_empty());
    Corpus::Keep
});

/// Where the body begins, and how long it is, by the headers alone.
fn parts(data: &[u8]) -> (usize, usize) {
    let mut headers = [httparse::EMPTY_HEADER; head::HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let begin = request.parse(data).expect("the gate has read it").unwrap();
    let mut lengths = request.headers.iter();
    let length = lengths.find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.map_or("0", |length| {
        std::str::from_utf8(length.value).expect("digits")
    });
    (begin, length.parse().expect("a number"))
}

fn headers(data: &[u8]) -> HeaderMap {
    let mut headers = [httparse::EMPTY_HEADER; head::HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    request.parse(data).expect("the gate has read it").unwrap();
    let mut map = HeaderMap::new();
    for header in request.headers {
        let name = http::HeaderName::from_bytes(header.name.as_bytes()).expect("httparse's name");
        let value = http::HeaderValue::from_bytes(header.value).expect("httparse's value");
        map.append(name, value);
    }
    map
}

/// Gives hyper a connection with these bytes, and returns the requests that it finds.
fn serve(bytes: &[u8]) -> Vec<Seen> {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    }
    let seen = Rc::new(RefCell::new(Vec::new()));
    let found = Rc::clone(&seen);
    let service = service_fn(move |request: Request<Incoming>| {
        let found = Rc::clone(&found);
        async move {
            let (parts, body) = request.into_parts();
            let body = body
                .collect()
                .await
                .expect("a whole body")
                .to_bytes()
                .to_vec();
            found.borrow_mut().push(Seen {
                method: parts.method,
                path: parts.uri.path().to_owned(),
                headers: parts.headers,
                body,
            });
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let (mut client, server) = tokio::io::duplex(64 * 1024);
            client.write_all(bytes).await.expect("room for all");
            client.shutdown().await.expect("an end");
            let mut http = http1::Builder::new();
            http.max_headers(head::HEADERS_MAX)
                .half_close(true)
                .writev(false);
            let connection = http.serve_connection(TokioIo::new(server), service);
            let mut answers = Vec::new();
            // What is wrong with the bytes is an error of the connection.
            let (_, read) = tokio::join!(connection, client.read_to_end(&mut answers));
            read.expect("answers");
        });
    });
    seen.take()
}
