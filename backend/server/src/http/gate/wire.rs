//! A refusal as bytes: what hyper would write of it.

use std::cell::RefCell;
use std::io::Write as _;
use std::time::{Duration, SystemTime};

use chat_wire::problem::MEDIA_TYPE;

use crate::http::front::{LEFT, POLICY};
use crate::http::guard::refused::Refused;

/// Appends the whole answer. `told` is what its head says of the limit of the application.
pub(super) fn write(out: &mut Vec<u8>, refused: &Refused, told: Option<(String, String)>) {
    let (status, json) = (refused.status(), refused.json());
    out.reserve(256 + json.len());
    // Writing into memory does not fail.
    let _ = write!(
        out,
        "HTTP/1.1 {} {}\r\ncontent-type: {MEDIA_TYPE}\r\nretry-after: {}\r\ncontent-length: {}\r\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default(),
        refused.retry_seconds(),
        json.len(),
    );
    if let Some((policy, left)) = told {
        let _ = write!(out, "{POLICY}: {policy}\r\n{LEFT}: {left}\r\n");
    }
    out.extend_from_slice(b"date: ");
    date(out);
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(json);
}

/// The time as HTTP writes it (RFC 9110, section 5.6.7), put together once a second.
fn date(out: &mut Vec<u8>) {
    thread_local! {
        static WRITTEN: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = SystemTime::now();
    let second = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs();
    WRITTEN.with_borrow_mut(|(of, text)| {
        if *of != second || text.is_empty() {
            *text = httpdate::fmt_http_date(now);
            *of = second;
        }
        out.extend_from_slice(text.as_bytes());
    });
}
