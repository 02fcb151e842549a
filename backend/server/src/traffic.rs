//! What this process did in the last seconds: rates and the times of creates, for whoever watches.
//!
//! Prometheus has the same as counters since the start; this is for a snapshot that says "a second".

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chat_wire::admin::stats;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::http::guard::Reason;

/// Whole seconds that rates are taken over.
const SECONDS: u64 = 5;
/// Those, and the one that is under way.
const SLOTS: usize = SECONDS as usize + 1;
/// Upper edge of the first bucket of the times, in seconds.
const FIRST_EDGE: f64 = 0.000_1;
/// Each bucket's edge is so many times the one before: a percentile is off by a tenth at most.
const STEP: f64 = 1.2;
/// Requests that find no place within two seconds, from which on the process counts as overloaded.
const OVERLOADED: u64 = 200;
/// The last edge is above a minute.
const BUCKETS: usize = 74;

/// Marks an answer that created messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Created {
    /// How many.
    pub(crate) messages: u64,
    /// The client asked to wait until they are stored, so the time says nothing about creating.
    pub(crate) waited: bool,
}

/// Marks an answer that was refused because of a limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shed(pub(crate) Option<Reason>);

/// One answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) created: Option<Created>,
    pub(crate) shed: Option<Shed>,
    pub(crate) took: Duration,
}

/// Counts by second.
#[derive(Debug)]
pub struct Traffic {
    began: Instant,
    in_flight: AtomicU64,
    slots: Mutex<[Slot; SLOTS]>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Which second since the beginning this is of.
    second: u64,
    requests: u64,
    creates: u64,
    errors: u64,
    shed: u64,
    /// Of those, for want of a place.
    turned_away: u64,
    times: [u32; BUCKETS],
}

impl Slot {
    const EMPTY: Self = Self {
        second: 0,
        requests: 0,
        creates: 0,
        errors: 0,
        shed: 0,
        turned_away: 0,
        times: [0; BUCKETS],
    };
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            in_flight: AtomicU64::new(0),
            slots: Mutex::new([Slot::EMPTY; SLOTS]),
        }
    }
}

impl Traffic {
    /// A request is at work until what this returns is dropped.
    pub(crate) fn enter(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self)
    }

    /// Counts an answer.
    pub(crate) fn count(&self, answered: Answered) {
        let second = self.began.elapsed().as_secs();
        let mut slots = self.slots.lock();
        let slot = &mut slots[place(second)];
        if slot.second != second {
            *slot = Slot {
                second,
                ..Slot::EMPTY
            };
        }
        slot.requests += 1;
        slot.errors += u64::from(answered.status >= 500);
        slot.shed += u64::from(answered.shed.is_some());
        // An application that has all that it may have has most of the process.
        let busy = matches!(
            answered.shed,
            Some(Shed(Some(Reason::AtWork | Reason::ApplicationAtWork)))
        );
        slot.turned_away += u64::from(busy);
        if let Some(created) = answered.created {
            slot.creates += created.messages;
            if !created.waited {
                slot.times[bucket(answered.took)] += 1;
            }
        }
    }

    /// Whether more comes than the process can do: requests are turned away for want of a place, in this
    /// second or the one before, and they are not just a few.
    #[must_use]
    pub fn is_overloaded(&self) -> bool {
        let second = self.began.elapsed().as_secs();
        let slots = self.slots.lock();
        let recent = slots.iter().filter(|slot| slot.second + 1 >= second);
        recent.map(|slot| slot.turned_away).sum::<u64>() >= OVERLOADED
    }

    /// Rates over the last whole seconds.
    #[must_use]
    pub fn rates(&self) -> stats::Traffic {
        let second = self.began.elapsed().as_secs();
        let mut sum = Slot::EMPTY;
        {
            let slots = self.slots.lock();
            let whole = slots
                .iter()
                .filter(|slot| slot.second < second && slot.second + SECONDS >= second);
            for slot in whole {
                sum.requests += slot.requests;
                sum.creates += slot.creates;
                sum.errors += slot.errors;
                sum.shed += slot.shed;
                for (all, one) in sum.times.iter_mut().zip(slot.times) {
                    *all += one;
                }
            }
        }
        let seconds = f64::from(u32::try_from(second.clamp(1, SECONDS)).unwrap_or(1));
        let rate = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / seconds;
        stats::Traffic {
            requests_per_second: rate(sum.requests),
            creates_per_second: rate(sum.creates),
            errors_per_second: rate(sum.errors),
            shed_per_second: rate(sum.shed),
            create_p50_ms: percentile(&sum.times, 0.5),
            create_p99_ms: percentile(&sum.times, 0.99),
            in_flight: self.in_flight.load(Ordering::Relaxed),
        }
    }
}

