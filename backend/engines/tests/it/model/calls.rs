//! Calls at random: few applications, chats and keys, so that calls meet.

use chat_core::port::counters::Grant;
use proptest::prelude::*;
use uuid::Uuid;

/// Applications that the calls are about.
pub(super) const APPLICATIONS: usize = 2;
/// Chats of each.
pub(super) const CHATS: u32 = 3;
const KEYS: u8 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Chats(usize),
    Messages(usize, u32),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) name: u8,
    pub(super) other_body: bool,
    /// The lease is over at once.
    pub(super) over: bool,
    pub(super) absent_in_store: bool,
}

/// What a create makes: its key belongs to it alone.
#[derive(Debug, Clone, Copy)]
pub(super) enum Create {
    Application(usize),
    In(Target),
}

#[derive(Debug, Clone)]
pub(super) enum Call {
    Take(Target, u32, Option<Key>),
    Open(usize, Option<Key>),
    OpenChat(usize, u32),
    Acknowledge(Create, Key),
    /// Of the event that has the key, or of another one.
    Release(Create, Key, bool),
    Last(Target),
    /// With the generation of before, or the next one.
    Restore(Target, u32, bool),
    RestoreKey(Create, Key, Grant),
    Claim(Target),
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        (0..APPLICATIONS).prop_map(Target::Chats),
        (0..APPLICATIONS, 1..=CHATS).prop_map(|(app, chat)| Target::Messages(app, chat)),
    ]
}

prop_compose! {
    fn key()(
        name in 0..KEYS,
        other_body in prop::bool::weighted(0.15),
        over: bool,
        absent_in_store in prop::bool::weighted(0.7),
    ) -> Key {
        Key { name, other_body, over, absent_in_store }
    }
}

fn create() -> impl Strategy<Value = Create> {
    prop_oneof![
        1 => (0..APPLICATIONS).prop_map(Create::Application),
        3 => target().prop_map(Create::In),
    ]
}

prop_compose! {
    /// Uids are few, so that some are met again.
    fn grant()(first in 1..50_u32, count in 1..3_u32, uid in 1..4_u128, generation in 1..4_u32) -> Grant {
        Grant { first, count, uid: Uuid::from_u128(uid), generation }
    }
}

pub(super) fn call() -> impl Strategy<Value = Call> {
    let application = 0..APPLICATIONS;
    let last = prop_oneof![8 => 0..30_u32, 1 => u32::MAX - 4..=u32::MAX];
    prop_oneof![
        8 => (target(), 0..4_u32, prop::option::of(key()))
            .prop_map(|(target, count, key)| Call::Take(target, count, key)),
        3 => (application.clone(), prop::option::of(key())).prop_map(|(app, key)| Call::Open(app, key)),
        3 => (application, 1..=CHATS).prop_map(|(app, chat)| Call::OpenChat(app, chat)),
        3 => (create(), key()).prop_map(|(create, key)| Call::Acknowledge(create, key)),
        2 => (create(), key(), prop::bool::weighted(0.8))
            .prop_map(|(create, key, own)| Call::Release(create, key, own)),
        2 => target().prop_map(Call::Last),
        1 => (target(), last, any::<bool>())
            .prop_map(|(target, last, next)| Call::Restore(target, last, next)),
        1 => (create(), key(), grant()).prop_map(|(create, key, grant)| Call::RestoreKey(create, key, grant)),
        1 => target().prop_map(Call::Claim),
    ]
}
