//! Damage by hand: what an operator, a script or a disk does to counters, counts and index behind the
//! back of the backend.

mod embedded;
mod engines;

use std::path::Path;

use chat_wire::admin::drift::Verdict;
use chat_wire::ids::{AppToken, ChatNumber};

use crate::Failure;
use crate::mode::Mode;
use crate::process::Role;
use crate::system::System;

/// Whoever applies messages.
const WORKER: Role = Role::Worker("messages");

/// What is done to one chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    /// The counter stands below the highest number, in one of its two copies: what a hand does.
    CounterLowered,
    /// The counter stands below the highest number, in both copies, and looks sound.
    CounterForged,
    /// The counter is gone.
    CounterDeleted,
    /// The count column lies.
    CountFalsified,
    /// A number has no row, and never will.
    NumberBurned,
    /// A live message has no document.
    DocumentDeleted,
    /// A document has no message.
    DocumentOrphaned,
}

/// Where damage is done: a chat with at least ten messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) token: AppToken,
    pub(crate) chat: ChatNumber,
}

impl Damage {
    /// All kinds.
    pub(crate) const ALL: [Self; 7] = [
        Self::CounterLowered,
        Self::CounterForged,
        Self::CounterDeleted,
        Self::CountFalsified,
        Self::NumberBurned,
        Self::DocumentDeleted,
        Self::DocumentOrphaned,
    ];

    /// What is found for it.
    pub(crate) const fn verdict(self) -> Verdict {
        match self {
            Self::CounterLowered | Self::CounterForged | Self::CounterDeleted => {
                Verdict::CounterBehind
            }
            Self::CountFalsified => Verdict::CountStale,
            Self::NumberBurned => Verdict::Holes,
            Self::DocumentDeleted | Self::DocumentOrphaned => Verdict::Unindexed,
        }
    }

    /// What is done, in the words of this mode; `None` where nobody can do it there.
    pub(crate) const fn text(self, mode: &Mode) -> Option<&'static str> {
        Some(match (self, mode) {
            (Self::CounterLowered, Mode::Engines(_)) => "counter lowered (Redis HSET)",
            (Self::CounterForged, Mode::Engines(_)) => "counter lowered, both copies (Redis)",
            // It lives in the process, so what can be moved by hand is the other side.
            (Self::CounterForged, Mode::Embedded) => "row above the counter (SQLite INSERT)",
            (Self::CounterLowered, Mode::Embedded) => return None,
            (Self::CounterDeleted, Mode::Engines(_)) => "counter deleted (Redis DEL)",
            (Self::CounterDeleted, Mode::Embedded) => return None,
            (Self::CountFalsified, Mode::Engines(_)) => "count falsified (MariaDB UPDATE)",
            (Self::CountFalsified, Mode::Embedded) => "count falsified (SQLite UPDATE)",
            (Self::NumberBurned, Mode::Engines(_)) => "number burned (Redis HINCRBY)",
            // A number that was only counted is not in any file: a restart gives it out anew.
            (Self::NumberBurned, Mode::Embedded) => "row removed (SQLite DELETE)",
            (Self::DocumentDeleted, Mode::Engines(_)) => "document deleted (Elasticsearch DELETE)",
            (Self::DocumentDeleted, Mode::Embedded) => "document deleted (index files)",
            (Self::DocumentOrphaned, Mode::Engines(_)) => "document orphaned (Elasticsearch PUT)",
            (Self::DocumentOrphaned, Mode::Embedded) => "document orphaned (index files)",
        })
    }

    /// Whether it can be done only while no process runs: the embedded index has one writer.
    pub(crate) const fn needs_stop(self, mode: &Mode) -> bool {
        matches!(mode, Mode::Embedded)
            && matches!(self, Self::DocumentDeleted | Self::DocumentOrphaned)
    }

    /// Whether no promise is broken by it where creates go on meanwhile, and nothing that the ledger
    /// does not know is stored. A counter that looks sound gives its numbers out again, to any process,
    /// until it is compared; the rows keep each message then, under another number.
    pub(crate) const fn is_borne_under_load(self, mode: &Mode) -> bool {
        match mode {
            Mode::Embedded => matches!(self, Self::CountFalsified),
            Mode::Engines(_) => !matches!(self, Self::CounterForged),
        }
    }

    /// Does it.
    pub(crate) async fn at(self, place: Place, mode: &Mode, data: &Path) -> Result<(), Failure> {
        match mode {
            Mode::Engines(engines) => engines::damage(self, place, engines).await,
            Mode::Embedded if self.needs_stop(mode) => embedded::index(self, place, data).await,
            Mode::Embedded => embedded::rows(self, place, data).await,
        }
    }
}

/// Keeps whoever applies messages from doing so, until it is let go.
pub(crate) enum Hold {
    /// The workers were killed.
    Killed,
    /// The database of rows is locked for writing: the embedded default has no worker of its own to kill.
    Locked(embedded::Locked),
}