/// A request at work.
pub(crate) struct InFlight<'a>(&'a Traffic);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

fn place(second: u64) -> usize {
    usize::try_from(second % SLOTS as u64).unwrap_or(0)
}

fn bucket(took: Duration) -> usize {
    let seconds = took.as_secs_f64();
    let mut edge = FIRST_EDGE;
    for bucket in 0..BUCKETS - 1 {
        if seconds <= edge {
            return bucket;
        }
        edge *= STEP;
    }
    BUCKETS - 1
}

/// Milliseconds that this part of the times does not exceed; `None` where there are none.
fn percentile(times: &[u32; BUCKETS], part: f64) -> Option<f64> {
    let total: u32 = times.iter().sum();
    if total == 0 {
        return None;
    }
    let wanted = f64::from(total) * part;
    let mut seen = 0;
    let mut edge = FIRST_EDGE;
    for count in times {
        seen += count;
        if f64::from(seen) >= wanted {
            // The middle of the bucket, on the scale that the buckets have.
            return Some(edge / STEP.sqrt() * 1_000.0);
        }
        edge *= STEP;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created(ms: u64) -> Answered {
        Answered {
            status: 202,
            created: Some(Created {
                messages: 2,
                waited: false,
            }),
            shed: None,
            took: Duration::from_millis(ms),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rates_are_of_the_last_whole_seconds() {
        let traffic = Traffic::default();
        let refused = Answered {
            status: 503,
            created: None,
            shed: Some(Shed(None)),
            took: Duration::ZERO,
        };
        for _ in 0..10 {
            for _ in 0..99 {
                traffic.count(created(10));
            }
            traffic.count(created(1_000));
            traffic.count(refused);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let close = |rate: f64, wanted: f64| assert!((rate - wanted).abs() < 1e-9, "{rate}");
        let rates = traffic.rates();
        close(rates.requests_per_second, 101.0);
        close(rates.creates_per_second, 200.0);
        close(rates.errors_per_second, 1.0);
        close(rates.shed_per_second, 1.0);
        let (p50, p99) = (rates.create_p50_ms.unwrap(), rates.create_p99_ms.unwrap());
        assert!(
            (9.0..11.0).contains(&p50) && (9.0..11.0).contains(&p99),
            "{p50} {p99}"
        );
        tokio::time::advance(Duration::from_secs(6)).await;
        let rates = traffic.rates();
        close(rates.requests_per_second, 0.0);
        assert_eq!(rates.create_p50_ms, None);
    }

    #[tokio::test(start_paused = true)]
    async fn many_without_a_place_are_an_overload_for_two_seconds() {
        let traffic = Traffic::default();
        let refused = |reason| Answered {
            status: 503,
            created: None,
            shed: Some(Shed(Some(reason))),
            took: Duration::ZERO,
        };
        // Who is above a limit of their own is not more than the process can do.
        (0..OVERLOADED).for_each(|_| traffic.count(refused(Reason::Rate)));
        (1..OVERLOADED).for_each(|_| traffic.count(refused(Reason::AtWork)));
        assert!(!traffic.is_overloaded());
        tokio::time::advance(Duration::from_secs(1)).await;
        traffic.count(refused(Reason::ApplicationAtWork));
        assert!(traffic.is_overloaded());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!traffic.is_overloaded());
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_second_is_not_divided_by_five() {
        let traffic = Traffic::default();
        (0..50).for_each(|_| traffic.count(created(1)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!((traffic.rates().requests_per_second - 50.0).abs() < 1e-9);
    }

    #[test]
    fn percentiles_are_close() {
        for ms in [1_u64, 3, 7, 20, 150, 999, 30_000] {
            let mut times = [0; BUCKETS];
            times[bucket(Duration::from_millis(ms))] = 1;
            let told = percentile(&times, 0.99).unwrap();
            let exact = f64::from(u32::try_from(ms).unwrap());
            assert!((told / exact - 1.0).abs() < 0.1, "{ms} {told}");
        }
        // What is beyond the last edge is counted as well.
        let mut times = [0; BUCKETS];
        times[bucket(Duration::from_secs(3_600))] = 1;
        assert!(percentile(&times, 0.5).unwrap() > 55_000.0);
    }

    #[test]
    fn whoever_works_is_counted() {
        let traffic = Traffic::default();
        let (one, two) = (traffic.enter(), traffic.enter());
        assert_eq!(traffic.rates().in_flight, 2);
        drop((one, two));
        assert_eq!(traffic.rates().in_flight, 0);
    }
}
