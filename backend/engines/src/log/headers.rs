//! Headers as Kafka carries them: text, so that a person can read them with any tool.

use chat_core::port::log::{Headers, Origin, PartitionId, Topic};
use rdkafka::message::{BorrowedHeaders, Header, Headers as _, OwnedHeaders};
use uuid::Uuid;

const EVENT: &str = "event";
const UID: &str = "uid";
const SCHEMA: &str = "schema";
/// `epoch/topic/partition/offset`, the topic without prefix.
const ORIGIN: &str = "origin";
const REASON: &str = "reason";

/// Writes headers.
pub(super) fn encode(headers: &Headers) -> OwnedHeaders {
    let mut encoded = OwnedHeaders::new();
    let mut add = |key: &str, value: &str| {
        let header = Header {
            key,
            value: Some(value),
        };
        encoded = std::mem::take(&mut encoded).insert(header);
    };
    if let Some(event) = &headers.event {
        add(EVENT, event);
    }
    if let Some(uid) = headers.uid {
        add(
            UID,
            uid.hyphenated().encode_lower(&mut Uuid::encode_buffer()),
        );
    }
    if let Some(schema) = headers.schema {
        add(SCHEMA, &schema.to_string());
    }
    if let Some(origin) = headers.origin {
        add(ORIGIN, &origin_text(&origin));
    }
    if let Some(reason) = &headers.reason {
        add(REASON, reason);
    }
    encoded
}

/// Reads headers; what is not ours, or not readable, is as if it were absent.
pub(super) fn decode(found: Option<&BorrowedHeaders>) -> Headers {
    let mut headers = Headers::default();
    let Some(found) = found else {
        return headers;
    };
    for header in found.iter() {
        let Some(value) = header
            .value
            .and_then(|value| std::str::from_utf8(value).ok())
        else {
            continue;
        };
        match header.key {
            EVENT => headers.event = Some(value.to_owned()),
            UID => headers.uid = Uuid::try_parse(value).ok(),
            SCHEMA => headers.schema = value.parse().ok(),
            ORIGIN => headers.origin = origin(value),
            REASON => headers.reason = Some(value.to_owned()),
            _ => {}
        }
    }
    headers
}

fn origin_text(origin: &Origin) -> String {
    format!(
        "{}/{}/{}/{}",
        origin.epoch,
        origin.partition.topic.name(),
        origin.partition.index,
        origin.offset
    )
}

fn origin(text: &str) -> Option<Origin> {
    let mut parts = text.split('/');
    let epoch = parts.next()?.parse().ok()?;
    let name = parts.next()?;
    let topic = Topic::ALL.into_iter().find(|topic| topic.name() == name)?;
    let index = parts.next()?.parse().ok()?;
    let offset = parts.next()?.parse().ok()?;
    parts.next().is_none().then_some(Origin {
        epoch,
        partition: PartitionId { topic, index },
        offset,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_read_back() {
        let headers = Headers {
            event: Some("message.created".into()),
            uid: Some(Uuid::from_u128(7)),
            schema: Some(1),
            origin: Some(Origin {
                epoch: 2,
                partition: PartitionId {
                    topic: Topic::MessagesDlq,
                    index: 3,
                },
                offset: 1 << 40,
            }),
            reason: Some("because \u{1F600}".into()),
            ..Headers::default()
        };
        assert_eq!(decode(Some(encode(&headers).as_borrowed())), headers);
        let none = Headers::default();
        assert_eq!(decode(Some(encode(&none).as_borrowed())), none);
        assert_eq!(decode(None), none);
    }

    #[test]
    fn foreign_origins_are_none() {
        for foreign in ["", "1", "1/messages/2", "1/mails/2/3", "1/messages/2/3/4"] {
            assert_eq!(origin(foreign), None, "{foreign}");
        }
    }
}
