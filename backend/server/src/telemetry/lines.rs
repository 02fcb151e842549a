//! Log lines on their way to stderr: they wait in a bounded queue that a thread of its own empties.
//!
//! Whoever logs never waits and never fails. Where stderr is a pipe that nobody reads, or a file on a
//! full disk, lines are dropped and counted, and the count is told as soon as a line can be written.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait.
const QUEUE_LINES: usize = 4_096;
/// How long a count of dropped lines waits for the next line at most.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How long the end of the process waits until those that wait are written.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// Where lines are given to.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    queue: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
}

/// Writes what waits when it goes, as far as that takes no longer than a moment.
#[derive(Debug)]
#[must_use]
pub struct Flusher {
    queue: SyncSender<Vec<u8>>,
    /// Answered when nothing waits any more.
    flushes: Sender<SyncSender<()>>,
}

impl Drop for Flusher {
    fn drop(&mut self) {
        let (reply, done) = sync_channel(1);
        if self.flushes.send(reply).is_ok() {
            // Wakes the thread; where there is no room for that it is awake.
            let _ = self.queue.try_send(Vec::new());
            let _ = done.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

/// Starts the thread that writes.
///
/// # Errors
/// When the system starts no thread.
pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<(Lines, Flusher)> {
    let (queue, waiting) = sync_channel(QUEUE_LINES);
    let (flushes, asked) = channel();
    let dropped = Arc::new(AtomicU64::new(0));
    let output = Output {
        out,
        dropped: Arc::clone(&dropped),
    };
    std::thread::Builder::new()
        .name("log lines".to_owned())
        .spawn(move || write_all(&waiting, &asked, output))?;
    let flusher = Flusher {
        queue: queue.clone(),
        flushes,
    };
    Ok((Lines { queue, dropped }, flusher))
}

/// Writes until nobody can log any more.
fn write_all(
    waiting: &Receiver<Vec<u8>>,
    asked: &Receiver<SyncSender<()>>,
    mut output: Output<impl Write>,
) {
    let mut flush: Option<SyncSender<()>> = None;
    loop {
        flush = flush.or_else(|| asked.try_recv().ok());
        let line = match &flush {
            Some(reply) => match waiting.try_recv() {
                Ok(line) => line,
                Err(_) => {
                    let _ = reply.try_send(());
                    flush = None;
                    continue;
                }
            },
            None => match waiting.recv_timeout(TELL_EVERY) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => Vec::new(),
                Err(RecvTimeoutError::Disconnected) => return,
            },
        };
        output.tell_dropped();
        output.write(&line);
    }
}

/// An output that may fail, and what was not written.
struct Output<W> {
    out: W,
    dropped: Arc<AtomicU64>,
}

impl<W: Write> Output<W> {
    fn write(&mut self, line: &[u8]) {
        if self.out.write_all(line).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Says how many lines are missing here.
    fn tell_dropped(&mut self) {
        let lost = self.dropped.swap(0, Ordering::Relaxed);
        if lost == 0 {
            return;
        }
        let notice = format!("chatd: {lost} log lines could not be written\n");
        if self.out.write_all(notice.as_bytes()).is_err() {
            self.dropped.fetch_add(lost, Ordering::Relaxed);
        }
    }
}

impl<'w> MakeWriter<'w> for Lines {
    type Writer = Line<'w>;

    fn make_writer(&'w self) -> Self::Writer {
        Line {
            lines: self,
            text: Vec::new(),
        }
    }
}

/// One line.
pub(super) struct Line<'w> {
    lines: &'w Lines,
    text: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let text = std::mem::take(&mut self.text);
        if !text.is_empty() && self.lines.queue.try_send(text).is_err() {
            self.lines.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Writes when it is allowed to, and fails when that ends.
    struct Slow {
        turns: Receiver<()>,
        written: Sender<String>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.turns.recv().map_err(io::Error::other)?;
            let text = String::from_utf8_lossy(bytes).into_owned();
            self.written.send(text).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_logs_never_waits_and_what_is_dropped_is_counted() {
        let (turn, turns) = channel();
        let (written, lines) = channel();
        let (queue, flusher) = start(Slow { turns, written }).unwrap();
        let began = Instant::now();
        for number in 0..2 * QUEUE_LINES {
            writeln!(queue.make_writer(), "{number}").unwrap();
        }
        assert!(began.elapsed() < Duration::from_secs(5));
        for _ in 0..3 * QUEUE_LINES {
            turn.send(()).unwrap();
        }
        let dropped = Arc::clone(&queue.dropped);
        drop((flusher, queue));
        let text: String = lines.iter().collect();
        let (mut written, mut told) = (0, 0);
        for line in text.lines() {
            match line.strip_prefix("chatd: ") {
                None => written += 1,
                Some(notice) => {
                    let count = notice.split_whitespace().next();
                    told += count.unwrap().parse::<usize>().unwrap();
                }
            }
        }
        assert!((QUEUE_LINES..2 * QUEUE_LINES).contains(&written));
        let untold = usize::try_from(dropped.load(Ordering::Relaxed)).unwrap();
        assert_eq!(written + told + untold, 2 * QUEUE_LINES);
        assert!(told > 0);
    }

    #[test]
    fn an_output_that_fails_harms_nobody() {
        let (turn, turns) = channel();
        let (written, _lines) = channel();
        drop(turn);
        let (queue, flusher) = start(Slow { turns, written }).unwrap();
        for _ in 0..100 {
            writeln!(queue.make_writer(), "x").unwrap();
        }
        drop(flusher);
        assert_eq!(queue.dropped.load(Ordering::Relaxed), 100);
    }
}
