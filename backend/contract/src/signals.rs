//! The promises of the signals.
//!
//! They are hints: one may be lost with the connection, and one may come without a reason. What is
//! promised is that a listener on a working engine does not miss one.

use chat_core::port::signals::{Subject, Subscription};
use chat_wire::ids::ChatNumber;

use crate::fixture::{Fixture, soon};
use crate::sample::token;

const CHAT: ChatNumber = ChatNumber::FIRST;

fn subject() -> Subject {
    Subject::Chat(token(1), CHAT)
}

async fn heard(subscription: &mut dyn Subscription) {
    soon("the hint is heard", subscription.changed()).await;
}

/// A listener hears what it listens to, again and again.
pub async fn a_listener_hears(fixture: &impl Fixture) {
    let signals = fixture.open().await.signals;
    let subjects = [Subject::Application(token(1)), subject(), Subject::Overload];
    for subject in subjects {
        let mut listener = signals.subscribe(subject).await;
        for _ in 0..3 {
            signals.publish(&[subject]).await;
            heard(&mut *listener).await;
        }
    }
}

/// A hint between subscribing and waiting is heard when the waiting begins.
pub async fn a_hint_before_the_wait_is_heard(fixture: &impl Fixture) {
    let signals = fixture.open().await.signals;
    let mut listener = signals.subscribe(subject()).await;
    for _ in 0..100 {
        signals.publish(&[subject()]).await;
    }
    heard(&mut *listener).await;
}

/// A hint wakes a listener that is waiting already.
pub async fn a_hint_wakes_a_waiter(fixture: &impl Fixture) {
    let signals = fixture.open().await.signals;
    let mut listener = signals.subscribe(subject()).await;
    // Whatever may come without a reason has come by then.
    while tokio::time::timeout(crate::fixture::QUIET, listener.changed())
        .await
        .is_ok()
    {}
    let waiting = tokio::spawn(async move { listener.changed().await });
    signals.publish(&[subject()]).await;
    soon("the waiter wakes", waiting).await.unwrap();
}

/// Every listener hears, also when many subjects are told at once.
pub async fn every_listener_hears(fixture: &impl Fixture) {
    let signals = fixture.open().await.signals;
    let subjects: Vec<Subject> = (1..=20)
        .map(|number| Subject::Chat(token(1), ChatNumber::new(number).unwrap()))
        .collect();
    let mut listeners = Vec::new();
    for subject in &subjects {
        listeners.push(signals.subscribe(*subject).await);
        listeners.push(signals.subscribe(*subject).await);
    }
    signals.publish(&subjects).await;
    for listener in &mut listeners {
        heard(&mut **listener).await;
    }
}

/// A listener that goes takes nobody with it, and a later one hears.
pub async fn leaving_disturbs_nobody(fixture: &impl Fixture) {
    let signals = fixture.open().await.signals;
    let first = signals.subscribe(subject()).await;
    let mut second = signals.subscribe(subject()).await;
    drop(first);
    signals.publish(&[subject()]).await;
    heard(&mut *second).await;
    drop(second);
    signals.publish(&[subject()]).await;
    let mut third = signals.subscribe(subject()).await;
    signals.publish(&[subject()]).await;
    heard(&mut *third).await;
}

/// Telling what nobody listens to, or nothing at all, is done at once.
pub async fn nobody_has_to_listen(fixture: &impl Fixture) {
    let signals = fixture.open().await.signals;
    let telling = async {
        signals.publish(&[]).await;
        signals.publish(&[subject()]).await;
    };
    soon("the telling ends", telling).await;
}
