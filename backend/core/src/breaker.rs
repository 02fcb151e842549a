//! Circuit breaker in front of the counters: while the log takes no records, a request is refused
//! before it is given a number.
//!
//! A number that was given out and not appended has to become void before anything behind it can be
//! read, so a log that refuses records must not cost numbers. There is a circuit for each partition:
//! one broker that is away stops nobody whose events go elsewhere. A circuit opens with the first
//! append that fails, whatever the cause, unless the record itself was refused. It closes with the
//! next append that succeeds. Meanwhile one request in [`TRIAL_EVERY`] is a trial: the log is asked to
//! prove without a record that it can append ([`crate::port::log::Log::probe`]), and only where it
//! cannot prove anything that way does the request itself try, at the price of one number.
//!
//! What is between its number and its append when the first failure comes is lost too, which the
//! limit of concurrent requests bounds.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chat_wire::time::Timestamp;
use parking_lot::Mutex;
use tokio::time::timeout;

use crate::backend::Backend;
use crate::error::Error;
use crate::port::log::{PartitionId, Topic};

/// Between two trials of an open circuit.
pub const TRIAL_EVERY: Duration = Duration::from_secs(1);
/// A circuit that nobody tried for so long beyond the deadline of an append is no reason any more to
/// keep requests away: without one the log would never be tried again.
const UNTRIED: Duration = Duration::from_secs(2);

/// The circuits of one process.
#[derive(Debug, Default)]
pub struct Breaker {
    /// How many circuits of each topic are open: all that a request looks at while none is.
    open: [AtomicUsize; Topic::ALL.len()],
    circuits: Mutex<BTreeMap<PartitionId, Circuit>>,
    refused: [AtomicU64; Topic::ALL.len()],
}

#[derive(Debug)]
struct Circuit {
    reason: String,
    since: Timestamp,
    failed_at: Duration,
    next_trial: Duration,
    refused: u64,
}

/// An open circuit, for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCircuit {
    /// Where nothing can be appended.
    pub partition: PartitionId,
    /// What the log said last.
    pub reason: String,
    /// When the first append failed.
    pub since: Timestamp,
}

/// What an open circuit says to a request.
#[derive(Debug, PartialEq, Eq)]
enum Pass {
    /// It has closed.
    Closed,
    /// This one may try.
    Trial,
    /// Not now, and why.
    Refused(String),
}

impl Breaker {
    fn is_closed(&self, topic: Topic) -> bool {
        self.open[topic as usize].load(Ordering::Relaxed) == 0
    }

    fn try_pass(&self, partition: PartitionId, now: Duration) -> Pass {
        let mut circuits = self.circuits.lock();
        let Some(circuit) = circuits.get_mut(&partition) else {
            return Pass::Closed;
        };
        if now >= circuit.next_trial {
            circuit.next_trial = now + TRIAL_EVERY;
            return Pass::Trial;
        }
        circuit.refused += 1;
        self.refused[partition.topic as usize].fetch_add(1, Ordering::Relaxed);
        Pass::Refused(circuit.reason.clone())
    }

    /// Opens the circuit of a partition, or keeps it open.
    pub(crate) fn open(&self, partition: PartitionId, reason: &str, now: Duration, at: Timestamp) {
        let mut circuits = self.circuits.lock();
        if let Some(circuit) = circuits.get_mut(&partition) {
            reason.clone_into(&mut circuit.reason);
            circuit.failed_at = now;
            circuit.next_trial = circuit.next_trial.max(now + TRIAL_EVERY);
            return;
        }
        let circuit = Circuit {
            reason: reason.to_owned(),
            since: at,
            failed_at: now,
            next_trial: now + TRIAL_EVERY,
            refused: 0,
        };
        circuits.insert(partition, circuit);
        self.open[partition.topic as usize].fetch_add(1, Ordering::Relaxed);
        drop(circuits);
        tracing::error!(
            topic = partition.topic.name(),
            partition = partition.index,
            reason,
            "the log takes no records: requests that append are refused until it does"
        );
    }

    /// Closes the circuit of a partition: it has taken a record, or proved that it can.
    pub(crate) fn close(&self, partition: PartitionId) {
        if self.is_closed(partition.topic) {
            return;
        }
        let mut circuits = self.circuits.lock();
        let Some(circuit) = circuits.remove(&partition) else {
            return;
        };
        self.open[partition.topic as usize].fetch_sub(1, Ordering::Relaxed);
        drop(circuits);
        tracing::warn!(
            topic = partition.topic.name(),
            partition = partition.index,
            since = %circuit.since,
            refused = circuit.refused,
            "the log takes records again"
        );
    }

    /// Circuits that are due for a trial which costs nothing.
    fn due(&self, now: Duration) -> Vec<PartitionId> {
        if Topic::ALL.iter().all(|topic| self.is_closed(*topic)) {
            return Vec::new();
        }
        let circuits = self.circuits.lock();
        let due = circuits.iter();
        due.filter(|(_, circuit)| now >= circuit.failed_at + TRIAL_EVERY / 4)
            .map(|(partition, _)| *partition)
            .collect()
    }

    /// The open circuits with a failure since then, in order of partition.
    fn list(&self, failed_since: Duration) -> Vec<OpenCircuit> {
        let circuits = self.circuits.lock();
        circuits
            .iter()
            .filter(|(_, circuit)| circuit.failed_at >= failed_since)
            .map(|(partition, circuit)| OpenCircuit {
                partition: *partition,
                reason: circuit.reason.clone(),
                since: circuit.since,
            })
            .collect()
    }

