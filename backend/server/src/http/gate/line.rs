//! What the gate of a connection and the service behind it tell each other.

use axum::body::HttpBody as _;
use axum::response::Response;
use parking_lot::Mutex;

use crate::http::front::Decision;

/// An answer of at most so many bytes is written with its head at once (hyper buffers more than that).
const PLAIN_BYTES: u64 = 16 * 1024;

/// Both ends are used by the task of the connection, one after the other.
#[derive(Default)]
pub(in crate::http) struct Line(Mutex<State>);

#[derive(Default)]
struct State {
    /// About the request that hyper is given next.
    decision: Option<Decision>,
    /// The request was answered, and whether the answer is plain: of a known length, and short.
    answered: Option<bool>,
}

impl Line {
    /// Leaves what was decided for the service.
    pub(super) fn decide(&self, decision: Decision) {
        let mut state = self.0.lock();
        state.decision = Some(decision);
        state.answered = None;
    }

    /// What was decided about the request at hand, where the gate could tell that it is one.
    pub(in crate::http) fn decided(&self) -> Option<Decision> {
        self.0.lock().decision.take()
    }

    /// Says that the request at hand has its answer, which is yet to be written.
    pub(in crate::http) fn answered(&self, response: &Response) {
        let length = response.body().size_hint().exact();
        let plain = length.is_some_and(|length| length <= PLAIN_BYTES);
        self.0.lock().answered = Some(plain);
    }

    /// Whether the request was answered since this was asked last, and plainly.
    pub(super) fn take_answered(&self) -> Option<bool> {
        self.0.lock().answered.take()
    }
}
