//! Failpoints: named places between two steps at which a process can be made to abort, so that a test sees what a
//! crash there leaves behind.
//!
//! They exist only in builds with the feature `failpoints`. In every other build [`reach`] is an empty function
//! that is always inlined, so a failpoint costs nothing.

/// Declares the failpoints: variant, name, where it can be reached, and what lies before and behind it.
macro_rules! failpoints {
    ($($point:ident, $name:literal, $place:ident, $text:literal;)*) => {
        /// A place between two steps. The name says the step before it and the step behind it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Failpoint {
            $(#[doc = $text] $point,)*
        }

        impl Failpoint {
            /// Every failpoint, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$point),*];

            /// The name that `CHATD_FAILPOINT` takes.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$point => $name,)* }
            }

            /// What has happened when it is reached, and what has not.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$point => $text,)* }
            }

            /// Which adapters reach it.
            #[must_use]
            pub const fn place(self) -> Place {
                match self { $(Self::$point => Place::$place,)* }
            }
        }
    };
}

/// Which adapters reach a failpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Both kinds of adapters.
    Both,
    /// The embedded default alone.
    Embedded,
    /// The engines alone.
    Engines,
}

failpoints! {
    ApplicationKeyCounter, "application-key-counter", Engines,
        "the idempotency key of an application is kept, its counter is not made";
    ApplicationOpenAppend, "application-open-append", Both,
        "an application has a counter, its event is not appended";
    ApplicationAppendAcknowledge, "application-append-acknowledge", Both,
        "the event of an application is durable, its key is not acknowledged";
    ChatTakeAppend, "chat-take-append", Both,
        "a chat has a number, its event is not appended";
    ChatAppendOpen, "chat-append-open", Both,
        "the event of a chat is durable, its counter is not made";
    ChatOpenAcknowledge, "chat-open-acknowledge", Both,
        "a chat has a counter, its key is not acknowledged";
    MessageTakeAppend, "message-take-append", Both,
        "messages have numbers, their event is not appended";
    MessageAppendAcknowledge, "message-append-acknowledge", Both,
        "the event of messages is durable, its key is not acknowledged";
    MessageAcknowledgeAnswer, "message-acknowledge-answer", Both,
        "the key of messages is acknowledged, the client has no answer";
    LogQueueCommit, "log-queue-commit", Embedded,
        "records wait for the log, none of them is written";
    LogCommitAnswer, "log-commit-answer", Embedded,
        "records are in the log, nobody who waits for them knows";
    ApplicationsWriteCommit, "applications-write-commit", Both,
        "the rows of applications are written, their transaction is not committed";
    ChatsWriteCommit, "chats-write-commit", Both,
        "the rows of chats are written, their transaction is not committed";
    MessagesWriteCommit, "messages-write-commit", Both,
        "the rows of messages are written, their transaction is not committed";
    ApplyCommitSignal, "apply-commit-signal", Both,
        "rows and positions are committed, nobody who waits for them was told";
    BatchDoneOffset, "batch-done-offset", Both,
        "a batch is durable with its position, the consumer group does not know";
    RenumberTakeApply, "renumber-take-apply", Both,
        "a message whose number was taken has another one, its row is not written";
    IndexStagePublish, "index-stage-publish", Both,
        "the index has documents, they are not searchable";
    IndexPublishPosition, "index-publish-position", Both,
        "documents are searchable, the position of the index has not moved";
    IndexWriteCommit, "index-write-commit", Both,
        "the position of the index is written, its transaction is not committed";
    BurialNoteAppend, "burial-note-append", Both,
        "it is written down which records are to be buried, no dead letter is appended";
    BurialAppendPosition, "burial-append-position", Both,
        "dead letters are durable, the position has not passed their records";
    ReplayClaimAppend, "replay-claim-append", Both,
        "dead letters are claimed for a replay, none of them is appended";
    ReplayAppendNote, "replay-append-note", Both,
        "dead letters are appended again, that is not written down";
    VoidWriteCommit, "void-write-commit", Both,
        "void rows are written, their transaction is not committed";
    VoidCommitSignal, "void-commit-signal", Both,
        "void rows are committed, nobody who waits for them was told";
    RecoveryReadRestore, "recovery-read-restore", Both,
        "it is known where a lost counter stood, it is not put back";
    RecoveryClaimRefill, "recovery-claim-refill", Engines,
        "a process has claimed the recovery of a counter, it has not begun";
    RecoveryGenerationRestore, "recovery-generation-restore", Engines,
        "the generation of a lost counter is raised, the counter is not put back";
    EpochWriteCommit, "epoch-write-commit", Both,
        "a higher epoch of a topic is written to the store, its transaction is not committed";
    EpochStoreLog, "epoch-store-log", Embedded,
        "the store has a higher epoch of a topic, the log does not know it";
    RebuildFillRemove, "rebuild-fill-remove", Embedded,
        "the index is made again beside its place, the empty one is still there";
    RebuildRemoveMove, "rebuild-remove-move", Embedded,
        "the empty index is removed, the one that was made again is not in its place";
    PruneDeleteCommit, "prune-delete-commit", Embedded,
        "old records are deleted from the log, their transaction is not committed";
    CountWriteCommit, "count-write-commit", Both,
        "a count that was wrong is set, its transaction is not committed";
}

