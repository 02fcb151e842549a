//! The create deadline of all processes: whoever waits for others to have appended waits as long as the
//! most patient of them may take.
//!
//! A number that was taken is appended within the deadline of the process that took it, or never. Processes
//! may be configured differently, by mistake or while a new value is rolled out. So each declares its
//! deadline in the store before it takes its first number, and waits for the longest that was ever declared:
//! whoever took a number before a wait began had declared before that.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::backend::Backend;
use crate::error::Error;

/// Names the note in the store; its text is a number of milliseconds.
const NOTE: &str = "create_deadline_ms";

/// The longest deadline that was found in the store.
#[derive(Debug, Default)]
pub(crate) struct Declared(AtomicU64);

impl Backend {
    /// Declares the deadline of this process. To be called before it takes a number. Returns what was
    /// declared before, by this process or by others; `None` where nothing was.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn declare_deadline(&self) -> Result<Option<Duration>, Error> {
        let own = millis(self.settings().create_deadline);
        let store = &self.ports().store;
        loop {
            let note = store.note(NOTE).await?;
            let before: Option<u64> = note.as_ref().and_then(|note| note.text.parse().ok());
            let version = note.map_or(0, |note| note.version);
            let longest = before.map_or(own, |before| before.max(own));
            let known = before == Some(longest);
            if known || store.put_note(NOTE, version, &longest.to_string()).await? {
                self.declared().0.fetch_max(longest, Ordering::Relaxed);
                return Ok(before.map(Duration::from_millis));
            }
        }
    }

    /// Reads what was declared. To be called when a wait for others ends, or after.
    pub(crate) async fn read_deadline(&self) -> Result<(), Error> {
        if let Some(note) = self.ports().store.note(NOTE).await?
            && let Ok(longest) = note.text.parse()
        {
            self.declared().0.fetch_max(longest, Ordering::Relaxed);
        }
        Ok(())
    }

    /// How long whoever has taken a number may take to append it, as far as this process knows.
    pub(crate) fn append_patience(&self) -> Duration {
        let declared = Duration::from_millis(self.declared().0.load(Ordering::Relaxed));
        declared.max(self.settings().create_deadline)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
