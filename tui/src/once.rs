//! One frame without a terminal: everything on the page is asked once, and drawn.

use std::time::{Duration, Instant};

use chat_wire::time::Timestamp;
use tokio::task::JoinSet;

use crate::api::{Api, perform};
use crate::event::{Effect, Event, Now};
use crate::failure::Failure;
use crate::state::dashboard::{Setup, State};
use crate::update::update;

/// Asks for everything that the page shows, and waits for the answers, at most so long.
pub async fn once(api: &Api, setup: Setup, size: (u16, u16), patience: Duration) -> State {
    let began = Instant::now();
    let now = || Now {
        ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        wall: Timestamp::now(),
    };
    let mut state = State::new(setup, now(), size);
    let mut jobs = JoinSet::new();
    let deadline = tokio::time::Instant::now() + patience;
    let mut event = Event::Tick;
    loop {
        for effect in update(&mut state, now(), event) {
            if let Effect::Fetch { slot, seq, request } = effect {
                let api = api.clone();
                jobs.spawn(async move {
                    let result = perform(&api, slot, request).await;
                    Event::Answered { slot, seq, result }
                });
            }
        }
        if state.settled() || jobs.is_empty() {
            return state;
        }
        event = match tokio::time::timeout_at(deadline, jobs.join_next()).await {
            Ok(Some(Ok(event))) => event,
            Ok(Some(Err(error))) if error.is_panic() => {
                std::panic::resume_unwind(error.into_panic())
            }
            Ok(_) => Event::Tick,
            Err(_) => return state,
        };
    }
}

/// Why the page is not whole: the first of its sources that failed.
#[must_use]
pub fn failure(state: &State) -> Option<Failure> {
    let main = state.main_slot();
    let others = state.wanted().into_iter().map(|(slot, _)| slot);
    std::iter::once(main)
        .chain(others.filter(|slot| *slot != main))
        .find_map(|slot| state.poll(slot)?.failure.clone())
}
