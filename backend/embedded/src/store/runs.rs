//! Keys of messages, put together to runs that are read as one.

use chat_core::port::store::{ChatKey, MessageKey};

/// Two runs of numbers with fewer others between them are read as one: passing over a row costs
/// less than another run.
const RUN_GAP: u32 = 8;

/// Numbers from `first` to `last` of one chat.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) chat: ChatKey,
    pub(super) first: u32,
    pub(super) last: u32,
    /// Some numbers in it are not wanted.
    pub(super) gaps: bool,
}

/// Puts keys, which are in order, together to runs.
pub(super) fn runs(keys: &[MessageKey]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for key in keys {
        let number = key.number.get();
        match runs.last_mut() {
            Some(run) if run.chat == key.chat && number - run.last <= RUN_GAP => {
                run.gaps |= number - run.last > 1;
                run.last = number;
            }
            _ => runs.push(Run {
                chat: key.chat,
                first: number,
                last: number,
                gaps: false,
            }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat_wire::ids::{AppToken, ChatNumber, MessageNumber};

    fn key(chat: u32, number: u32) -> MessageKey {
        MessageKey {
            chat: ChatKey {
                token: AppToken::from_bytes([1; 16]),
                chat: ChatNumber::new(chat).unwrap(),
            },
            number: MessageNumber::new(number).unwrap(),
        }
    }

    #[test]
    fn neighbours_become_runs() {
        let keys = [key(1, 1), key(1, 2), key(1, 5), key(1, 100), key(2, 101)];
        let runs: Vec<_> = runs(&keys)
            .iter()
            .map(|run| (run.chat.chat.get(), run.first, run.last, run.gaps))
            .collect();
        assert_eq!(
            runs,
            [(1, 1, 5, true), (1, 100, 100, false), (2, 101, 101, false)]
        );
    }
}
