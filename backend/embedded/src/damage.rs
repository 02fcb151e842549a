//! Damage that a checksum found: said in the log, once a second with a count.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Between two words about damage.
const SILENCE: Duration = Duration::from_secs(1);

/// Keeps one kind of message from being said more than once a second.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    last: Option<Instant>,
    unsaid: u64,
}

static DAMAGE: Mutex<Quiet> = Mutex::new(Quiet {
    last: None,
    unsaid: 0,
});

/// Says that something in a file is not what was written.
pub(crate) fn report(file: &'static str, what: impl FnOnce() -> String) {
    let Some(unsaid) = DAMAGE.lock().say(Instant::now()) else {
        return;
    };
    tracing::error!(
        file,
        unsaid,
        "damaged: {}: its checksum does not match and it is not used; chatd check lists all damage",
        what()
    );
}

impl Quiet {
    /// How many were not said since the last time, where it is time to say one.
    pub(crate) fn say(&mut self, now: Instant) -> Option<u64> {
        if self
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < SILENCE)
        {
            self.unsaid += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_said_once_a_second_with_a_count() {
        let mut told = Quiet::default();
        let start = Instant::now();
        assert_eq!(told.say(start), Some(0));
        assert_eq!(told.say(start + SILENCE / 2), None);
        assert_eq!(told.say(start + SILENCE / 2), None);
        assert_eq!(told.say(start + SILENCE), Some(2));
        assert_eq!(told.say(start + SILENCE * 3), Some(0));
    }
}
