//! One line of an import: read once, checked against the limits of the API, and written again without what is not ours.

use std::borrow::Cow;

use chat_wire::time::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Longest body, in bytes of UTF-8.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024;
/// Longest sender, in code points.
pub(crate) const SENDER_CHARS_MAX: usize = 255;

/// A line that the API will take.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// The value of `chat` as JSON, always in the same spelling.
    pub(crate) chat: Cow<'a, str>,
    /// `None` for a line that only says that there is such a chat.
    pub(crate) message: Option<Message<'a>>,
}

/// Its parts as JSON, in the shortest spelling.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    body: Cow<'a, str>,
    sender: Option<Cow<'a, str>>,
    sent_at: Option<Cow<'a, str>>,
}

/// Fields that are not here are ignored.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    chat: Option<&'a RawValue>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
    #[serde(borrow)]
    sender: Option<&'a RawValue>,
    #[serde(borrow)]
    sent_at: Option<&'a RawValue>,
    #[serde(borrow)]
    empty: Option<&'a RawValue>,
}

/// A JSON string: what it says, and how it is spelled.
struct Text<'a> {
    value: Cow<'a, str>,
    json: Cow<'a, str>,
}

impl<'a> Line<'a> {
    /// Reads a line without its line end.
    ///
    /// # Errors
    /// The reason for which it is refused.
    pub(crate) fn parse(line: &'a [u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(line).map_err(|_| "not UTF-8".to_owned())?;
        // Serde would take an array for the fields in order.
        if !text.trim_start().starts_with('{') {
            return Err("not a JSON object".to_owned());
        }
        let fields: Fields<'a> = serde_json::from_str(text).map_err(|error| reason(&error))?;
        let chat = chat(fields.chat.ok_or("chat is missing")?)?;
        if fields.body.is_none() && fields.empty.is_some_and(|empty| empty.get() == "true") {
            return Ok(Self {
                chat,
                message: None,
            });
        }
        let body = text_of("body", fields.body.ok_or("body is missing")?)?;
        check_body(&body.value)?;
        let sender = optional("sender", fields.sender)?;
        if let Some(sender) = &sender {
            check_sender(&sender.value)?;
        }
        let sent_at = optional("sent_at", fields.sent_at)?;
        if let Some(sent_at) = &sent_at {
            let parsed: Result<Timestamp, _> = sent_at.value.parse();
            parsed.map_err(|error| format!("sent_at: {error}"))?;
        }
        Ok(Self {
            chat,
            message: Some(Message {
                body: body.json,
                sender: sender.map(|sender| sender.json),
                sent_at: sent_at.map(|sent_at| sent_at.json),
            }),
        })
    }
}

impl Message<'_> {
    /// Most bytes that [`Message::append`] adds.
    pub(crate) fn encoded_len(&self) -> usize {
        let parts = [
            Some(&self.body),
            self.sender.as_ref(),
            self.sent_at.as_ref(),
        ];
        let parts: usize = parts.into_iter().flatten().map(|part| part.len()).sum();
        parts + r#"{"body":,"sender":,"sent_at":}"#.len() + 1
    }

    /// Adds the line that the API reads.
    pub(crate) fn append(&self, payload: &mut Vec<u8>) {
        payload.extend_from_slice(br#"{"body":"#);
        payload.extend_from_slice(self.body.as_bytes());
        if let Some(sender) = &self.sender {
            payload.extend_from_slice(br#","sender":"#);
            payload.extend_from_slice(sender.as_bytes());
        }
        if let Some(sent_at) = &self.sent_at {
            payload.extend_from_slice(br#","sent_at":"#);
            payload.extend_from_slice(sent_at.as_bytes());
        }
        payload.extend_from_slice(b"}\n");
    }
}

/// A text or a whole number; 1 and "1" are two chats, "a" and "\u0061" are one.
fn chat(raw: &RawValue) -> Result<Cow<'_, str>, String> {
    let json = raw.get();
    if json.starts_with('"') {
        return Ok(text_of("chat", raw)?.json);
    }
    if json.parse::<i64>().is_ok() || json.parse::<u64>().is_ok() {
        return Ok(Cow::Borrowed(json));
    }
    Err("chat must be a text or a whole number".to_owned())
}

fn optional<'a>(name: &str, raw: Option<&'a RawValue>) -> Result<Option<Text<'a>>, String> {
    raw.filter(|raw| raw.get() != "null")
        .map(|raw| text_of(name, raw))
        .transpose()
}

fn text_of<'a>(name: &str, raw: &'a RawValue) -> Result<Text<'a>, String> {
    #[derive(Deserialize)]
    struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);

    let json = raw.get();
    if !json.starts_with('"') {
        return Err(format!("{name} must be a text"));
    }
    let Borrowed(value) =
        serde_json::from_str(json).map_err(|error| format!("{name}: {}", reason(&error)))?;
    let json = match &value {
        // Without escapes there is no shorter spelling.
        Cow::Borrowed(_) => Cow::Borrowed(json),
        Cow::Owned(value) => {
            Cow::Owned(serde_json::to_string(value).expect("a text always becomes JSON"))
        }
    };
    Ok(Text { value, json })
}

