//! Repeated warnings and errors: written once a second with a count of the others.
//!
//! Whatever a request or a loop can do, it can do wrong a thousand times a second. The limit is here, for
//! every place that logs, so that none can be forgotten: the same event is written once a second, and one
//! place in the code writes at most [`LINES_A_SECOND`] different ones. The next line of the place says
//! how many were left out, as `repeated`.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber, callsite};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Different lines that one place in the code may write in a second.
const LINES_A_SECOND: usize = 20;
/// For how long a line is not written again.
const WINDOW: Duration = Duration::from_secs(1);

/// Formats events as another format does, those that repeat themselves excepted.
pub(super) struct Limited<F> {
    format: F,
    /// How a count is put at the end of a line.
    append: fn(&mut String, u64),
    places: Mutex<HashMap<callsite::Identifier, Place>>,
}

/// A place in the code that logs.
#[derive(Debug)]
struct Place {
    since: Instant,
    /// Hashes of what was written in this window.
    written: Vec<u64>,
    left_out: u64,
}

impl Place {
    /// Whether an event is to be written: with the number of those that were left out before it.
    fn admit(&mut self, event: u64, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.since) >= WINDOW {
            self.since = now;
            self.written.clear();
        }
        if self.written.len() >= LINES_A_SECOND || self.written.contains(&event) {
            self.left_out += 1;
            return None;
        }
        self.written.push(event);
        Some(std::mem::take(&mut self.left_out))
    }
}

impl<F> Limited<F> {
    pub(super) fn new(format: F, append: fn(&mut String, u64)) -> Self {
        Self {
            format,
            append,
            places: Mutex::default(),
        }
    }

    fn admit(&self, event: &Event<'_>) -> Option<u64> {
        let now = Instant::now();
        let mut places = self.places.lock();
        let place = places
            .entry(event.metadata().callsite())
            .or_insert_with(|| Place {
                since: now,
                written: Vec::new(),
                left_out: 0,
            });
        place.admit(hash(event), now)
    }
}

impl<S, N, F> FormatEvent<S, N> for Limited<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if *event.metadata().level() > Level::WARN {
            return self.format.format_event(context, writer, event);
        }
        match self.admit(event) {
            None => Ok(()),
            Some(0) => self.format.format_event(context, writer, event),
            Some(repeated) => {
                let mut line = String::new();
                let inner = Writer::new(&mut line);
                self.format.format_event(context, inner, event)?;
                (self.append)(&mut line, repeated);
                writer.write_str(&line)
            }
        }
    }
}

/// Of all fields of an event, without keeping them.
fn hash(event: &Event<'_>) -> u64 {
    struct Fields(DefaultHasher, String);
    impl Visit for Fields {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            self.1.clear();
            // Writing into a String does not fail.
            let _ = write!(self.1, "{value:?}");
            (field.name(), &self.1).hash(&mut self.0);
        }
    }
    let mut fields = Fields(DefaultHasher::new(), String::new());
    event.record(&mut fields);
    fields.0.finish()
}

/// Appends to a line of text.
pub(super) fn append_text(line: &mut String, repeated: u64) {
    line.truncate(line.trim_end().len());
    let _ = writeln!(line, " repeated={repeated}");
}

/// Appends to an object of JSON.
pub(super) fn append_json(line: &mut String, repeated: u64) {
    line.truncate(line.trim_end().trim_end_matches('}').len());
    let _ = writeln!(line, ",\"repeated\":{repeated}}}");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing_subscriber::fmt::format;

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn warn(error: &str) {
        tracing::warn!(error, "an append failed");
    }

    fn write(json: bool, log: impl FnOnce()) -> String {
        let page = Page::default();
        let written = page.clone();
        let lines = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || written.clone());
        if json {
            let format = Limited::new(format::json().without_time(), append_json);
            let lines = lines.fmt_fields(format::JsonFields::new());
            tracing::subscriber::with_default(lines.event_format(format).finish(), log);
        } else {
            let format = Limited::new(format().without_time(), append_text);
            tracing::subscriber::with_default(lines.event_format(format).finish(), log);
        }
        String::from_utf8(page.0.lock().clone()).unwrap()
    }

    #[test]
    fn the_same_event_is_written_once_and_others_are_not_held_back() {
        let text = write(false, || {
            for _ in 0..1_000 {
                warn("the disk is full");
                tracing::info!("this is news each time");
            }
            warn("another one");
        });
        let of = |words: &str| text.lines().filter(|line| line.contains(words)).count();
        assert_eq!(of("the disk is full"), 1);
        assert_eq!(of("this is news"), 1_000);
        assert!(text.contains("another one\" repeated=999\n"), "{text}");
    }

    #[test]
    fn json_stays_json() {
        let text = write(true, || {
            for _ in 0..3 {
                warn("the disk is full");
            }
            warn("another one");
        });
        let last = text.lines().last().unwrap();
        let json: serde_json::Value = serde_json::from_str(last).unwrap();
        assert_eq!(json["repeated"], 2);
        assert_eq!(json["fields"]["error"], "another one");
    }

    #[test]
    fn one_place_writes_a_bounded_number_of_lines_a_second() {
        let now = Instant::now();
        let mut place = Place {
            since: now,
            written: Vec::new(),
            left_out: 0,
        };
        let written = (0..1_000).filter(|event| place.admit(*event, now).is_some());
        assert_eq!(written.count(), LINES_A_SECOND);
        let later = now + WINDOW;
        assert_eq!(place.admit(0, later), Some(1_000 - LINES_A_SECOND as u64));
        assert_eq!(place.admit(0, later), None);
        assert_eq!(place.admit(0, later + WINDOW), Some(1));
    }
}