    /// How many partitions of a topic take no records.
    #[must_use]
    pub fn open_circuits(&self, topic: Topic) -> usize {
        self.open[topic as usize].load(Ordering::Relaxed)
    }

    /// Requests of a topic that were refused before they took a number, since the process started.
    #[must_use]
    pub fn refused(&self, topic: Topic) -> u64 {
        self.refused[topic as usize].load(Ordering::Relaxed)
    }
}

impl Backend {
    /// Lets a request pass that is about to append to a topic, with a key that chooses the partition.
    /// To be asked before a number is taken.
    ///
    /// # Errors
    /// [`Error::NotAppended`] while the log takes no records.
    pub(crate) async fn admit(
        &self,
        topic: Topic,
        key: impl FnOnce() -> Bytes + Send,
    ) -> Result<(), Error> {
        if self.breaker().is_closed(topic) {
            return Ok(());
        }
        let partition = self.ports().log.partition_of(topic, &key()).await?;
        match self.breaker().try_pass(partition, self.uptime()) {
            Pass::Closed => Ok(()),
            Pass::Refused(reason) => Err(Error::NotAppended(reason)),
            // Where the log can prove nothing, the request is the trial.
            Pass::Trial => self.probe(partition).await.map(drop),
        }
    }

    /// Asks the log whether it can append to a partition; false where only an append can tell.
    async fn probe(&self, partition: PartitionId) -> Result<bool, Error> {
        let probe = self.ports().log.probe(partition);
        let reason = match timeout(self.settings().create_deadline, probe).await {
            Ok(Ok(proved)) => {
                if proved {
                    self.breaker().close(partition);
                }
                return Ok(proved);
            }
            Ok(Err(error)) => error.reason(),
            Err(_) => NO_ANSWER.to_owned(),
        };
        let (now, at) = (self.uptime(), self.now());
        self.breaker().open(partition, &reason, now, at);
        Err(Error::NotAppended(reason))
    }

    /// Tries open circuits in a way that costs no number, so that a process whose requests are kept
    /// away by its `/readyz` learns that the log is back. To be called about four times a second.
    pub async fn probe_log(&self) {
        for partition in self.breaker().due(self.uptime()) {
            // What it found is in the circuit.
            let _ = self.probe(partition).await;
        }
    }

    /// Notes that an append failed.
    pub(crate) async fn append_failed(&self, topic: Topic, key: &[u8], reason: &str) {
        let Ok(partition) = self.ports().log.partition_of(topic, key).await else {
            // An adapter that does not even know the partition refuses the next request by itself.
            return;
        };
        self.breaker()
            .open(partition, reason, self.uptime(), self.now());
    }

    /// Where nothing can be appended, as far as somebody has tried lately.
    #[must_use]
    pub fn open_circuits(&self) -> Vec<OpenCircuit> {
        let lately = self.settings().create_deadline + UNTRIED;
        self.breaker().list(self.uptime().saturating_sub(lately))
    }
}

/// Why a circuit is open whose append was not answered.
pub(crate) const NO_ANSWER: &str = "no acknowledgement came within the create deadline";

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITION: PartitionId = PartitionId {
        topic: Topic::Messages,
        index: 3,
    };

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn broken(breaker: &Breaker, ms: u64) {
        breaker.open(PARTITION, "the disk is full", at(ms), Timestamp::now());
    }

    #[test]
    fn an_open_circuit_lets_one_trial_a_second_pass() {
        let breaker = Breaker::default();
        assert!(breaker.is_closed(Topic::Messages));
        assert_eq!(breaker.try_pass(PARTITION, at(0)), Pass::Closed);
        broken(&breaker, 10_000);
        assert!(!breaker.is_closed(Topic::Messages));
        let passes = (0..4_000).map(|ms| breaker.try_pass(PARTITION, at(10_000 + ms)));
        let trials = passes.filter(|pass| *pass == Pass::Trial).count();
        assert_eq!(trials, 3);
        assert_eq!(breaker.refused(Topic::Messages), 4_000 - 3);
        // A trial that fails does not bring the next one forward.
        broken(&breaker, 13_900);
        let refused = Pass::Refused("the disk is full".to_owned());
        assert_eq!(breaker.try_pass(PARTITION, at(14_000)), refused);
        assert_eq!(breaker.try_pass(PARTITION, at(14_900)), Pass::Trial);
        breaker.close(PARTITION);
        assert!(breaker.is_closed(Topic::Messages));
        assert_eq!(breaker.try_pass(PARTITION, at(14_901)), Pass::Closed);
    }

    #[test]
    fn a_partition_stops_no_other_one() {
        let breaker = Breaker::default();
        broken(&breaker, 0);
        let other = PartitionId {
            index: 4,
            ..PARTITION
        };
        assert_eq!(breaker.try_pass(other, at(1)), Pass::Closed);
        assert!(breaker.is_closed(Topic::Chats));
        // A success elsewhere says nothing about this one.
        breaker.close(other);
        assert_eq!(breaker.open_circuits(Topic::Messages), 1);
    }

    #[test]
    fn a_circuit_that_nobody_tries_is_not_shown_for_ever() {
        let breaker = Breaker::default();
        broken(&breaker, 1_000);
        assert_eq!(breaker.list(at(1_000)).len(), 1);
        assert!(breaker.list(at(1_001)).is_empty());
        assert_eq!(breaker.open_circuits(Topic::Messages), 1);
    }
}
