//! Documents on their way in: what is indexed of each, and what the answer says about it.

use chat_core::port::search::{Document, Error, Indexed};
use chat_core::text;
use serde::Serialize;
use serde_json::Value;

/// Bytes of one request. Far below any server's limit, and enough that a request more is no cost.
const BULK_BYTES: usize = 2 * 1024 * 1024;
/// Documents of one request: a batch is a few requests, so that one is written while another is read.
const BULK_DOCUMENTS: usize = 1_000;

#[derive(Serialize)]
struct Action<'a> {
    index: Target<'a>,
}

#[derive(Serialize)]
struct Target<'a> {
    _id: &'a str,
    routing: &'a str,
    version: u64,
    version_type: &'static str,
}

#[derive(Serialize)]
struct Source<'a> {
    token: &'a str,
    scope: &'a str,
    chat: u32,
    number: u32,
    created_at: i64,
    deleted: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    grams: &'a str,
}

/// When a document replaces the one that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replaces {
    /// Where its revision is higher.
    Older,
    /// Where its revision is not lower.
    OlderOrSame,
}

/// Writes requests of a bearable size.
pub(super) struct Requests<'d> {
    rest: &'d [Document],
    replaces: Replaces,
}

impl<'d> Requests<'d> {
    pub(super) const fn new(documents: &'d [Document], replaces: Replaces) -> Self {
        Self {
            rest: documents,
            replaces,
        }
    }

    fn write(&self, lines: &mut Vec<u8>, document: &Document) {
        let token = document.key.chat.token.reveal();
        let scope = format!("{token}|{}", document.key.chat.chat);
        let id = format!("{scope}|{}", document.key.number);
        let grams = match &document.body {
            Some(body) => text::tokens(&text::normalize(body)),
            None => String::new(),
        };
        let action = Action {
            index: Target {
                _id: &id,
                routing: &token,
                version: document.revision,
                version_type: match self.replaces {
                    Replaces::Older => "external",
                    Replaces::OlderOrSame => "external_gte",
                },
            },
        };
        let source = Source {
            token: &token,
            scope: &scope,
            chat: document.key.chat.chat.get(),
            number: document.key.number.get(),
            created_at: document.created_at.as_micros(),
            deleted: document.body.is_none(),
            grams: &grams,
        };
        serde_json::to_writer(&mut *lines, &action).expect("writing to memory does not fail");
        lines.push(b'\n');
        serde_json::to_writer(&mut *lines, &source).expect("writing to memory does not fail");
        lines.push(b'\n');
    }
}

impl Iterator for Requests<'_> {
    /// The lines of a request, and how many documents it has.
    type Item = (Vec<u8>, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let mut lines = Vec::new();
        let mut count = 0;
        while let Some((document, rest)) = self.rest.split_first() {
            if count == BULK_DOCUMENTS || lines.len() >= BULK_BYTES {
                break;
            }
            self.write(&mut lines, document);
            self.rest = rest;
            count += 1;
        }
        (count > 0).then_some((lines, count))
    }
}

/// One verdict a document. An answer of 200 may hold anything.
///
/// # Errors
/// Something in it may go well later: all of it is to be sent again, which harms nothing.
pub(super) fn verdicts(answer: &Value, documents: usize) -> Result<Vec<Indexed>, Error> {
    let items = answer["items"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if items.len() != documents {
        return Err(Error::Unavailable(format!(
            "{} of {documents} documents were answered",
            items.len()
        )));
    }
    items.iter().map(|item| verdict(&item["index"])).collect()
}

fn verdict(item: &Value) -> Result<Indexed, Error> {
    // The kind alone: the reason may repeat what somebody wrote.
    let kind = item["error"]["type"].as_str().unwrap_or_default();
    match item["status"].as_u64() {
        Some(200..=299) => Ok(Indexed::Done),
        Some(409) => Ok(Indexed::Newer),
        Some(404) => Err(Error::Unusable(
            "the index is missing: run `chatd migrate`".into(),
        )),
        Some(400) if kind != "cluster_block_exception" => Ok(Indexed::Refused(kind.to_owned())),
        status => Err(Error::Unavailable(format!(
            "a document got status {status:?} {kind}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use chat_core::port::store::{ChatKey, MessageKey};
    use chat_wire::ids::{AppToken, ChatNumber, MessageNumber};
    use chat_wire::time::Timestamp;
    use serde_json::json;

    use super::*;

    fn document(number: u32, body: Option<&str>) -> Document {
        Document {
            key: MessageKey {
                chat: ChatKey {
                    token: AppToken::from_bytes([1; 16]),
                    chat: ChatNumber::FIRST,
                },
                number: MessageNumber::new(number).unwrap(),
            },
            revision: 9,
            created_at: Timestamp::from_micros(5).unwrap(),
            body: body.map(str::to_owned),
        }
    }

    #[test]
    fn a_document_is_two_lines() {
        let documents = [document(1, Some("A b_")), document(2, None)];
        let (lines, count) = Requests::new(&documents, Replaces::Older).next().unwrap();
        assert_eq!(count, 2);
        let lines: Vec<Value> = String::from_utf8(lines)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let token = "01".repeat(16);
        assert_eq!(lines[0]["index"]["_id"], format!("{token}|1|1"));
        assert_eq!(lines[0]["index"]["version"], 9);
        assert_eq!(lines[1]["grams"], "_ _b\\_ \\_ a a_b b b\\_");
        assert_eq!(lines[1]["scope"], format!("{token}|1"));
        assert_eq!(lines[3]["deleted"], true);
        assert_eq!(lines[3].get("grams"), None);
    }

    #[test]
    fn requests_have_a_size() {
        let documents: Vec<Document> = (1..=2_500).map(|nth| document(nth, Some("x"))).collect();
        let counts: Vec<usize> = Requests::new(&documents, Replaces::Older)
            .map(|(_, count)| count)
            .collect();
        assert_eq!(counts, [1_000, 1_000, 500]);
    }

    #[test]
    fn verdicts_are_told_apart() {
        let answer = json!({"errors": true, "items": [
            {"index": {"status": 201}},
            {"index": {"status": 409, "error": {"type": "version_conflict_engine_exception"}}},
            {"index": {"status": 400, "error": {"type": "document_parsing_exception"}}},
        ]});
        let verdicts_of = verdicts(&answer, 3).unwrap();
        assert_eq!(verdicts_of[..2], [Indexed::Done, Indexed::Newer]);
        assert!(
            matches!(&verdicts_of[2], Indexed::Refused(kind) if kind == "document_parsing_exception")
        );
        assert!(verdicts(&answer, 4).is_err());
        let busy = json!({"items": [{"index": {"status": 429, "error": {"type": "x"}}}]});
        assert!(verdicts(&busy, 1).unwrap_err().retryable());
    }
}
