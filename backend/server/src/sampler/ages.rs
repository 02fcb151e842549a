//! How old the first unread record of each partition is, read from the record itself.

use std::collections::HashMap;
use std::time::Duration;

use chat_core::lag::look::{Look, Seen};
use chat_core::lag::watch::Watch;
use chat_core::port::Ports;
use chat_core::port::log::{Group, PartitionId, PollLimits};
use chat_wire::time::Timestamp;
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

/// Records that are read for one look: those that have waited longest, by the looks before.
const READS: usize = 256;
/// Reads at the same time.
const AT_ONCE: usize = 4;
/// How long all of them together may take; what was not read by then is unknown.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// How long what was read is shown although the group has moved on.
const READ_FOR: Duration = Duration::from_secs(1);
/// One record.
const ONE: PollLimits = PollLimits {
    records: 1,
    bytes: 1,
    wait_ms: 0,
};

/// A group by its place in [`Group::ALL`], and a partition.
type Place = (usize, u32);

/// What was read.
#[derive(Default)]
pub(super) struct Ages {
    read: Mutex<HashMap<Place, Read>>,
}

#[derive(Clone, Copy)]
struct Read {
    offset: u64,
    appended_at: Timestamp,
    at: Instant,
}

/// A record to read.
struct Wanted {
    place: Place,
    partition: PartitionId,
    offset: u64,
    waited_ms: u64,
}

impl Ages {
    /// Fills in the ages of what waits.
    pub(super) async fn fill(
        &self,
        ports: &Ports,
        watches: &Mutex<Vec<Watch>>,
        looks: &mut [Look],
    ) {
        let mut wanted = self.wanted(watches, looks);
        wanted.sort_unstable_by_key(|one| std::cmp::Reverse(one.waited_ms));
        wanted.truncate(READS);
        let mut reads = stream::iter(wanted)
            .map(|one| async move {
                let records = ports.log.read(one.partition, one.offset, ONE).await;
                (one, records)
            })
            .buffer_unordered(AT_ONCE);
        let all = async {
            while let Some((one, records)) = reads.next().await {
                match records.map(|records| records.first().map(|record| record.appended_at)) {
                    Ok(Some(appended_at)) => {
                        let read = Read {
                            offset: one.offset,
                            appended_at,
                            at: Instant::now(),
                        };
                        self.read.lock().insert(one.place, read);
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::debug!(%error, "the age of a record could not be read");
                    }
                }
            }
        };
        // What came in time is kept; the rest is unknown.
        let _ = timeout(READ_TIMEOUT, all).await;
        self.show(looks);
    }

    /// The records that something waits at and whose age is not known.
    fn wanted(&self, watches: &Mutex<Vec<Watch>>, looks: &[Look]) -> Vec<Wanted> {
        let watches = watches.lock();
        let read = self.read.lock();
        let mut wanted = Vec::new();
        for (nth, ((group, look), watch)) in Group::ALL
            .into_iter()
            .zip(looks)
            .zip(watches.iter())
            .enumerate()
        {
            for (index, seen) in (0_u32..).zip(&look.partitions) {
                let Some(offset) = waiting(seen) else {
                    continue;
                };
                let known = read.get(&(nth, index));
                if known.is_some_and(|known| known.serves(offset)) {
                    continue;
                }
                wanted.push(Wanted {
                    place: (nth, index),
                    partition: PartitionId {
                        topic: group.topic(),
                        index,
                    },
                    offset,
                    waited_ms: watch.waited_ms(index as usize, offset, look.at_ms),
                });
            }
        }
        wanted
    }

    fn show(&self, looks: &mut [Look]) {
        let now = Timestamp::now().as_micros();
        let mut read = self.read.lock();
        for (nth, look) in looks.iter_mut().enumerate() {
            for (index, seen) in (0_u32..).zip(&mut look.partitions) {
                let place = (nth, index);
                let Some(offset) = waiting(seen) else {
                    if seen.lag() == Some(0) {
                        read.remove(&place);
                    }
                    continue;
                };
                if let Some(known) = read.get(&place).filter(|known| known.serves(offset)) {
                    let age = now.saturating_sub(known.appended_at.as_micros());
                    // A broker's clock may be ahead of ours.
                    seen.oldest_age_ms = Some(u64::try_from(age / 1_000).unwrap_or(0));
                }
            }
        }
    }
}

impl Read {
    fn serves(&self, offset: u64) -> bool {
        self.offset == offset || self.at.elapsed() < READ_FOR
    }
}

/// The offset of the record that waits, where it still exists.
fn waiting(seen: &Seen) -> Option<u64> {
    let (start, _) = seen.range?;
    seen.lag().filter(|lag| *lag > 0)?;
    Some(seen.next()?.max(start))
}
