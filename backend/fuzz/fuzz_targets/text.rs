//! Text for search: normalizing again changes nothing, a concatenation normalizes to the concatenation, and
//! highlights are what a scan of the body finds.
//!
//! The input: the query, a byte 0xff, the body; what is not UTF-8 is replaced.

#![no_main]

use chat_core::text::{highlights, normalize};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(2, |byte| *byte == 0xff);
    let query = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let body = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let normalized = normalize(&query);
    assert_eq!(normalize(&normalized), normalized);
    assert_eq!(
        normalize(&format!("{query}{body}")),
        normalized.clone() + &normalize(&body)
    );
    scan(&body, &normalized);
    // What is a part of the body is found in it.
    let parts: Vec<char> = body.chars().take(9).collect();
    for part in parts.chunks(3) {
        scan(&body, &normalize(&String::from_iter(part)));
    }
});

fn scan(body: &str, query: &str) {
    let found = highlights(body, query);
    let contains = !query.is_empty() && normalize(body).contains(query);
    assert_eq!(!found.is_empty(), contains);
    let chars: Vec<char> = body.chars().collect();
    let mut free = 0;
    for (start, end) in found {
        assert!(free <= start && start < end);
        let text =
            |from: u32, to: u32| normalize(&String::from_iter(&chars[from as usize..to as usize]));
        assert!(text(start, end).contains(query));
        assert!(!text(free, start).contains(query));
        free = end;
    }
    let rest = normalize(&String::from_iter(&chars[free as usize..]));
    assert!(query.is_empty() || !rest.contains(query));
}
