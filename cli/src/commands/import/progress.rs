//! How far an import has come: a bar on a terminal, a line every ten seconds elsewhere.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinHandle;

use crate::note;
use crate::output::text::grouped;

/// How often the bar is drawn.
const BAR_EVERY: Duration = Duration::from_millis(100);
/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// What is counted while it runs.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Messages that the server has acknowledged.
    pub(crate) messages: AtomicU64,
    /// Lines that were refused.
    pub(crate) rejected: AtomicU64,
}

/// The display; gone when it is dropped.
pub(crate) struct Progress {
    bar: ProgressBar,
    task: Option<JoinHandle<()>>,
}

impl Progress {
    /// Begins to show, unless nobody wants it. Must be called within the runtime.
    pub(crate) fn start(
        counts: Arc<Counts>,
        bytes_read: Arc<AtomicU64>,
        bytes_total: Option<u64>,
        quiet: bool,
    ) -> Self {
        let bar = bar(bytes_total, quiet);
        let shown = Shown {
            bar: bar.clone(),
            counts,
            bytes_read,
            bytes_total,
            started: Instant::now(),
        };
        let task = (!quiet).then(|| tokio::spawn(shown.run()));
        Self { bar, task }
    }

    /// Something that writes lines without spoiling the bar.
    pub(crate) fn notes(&self) -> impl Fn(&str) + Send + Sync + 'static {
        let bar = self.bar.clone();
        move |text| bar.suspend(|| note::line(text))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        self.bar.finish_and_clear();
    }
}

/// What is left to wait for, once everything is sent.
pub(crate) struct Remaining {
    bar: ProgressBar,
    quiet: bool,
    told: Cell<Instant>,
}

impl Remaining {
    /// Shows nothing yet.
    pub(crate) fn new(quiet: bool) -> Self {
        Self {
            bar: bar(None, quiet),
            quiet,
            told: Cell::new(Instant::now()),
        }
    }

    /// So many records are still to be applied.
    pub(crate) fn tell(&self, records: u64) {
        let text = format!("waiting: {} records to go", grouped(records));
        if !self.bar.is_hidden() {
            self.bar.set_message(text);
            self.bar.tick();
        } else if !self.quiet && self.told.get().elapsed() >= LINE_EVERY {
            self.told.set(Instant::now());
            note::line(&format!("import: {text}"));
        }
    }
}

impl Drop for Remaining {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

struct Shown {
    bar: ProgressBar,
    counts: Arc<Counts>,
    bytes_read: Arc<AtomicU64>,
    bytes_total: Option<u64>,
    started: Instant,
}

impl Shown {
    async fn run(self) {
        let terminal = !self.bar.is_hidden();
        let every = if terminal { BAR_EVERY } else { LINE_EVERY };
        loop {
            tokio::time::sleep(every).await;
            let text = self.text();
            if terminal {
                self.bar
                    .set_position(self.bytes_read.load(Ordering::Relaxed));
                self.bar.set_message(text);
            } else {
                note::line(&format!("import: {text}{}", self.share()));
            }
        }
    }

    fn text(&self) -> String {
        let messages = self.counts.messages.load(Ordering::Relaxed);
        let rejected = self.counts.rejected.load(Ordering::Relaxed);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rate to look at needs no more digits"
        )]
        let rate = (messages as f64 / self.started.elapsed().as_secs_f64()) as u64;
        let mut text = format!("{} messages, {}/s", grouped(messages), grouped(rate));
        if rejected > 0 {
            text.push_str(&format!(", {} refused", grouped(rejected)));
        }
        text
    }

    fn share(&self) -> String {
        let read = self.bytes_read.load(Ordering::Relaxed);
        match self.bytes_total {
            Some(total) if total > 0 => format!(", {} % read", read.min(total) * 100 / total),
            _ => String::new(),
        }
    }
}

fn bar(bytes_total: Option<u64>, quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let (bar, template) = match bytes_total {
        Some(total) => (ProgressBar::new(total), "{bar:30} {percent:>3} %  {msg}"),
        None => (ProgressBar::new_spinner(), "{spinner} {msg}"),
    };
    let style = ProgressStyle::with_template(template).expect("the template is a constant");
    bar.set_style(style);
    // Indicatif hides it where standard error is no terminal.
    bar.set_draw_target(ProgressDrawTarget::stderr());
    bar
}
