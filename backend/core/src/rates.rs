//! Limits of single applications: what an operator has set, kept in the store for all processes.

use std::collections::BTreeMap;

use chat_wire::ids::AppToken;

use crate::backend::Backend;
use crate::error::Error;
use crate::limits::{self, Broken};
use crate::port::counters::Counter;
use crate::port::store;

/// The note's name.
const NAME: &str = "application-rates";
/// How often a change is tried that others are faster with.
const TRIES: usize = 50;

/// Messages a second that an application may create, where an operator has said so; 0 is no limit.
pub type Rates = BTreeMap<AppToken, u32>;

impl Backend {
    /// All limits that operators have set.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn rates(&self) -> Result<Rates, Error> {
        read(self.ports().store.note(NAME).await?.as_ref())
    }

    /// The limit that an operator has set for an application; `None` where none was set.
    ///
    /// # Errors
    /// [`Error::UnknownApplication`] where there is none, or those of the ports.
    pub async fn rate(&self, token: AppToken) -> Result<Option<u32>, Error> {
        self.last(Counter::Chats(token)).await?;
        Ok(self.rates().await?.get(&token).copied())
    }

    /// Sets the limit of an application, or takes it back; every process heeds it within seconds.
    ///
    /// # Errors
    /// [`Error::UnknownApplication`] where it would be set for nobody, [`Error::Invalid`] beyond
    /// [`limits::RATES`], or those of the ports.
    pub async fn set_rate(&self, token: AppToken, rate: Option<u32>) -> Result<(), Error> {
        self.last(Counter::Chats(token)).await?;
        let store = &self.ports().store;
        for _ in 0..TRIES {
            let note = store.note(NAME).await?;
            let mut rates = read(note.as_ref())?;
            let before = match rate {
                Some(rate) => rates.insert(token, rate),
                None => rates.remove(&token),
            };
            if before == rate {
                return Ok(());
            }
            if rates.len() > limits::RATES {
                let rule = "cannot be set for more than 10000 applications; take one back first";
                return Err(Broken::new("rate_limit", rule).into());
            }
            let text = serde_json::to_string(&rates).map_err(|error| {
                let reason = format!("the limits of applications cannot be written: {error}");
                Error::Store(store::Error::Refused(reason))
            })?;
            let version = note.map_or(0, |note| note.version);
            if store.put_note(NAME, version, &text).await? {
                return Ok(());
            }
        }
        Err(Error::Store(store::Error::Unavailable(
            "the limits of applications change faster than they can be written".into(),
        )))
    }
}

/// What cannot be read is never taken for "no limits": whoever knows limits keeps them.
fn read(note: Option<&store::Note>) -> Result<Rates, Error> {
    note.map_or(Ok(Rates::new()), |note| {
        serde_json::from_str(&note.text).map_err(|error| {
            let reason = format!("the limits of applications cannot be read: {error}");
            Error::Store(store::Error::Corrupt(reason))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let one = AppToken::from_bytes([1; 16]);
        let rates = Rates::from([(one, 7), (AppToken::from_bytes([2; 16]), 0)]);
        let text = serde_json::to_string(&rates).unwrap();
        let note = store::Note { version: 1, text };
        assert_eq!(read(Some(&note)).unwrap(), rates);
        assert_eq!(read(None).unwrap(), Rates::new());
        let other = store::Note {
            version: 2,
            text: "[]".into(),
        };
        assert!(read(Some(&other)).is_err());
    }
}