impl Hold {
    /// Holds them.
    pub(crate) async fn take(system: &mut System) -> Result<Self, Failure> {
        if matches!(system.plan.mode, Mode::Embedded) {
            return Ok(Self::Locked(
                embedded::Locked::take(&system.plan.data()).await?,
            ));
        }
        for worker in system.of(WORKER) {
            worker.kill().await?;
        }
        Ok(Self::Killed)
    }

    /// What is done.
    pub(crate) const fn text(&self) -> &'static str {
        match self {
            Self::Killed => "worker killed, records in the log",
            Self::Locked(_) => "rows locked (SQLite), records in the log",
        }
    }

    /// Lets them go on.
    pub(crate) async fn release(self, system: &mut System) -> Result<(), Failure> {
        match self {
            Self::Locked(locked) => locked.release().await,
            Self::Killed => {
                for worker in system.of(WORKER) {
                    worker.respawn()?;
                }
                system.ready().await.map(drop)
            }
        }
    }
}

/// Sets the count of every chat of an application to a lie.
pub(crate) async fn falsify_all(token: AppToken, mode: &Mode, data: &Path) -> Result<(), Failure> {
    match mode {
        Mode::Engines(engines) => engines::falsify_all(token, engines).await,
        Mode::Embedded => embedded::falsify_all(token, data).await,
    }
}

/// Sets an application's count of chats to a lie.
pub(crate) async fn falsify_chats_count(
    token: AppToken,
    mode: &Mode,
    data: &Path,
) -> Result<(), Failure> {
    match mode {
        Mode::Engines(engines) => engines::falsify_chats_count(token, engines).await,
        Mode::Embedded => embedded::falsify_chats_count(token, data).await,
    }
}

/// Forgets every message of a chat, and that there ever was one. Nobody may apply messages meanwhile.
pub(crate) async fn forget_rows(
    token: AppToken,
    chat: ChatNumber,
    mode: &Mode,
    data: &Path,
) -> Result<(), Failure> {
    let hex = token.reveal();
    let (delete, reset) = (
        "DELETE FROM messages",
        "UPDATE chats SET messages_count = 0, highest = 0, settled_through = 0",
    );
    match mode {
        Mode::Engines(engines) => {
            let token = format!("application_token = UNHEX('{hex}')");
            let delete = format!("{delete} WHERE {token} AND chat_number = {chat}");
            let reset = format!("{reset} WHERE {token} AND number = {chat}");
            engines::sql_on(engines, &format!("{delete}; {reset}")).await
        }
        Mode::Embedded => {
            let token = format!("application_token = x'{hex}'");
            let delete = format!("{delete} WHERE {token} AND chat_number = {chat}");
            // What is written by hand has no checksum, as what an earlier version wrote.
            let unsealed = "checksum = NULL, counts_checksum = NULL";
            let reset = format!("{reset}, {unsealed} WHERE {token} AND number = {chat}");
            embedded::write(data, &format!("{delete}; {reset}")).await
        }
    }
}

/// Puts the positions of groups back to the beginning: every record comes a second time, long after what
/// came behind it. Nobody may read meanwhile.
pub(crate) async fn read_again(groups: &[&str], mode: &Mode, data: &Path) -> Result<(), Failure> {
    for group in groups {
        let reset = "UPDATE log_positions SET next = 0, last_uid = NULL";
        let group = format!("WHERE group_name = '{group}'");
        match mode {
            Mode::Engines(engines) => engines::sql_on(engines, &format!("{reset} {group}")).await?,
            Mode::Embedded => {
                embedded::write(data, &format!("{reset}, checksum = NULL {group}")).await?;
            }
        }
    }
    Ok(())
}

/// The longest sender that the database takes while [`Cause`] is there.
pub(crate) const LONGEST_SENDER: usize = 10;

/// A mistake of somebody who operates the database: it takes no long sender any more, and what was
/// acknowledged cannot be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It is made.
    There,
    /// It is put right.
    Gone,
}

impl Cause {
    /// Makes it, or puts it right.
    pub(crate) async fn set(self, mode: &Mode, data: &Path) -> Result<(), Failure> {
        match mode {
            Mode::Engines(engines) => {
                let longest = match self {
                    Self::There => LONGEST_SENDER,
                    Self::Gone => 255,
                };
                let sql = format!("ALTER TABLE messages MODIFY sender VARCHAR({longest}) NULL");
                engines::sql_on(engines, &sql).await
            }
            Mode::Embedded => {
                let sql = match self {
                    Self::There => format!(
                        "CREATE TRIGGER senders BEFORE INSERT ON messages \
                         WHEN length(NEW.sender) > {LONGEST_SENDER} \
                         BEGIN SELECT RAISE(ABORT, 'the sender is too long'); END"
                    ),
                    Self::Gone => "DROP TRIGGER senders".to_owned(),
                };
                embedded::write(data, &sql).await
            }
        }
    }
}