fn check_body(body: &str) -> Result<(), String> {
    match body.len() {
        0 => Err("body must have at least one character".to_owned()),
        1..=BODY_BYTES_MAX => Ok(()),
        bytes => Err(format!(
            "body must have at most {BODY_BYTES_MAX} bytes of UTF-8, and has {bytes}"
        )),
    }
}

fn check_sender(sender: &str) -> Result<(), String> {
    // No text has more code points than bytes.
    if sender.len() > SENDER_CHARS_MAX && sender.chars().count() > SENDER_CHARS_MAX {
        return Err(format!(
            "sender must have at most {SENDER_CHARS_MAX} characters"
        ));
    }
    Ok(())
}

/// What serde says, without the line, which is always 1 here.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.replace(" at line 1 column ", " at column ");
    if error.is_data() {
        text
    } else {
        format!("not JSON: {text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(line: &str) -> Result<(String, String), String> {
        let line = Line::parse(line.as_bytes())?;
        let mut payload = Vec::new();
        if let Some(message) = &line.message {
            message.append(&mut payload);
            assert!(payload.len() <= message.encoded_len());
        }
        Ok((line.chat.into_owned(), String::from_utf8(payload).unwrap()))
    }

    fn refused(line: &str) -> String {
        payload(line).unwrap_err()
    }

    #[test]
    fn only_what_is_ours_is_sent() {
        let line = r#" {"sent_at":"2004-12-25T09:14:00Z","x":{"y":[1]},"chat":"a","sender":"ann","body":"hi"} "#;
        let expected =
            "{\"body\":\"hi\",\"sender\":\"ann\",\"sent_at\":\"2004-12-25T09:14:00Z\"}\n";
        assert_eq!(payload(line), Ok(("\"a\"".to_owned(), expected.to_owned())));
    }

    #[test]
    fn absent_and_null_are_the_same() {
        let absent = payload(r#"{"chat":7,"body":"x"}"#);
        assert_eq!(
            absent,
            Ok(("7".to_owned(), "{\"body\":\"x\"}\n".to_owned()))
        );
        assert_eq!(
            payload(r#"{"chat":7,"body":"x","sender":null,"sent_at":null}"#),
            absent
        );
    }

    #[test]
    fn spelling_makes_no_difference() {
        let plain = payload(r#"{"chat":"é","body":"tab\tü"}"#).unwrap();
        let escaped = payload(r#"{"chat":"\u00e9","body":"\u0074ab\u0009\u00fc"}"#).unwrap();
        assert_eq!(plain, escaped);
    }

    #[test]
    fn a_chat_may_be_empty_if_it_says_so() {
        assert_eq!(
            payload(r#"{"chat":2,"empty":true}"#),
            Ok(("2".to_owned(), String::new()))
        );
        assert_eq!(refused(r#"{"chat":2,"empty":false}"#), "body is missing");
    }

    #[test]
    fn the_edges_of_the_limits() {
        let body = |bytes: usize| format!(r#"{{"chat":1,"body":"{}"}}"#, "x".repeat(bytes));
        assert!(payload(&body(BODY_BYTES_MAX)).is_ok());
        assert_eq!(
            refused(&body(BODY_BYTES_MAX + 1)),
            "body must have at most 65536 bytes of UTF-8, and has 65537"
        );
        let sender = |chars: usize| {
            let name = "\u{1F600}".repeat(chars);
            format!(r#"{{"chat":1,"body":"x","sender":"{name}"}}"#)
        };
        assert!(payload(&sender(255)).is_ok());
        assert_eq!(
            refused(&sender(256)),
            "sender must have at most 255 characters"
        );
    }

    #[test]
    fn each_refusal_has_its_reason() {
        let reasons = [
            ("", "not a JSON object"),
            ("hello", "not a JSON object"),
            (r#"["a","b"]"#, "not a JSON object"),
            (
                r#"{"chat":1,"body":"x""#,
                "not JSON: EOF while parsing an object at column 20",
            ),
            (r#"{"body":"x"}"#, "chat is missing"),
            (
                r#"{"chat":1.5,"body":"x"}"#,
                "chat must be a text or a whole number",
            ),
            (
                r#"{"chat":true,"body":"x"}"#,
                "chat must be a text or a whole number",
            ),
            (r#"{"chat":1}"#, "body is missing"),
            (r#"{"chat":1,"body":null}"#, "body is missing"),
            (r#"{"chat":1,"body":7}"#, "body must be a text"),
            (
                r#"{"chat":1,"body":""}"#,
                "body must have at least one character",
            ),
            (
                r#"{"chat":1,"body":"\ud800"}"#,
                "body: not JSON: unexpected end of hex escape at column 8",
            ),
            (
                r#"{"chat":1,"body":"x","body":"y"}"#,
                "duplicate field `body` at column 27",
            ),
            (
                r#"{"chat":1,"body":"x","sender":5}"#,
                "sender must be a text",
            ),
            (
                r#"{"chat":1,"body":"x","sent_at":"noon"}"#,
                "sent_at: a time is RFC 3339 with an offset, like 2026-01-31T12:00:00Z, in the years 1000 to 9999",
            ),
        ];
        for (line, expected) in reasons {
            assert_eq!(refused(line), expected, "{line}");
        }
        assert_eq!(
            Line::parse(b"{\"body\":\"\xff\"}").unwrap_err(),
            "not UTF-8"
        );
    }
}
