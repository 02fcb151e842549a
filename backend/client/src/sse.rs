//! Server-sent events, as the WHATWG's HTML standard (section 9.2.6) has them read.

/// Longest event, in bytes: the longest message with every byte of its body escaped, and room around it.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Event {
    /// Its kind; empty where it has none.
    pub(crate) name: String,
    /// Its payload.
    pub(crate) data: String,
    /// What to come back with; empty where it has none.
    pub(crate) id: String,
}

/// An event that is longer than any of ours.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// Bytes in, events out.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were looked through for an end of line.
    seen: usize,
    event: Event,
    has_data: bool,
}

impl Parser {
    /// Takes what the connection gave.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() + self.event.data.len() > EVENT_BYTES_MAX + bytes.len() {
            return Err(TooLong);
        }
        Ok(())
    }

    /// The next complete event.
    pub(crate) fn next(&mut self) -> Option<Event> {
        loop {
            let end = self.buffer[self.seen..]
                .iter()
                .position(|byte| *byte == b'\n');
            let Some(end) = end else {
                self.seen = self.buffer.len();
                return None;
            };
            let line: Vec<u8> = self.buffer.drain(..=self.seen + end).collect();
            self.seen = 0;
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if !line.is_empty() {
                self.field(line);
            } else if std::mem::take(&mut self.has_data) {
                return Some(std::mem::take(&mut self.event));
            } else {
                // An event without data is none.
                self.event = Event::default();
            }
        }
    }

    fn field(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => value.clone_into(&mut self.event.name),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            "id" => value.clone_into(&mut self.event.id),
            // Comments are heartbeats.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(chunks: &[&[u8]]) -> Vec<Event> {
        let mut parser = Parser::default();
        let mut events = Vec::new();
        for chunk in chunks {
            parser.feed(chunk).unwrap();
            while let Some(event) = parser.next() {
                events.push(event);
            }
        }
        events
    }

    fn event(name: &str, data: &str) -> Event {
        Event {
            name: name.to_owned(),
            data: data.to_owned(),
            id: String::new(),
        }
    }

    #[test]
    fn chunks_may_end_anywhere() {
        let text = ": hello\n\nevent: message\r\nid: 7\ndata: {\"a\":\ndata: \u{e9}}\n\nevent: reset\ndata:\n\nevent: x\n\n";
        let mut message = event("message", "{\"a\":\n\u{e9}}");
        message.id = "7".to_owned();
        let expected = [message, event("reset", "")];
        assert_eq!(parse(&[text.as_bytes()]), expected);
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(parse(&bytes), expected);
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut parser = Parser::default();
        let chunk = [b'x'; 64 * 1024];
        let refused = (0..32).any(|_| {
            let fed = parser.feed(&chunk);
            assert_eq!(parser.next(), None);
            fed.is_err()
        });
        assert!(refused);
    }
}
