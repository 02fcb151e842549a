//! Errors as RFC 9457 `application/problem+json`.

use serde::{Deserialize, Serialize};

/// The media type of a problem document (RFC 9457, section 3).
pub const MEDIA_TYPE: &str = "application/problem+json";

/// What went wrong, why, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:chat:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same sentence for every problem of this code.
    pub title: String,
    /// The HTTP status, repeated.
    pub status: u16,
    /// What was wrong with this request.
    pub detail: String,
    /// For programs: one of the names in [`Code`].
    pub code: Code,
    /// What to do, where something helps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The field or parameter that was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The line of a batch that was refused, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal, $title:literal;)*) => {
        /// Every problem that the API can answer with.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Code {
            /// All of them, for documents and tests.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name in JSON.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The HTTP status that goes with it.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// One sentence for all problems of this code.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    /// The body is not JSON, or not UTF-8.
    InvalidJson = "invalid_json", 400, "the body is not valid JSON";
    /// A query parameter, header or path cannot be read.
    InvalidParameter = "invalid_parameter", 400, "a parameter cannot be read";
    /// The bearer key of the admin listener is missing or wrong.
    Unauthorized = "unauthorized", 401, "the admin key is missing or wrong";
    /// No such path.
    NoSuchPath = "no_such_path", 404, "there is nothing at this path";
    /// No application has this token.
    UnknownApplication = "unknown_application", 404, "no application has this token";
    /// The application has given out no such chat number.
    UnknownChat = "unknown_chat", 404, "the application has no such chat";
    /// The chat has given out no such message number.
    UnknownMessage = "unknown_message", 404, "the chat has no such message";
    /// There is no such dead letter.
    UnknownLetter = "unknown_letter", 404, "there is no such dead letter";
    /// The path exists, the method does not.
    MethodNotAllowed = "method_not_allowed", 405, "the path does not take this method";
    /// The request took longer to arrive than the server waits.
    RequestTimeout = "request_timeout", 408, "the request did not arrive in time";
    /// The first create with this key has not been answered yet.
    KeyInFlight = "key_in_flight", 409, "the first request with this idempotency key is still under way";
    /// Another run is at work.
    Busy = "busy", 409, "another run is at work";
    /// The message was deleted, or its number was never used.
    Gone = "gone", 410, "the message is gone";
    /// The body is larger than the limit.
    TooLarge = "too_large", 413, "the body is too large";
    /// The request carries another media type than JSON.
    UnsupportedMediaType = "unsupported_media_type", 415, "the body is not declared as JSON";
    /// JSON of the wrong shape, or a value that breaks a rule.
    InvalidValue = "invalid_value", 422, "a value breaks a rule";
    /// The key was used with another body.
    KeyReused = "key_reused", 422, "the idempotency key was used with another body";
    /// The application sends more than its limit.
    TooManyRequests = "too_many_requests", 429, "the application sends more than its limit";
    /// A defect of ours.
    Internal = "internal", 500, "something broke on our side";
    /// What is stored is not what was written, so it is not shown.
    Damaged = "damaged", 500, "what is stored was damaged";
    /// An engine that is needed does not answer.
    Unavailable = "unavailable", 503, "something that is needed does not answer";
    /// More work than can be done in time.
    Overloaded = "overloaded", 503, "more is asked than can be done in time";
    /// The application's counters are being recovered.
    Fenced = "fenced", 503, "the application's numbers are being recovered";
    /// The event was not acknowledged within the deadline; its outcome is unknown.
    NotAcknowledged = "not_acknowledged", 503, "the log did not acknowledge the record";
    /// The server is stopping.
    Stopping = "stopping", 503, "the server is stopping";
}

impl Problem {
    /// A problem of this code; the detail says what was wrong with this request.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:chat:problem:{}", code.as_str()),
            title: code.title().to_owned(),
            status: code.status(),
            detail: detail.into(),
            code,
            hint: None,
            field: None,
            line: None,
        }
    }

    /// The same with advice.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with the field that was refused.
    #[must_use]
    pub fn with_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// The same with the line of a batch that was refused.
    #[must_use]
    pub const fn with_line(mut self, line: u32) -> Self {
        self.line = Some(line);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_the_members_of_the_rfc() {
        let problem = Problem::new(Code::InvalidValue, "name is empty").with_field("name");
        let json = serde_json::to_value(&problem).unwrap();
        assert_eq!(json["type"], "urn:chat:problem:invalid_value");
        assert_eq!(json["status"], 422);
        assert_eq!(json["code"], "invalid_value");
        assert_eq!(json["field"], "name");
        assert!(json.get("hint").is_none());
        assert_eq!(serde_json::from_value::<Problem>(json).unwrap(), problem);
    }

    #[test]
    fn names_in_json_and_in_text_agree() {
        for code in Code::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }
}
