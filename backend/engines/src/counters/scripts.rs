//! The scripts: each is one round trip and, for whoever else asks the server, one moment.

use std::sync::LazyLock;

/// One of the scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    Take,
    Open,
    OpenKey,
    OpenChat,
    Acknowledge,
    Release,
    Last,
    Restore,
    RestoreKey,
    Claim,
}

impl Script {
    pub(super) const ALL: [Self; 10] = [
        Self::Take,
        Self::Open,
        Self::OpenKey,
        Self::OpenChat,
        Self::Acknowledge,
        Self::Release,
        Self::Last,
        Self::Restore,
        Self::RestoreKey,
        Self::Claim,
    ];

    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Take => include_str!("lua/take.lua"),
            Self::Open => include_str!("lua/open.lua"),
            Self::OpenKey => include_str!("lua/open_key.lua"),
            Self::OpenChat => include_str!("lua/open_chat.lua"),
            Self::Acknowledge => include_str!("lua/acknowledge.lua"),
            Self::Release => include_str!("lua/release.lua"),
            Self::Last => include_str!("lua/last.lua"),
            Self::Restore => include_str!("lua/restore.lua"),
            Self::RestoreKey => include_str!("lua/restore_key.lua"),
            Self::Claim => include_str!("lua/claim.lua"),
        }
    }

    /// What the server calls it.
    pub(super) fn hash(self) -> &'static str {
        static HASHES: LazyLock<[String; Script::ALL.len()]> = LazyLock::new(|| {
            Script::ALL.map(|script| redis::Script::new(script.text()).get_hash().to_owned())
        });
        &HASHES[self as usize]
    }
}