impl Failpoint {
    /// The failpoint of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|point| point.name() == name)
    }
}

#[cfg(feature = "failpoints")]
pub use self::armed::{Mistake, arm, reach};

/// Marks that a failpoint is reached; nothing in this build.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub const fn reach(_: Failpoint) {}

#[cfg(feature = "failpoints")]
mod armed {
    use std::io::Write as _;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Failpoint;

    static ARMED: OnceLock<Armed> = OnceLock::new();

    #[derive(Debug)]
    struct Armed {
        point: Failpoint,
        /// How often it is reached before the process aborts.
        left: AtomicU64,
    }

    /// Why a text arms no failpoint.
    #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
    pub enum Mistake {
        /// No failpoint has this name.
        #[error("there is no failpoint {0:?}; `chatd failpoints` lists them")]
        Name(String),
        /// The count is no number above 0.
        #[error("{0:?} is no count; write NAME or NAME:COUNT with a count above 0")]
        Count(String),
    }

    /// Arms a failpoint, written as `NAME` or `NAME:COUNT`: the process aborts when it is reached for the
    /// COUNT-th time, and for the first time where there is no count. Only the first call has an effect.
    ///
    /// # Errors
    /// See [`Mistake`].
    pub fn arm(text: &str) -> Result<(), Mistake> {
        let (point, count) = parse(text)?;
        let left = AtomicU64::new(count);
        ARMED.get_or_init(|| Armed { point, left });
        Ok(())
    }

    fn parse(text: &str) -> Result<(Failpoint, u64), Mistake> {
        let (name, count) = text.split_once(':').unwrap_or((text, "1"));
        let point = Failpoint::named(name).ok_or_else(|| Mistake::Name(name.to_owned()))?;
        match count.parse() {
            Ok(count) if count > 0 => Ok((point, count)),
            _ => Err(Mistake::Count(count.to_owned())),
        }
    }

    /// Aborts the process where this failpoint is armed and its count is used up. No destructor runs.
    pub fn reach(point: Failpoint) {
        let Some(armed) = ARMED.get().filter(|armed| armed.point == point) else {
            return;
        };
        if armed.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            // Whoever armed it tells this abort from any other by the line.
            let _ = writeln!(std::io::stderr(), "failpoint {} aborts", point.name());
            std::process::abort();
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_failpoint_is_armed_by_name_and_count() {
            let point = Failpoint::MessageTakeAppend;
            assert_eq!(parse("message-take-append"), Ok((point, 1)));
            assert_eq!(parse("message-take-append:7"), Ok((point, 7)));
            for wrong in [":", "message-take-append:", "message-take-append:0", "x:-1"] {
                assert!(parse(wrong).is_err(), "{wrong}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failpoint_is_found_by_its_name() {
        for point in Failpoint::ALL {
            assert_eq!(Failpoint::named(point.name()), Some(*point));
        }
    }
}
