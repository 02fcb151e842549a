//! The reading half of an import: a thread that turns lines into batches, as far ahead as the sending half lets it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

use crate::commands::import::batch::{Batcher, Piece};
use crate::commands::import::key::Keys;
use crate::commands::import::line::Line;
use crate::commands::import::rejects::Refusal;
use crate::commands::import::source::{Found, Source, Text};

/// Longest line: the longest body and sender with every character escaped, and room around them.
const LINE_BYTES_MAX: usize = 1024 * 1024;
/// How much of a line over that limit is kept for the refusal.
const LINE_BYTES_KEPT: usize = 4 * 1024;
/// Events between the two halves.
const EVENTS_MAX: usize = 64;
/// The mark that some programs put before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What the reader tells the sender.
#[derive(Debug)]
pub(crate) enum Event {
    /// A chat or a batch.
    Piece(Piece),
    /// A line that is not sent.
    Refused(Refusal),
    /// The last event.
    End(End),
}

/// Why there is no more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// All was read.
    Complete,
    /// What is left cannot be read; everything before it was passed on.
    Cut {
        /// Lines that were whole.
        whole_lines: u64,
        /// What the decoder said.
        reason: String,
    },
}

/// Asks the reader to stop.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// It stops before the next line, and passes on nothing that is not complete.
    pub(crate) fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Starts the thread.
pub(crate) fn start(source: Source, keys: Keys, stop: Stop) -> mpsc::Receiver<Event> {
    let (events, receiver) = mpsc::channel(EVENTS_MAX);
    std::thread::spawn(move || {
        let mut reader = Reader {
            batcher: Batcher::new(keys),
            pieces: Vec::new(),
            events,
            stop,
        };
        // A receiver that is gone has had enough.
        let _ = reader.run(source);
    });
    receiver
}

struct Reader {
    batcher: Batcher,
    /// What the batcher gave and the sender has not got yet.
    pieces: Vec<Piece>,
    events: mpsc::Sender<Event>,
    stop: Stop,
}

/// The sender does not listen any more.
struct Unheard;

impl Reader {
    fn run(&mut self, source: Source) -> Result<(), Unheard> {
        let mut number = 0;
        let end = match source.text() {
            Ok(mut text) => self.lines(&mut text, &mut number)?,
            Err(error) => Some(error),
        };
        if self.stop.is_set() {
            // The batches that are still open would be larger in a run that is not stopped.
            return Ok(());
        }
        self.batcher.finish(&mut self.pieces);
        self.pass_on()?;
        self.tell(Event::End(match end {
            None => End::Complete,
            Some(error) => End::Cut {
                whole_lines: number,
                reason: error.to_string(),
            },
        }))
    }

    /// Reads to the end or to the error that makes reading on impossible.
    fn lines(
        &mut self,
        text: &mut Text,
        number: &mut u64,
    ) -> Result<Option<std::io::Error>, Unheard> {
        let mut line = Vec::new();
        while !self.stop.is_set() {
            let found = match text.next(&mut line, LINE_BYTES_MAX) {
                Ok(Found::End) => return Ok(None),
                Ok(found) => found,
                Err(error) => return Ok(Some(error)),
            };
            *number += 1;
            let line = match *number {
                1 => line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&line),
                _ => &line,
            };
            if found == Found::TooLong {
                let kept = &line[..LINE_BYTES_KEPT];
                let error = format!("the line has more than {LINE_BYTES_MAX} bytes");
                self.tell(Event::Refused(Refusal::new(*number, error, kept)))?;
            } else if !line.trim_ascii().is_empty() {
                self.line(line, *number)?;
            }
        }
        Ok(None)
    }

    fn line(&mut self, line: &[u8], number: u64) -> Result<(), Unheard> {
        match Line::parse(line) {
            Ok(parsed) => self.batcher.push(&parsed, number, &mut self.pieces),
            Err(error) => self.tell(Event::Refused(Refusal::new(number, error, line)))?,
        }
        self.pass_on()
    }

    fn pass_on(&mut self) -> Result<(), Unheard> {
        for piece in self.pieces.drain(..) {
            self.events
                .blocking_send(Event::Piece(piece))
                .map_err(|_| Unheard)?;
        }
        Ok(())
    }

    fn tell(&self, event: Event) -> Result<(), Unheard> {
        self.events.blocking_send(event).map_err(|_| Unheard)
    }
}
