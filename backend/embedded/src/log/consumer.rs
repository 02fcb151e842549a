//! Consumers: one member of a group at a time has the partitions, the one that joined last.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chat_core::port::log::{Consumer, Error, Group, PartitionId, PollLimits, Polled, Record};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::read::Shared;

/// One member of a group.
pub(super) struct Member {
    shared: Arc<Shared>,
    group: Group,
    id: u64,
    members: watch::Receiver<Vec<u64>>,
    end: watch::Receiver<u64>,
    /// Whether it was told that the partitions are its own.
    assigned: bool,
    /// The offset to read next, once it was sought.
    next: Option<u64>,
}

impl Member {
    pub(super) fn join(shared: Arc<Shared>, group: Group) -> Self {
        static IDS: AtomicU64 = AtomicU64::new(0);
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        let sender = &shared.members[group as usize];
        sender.send_modify(|members| members.push(id));
        let members = sender.subscribe();
        let end = shared.topic(group.topic()).watch();
        Self {
            shared,
            group,
            id,
            members,
            end,
            assigned: false,
            next: None,
        }
    }

    const fn partition(&self) -> PartitionId {
        PartitionId {
            topic: self.group.topic(),
            index: 0,
        }
    }

    /// What changed about who has the partitions, if anything did.
    fn rebalance(&mut self) -> Option<Polled> {
        let mine = self.members.borrow_and_update().last() == Some(&self.id);
        if mine == self.assigned {
            return None;
        }
        self.assigned = mine;
        self.next = None;
        let partitions = vec![self.partition()];
        Some(if mine {
            Polled::Assigned(partitions)
        } else {
            Polled::Revoked(partitions)
        })
    }
}

#[async_trait]
impl Consumer for Member {
    async fn poll(&mut self, limits: PollLimits) -> Result<Polled, Error> {
        let deadline = Instant::now() + Duration::from_millis(limits.wait_ms);
        loop {
            if let Some(change) = self.rebalance() {
                return Ok(change);
            }
            // Marked as seen before reading, so that an append in between ends the wait below.
            self.end.borrow_and_update();
            if let Some(from) = self.next {
                let records = match self.shared.read(self.partition(), from, limits).await {
                    Err(Error::OutOfRange { asked, start }) if asked < start => {
                        self.next = None;
                        let partition = self.partition();
                        return Ok(Polled::Gone {
                            partition,
                            asked,
                            start,
                        });
                    }
                    read => read?,
                };
                if let Some(last) = records.last() {
                    self.next = Some(last.offset + 1);
                    return Ok(Polled::Records(records));
                }
            }
            let sought = self.next.is_some();
            let news = async {
                tokio::select! {
                    changed = self.members.changed() => changed,
                    changed = self.end.changed(), if sought => changed,
                }
            };
            match timeout_at(deadline, news).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Ok(Polled::Idle),
            }
        }
    }

    async fn waiting(&mut self, limits: PollLimits) -> Result<Vec<Record>, Error> {
        let mine = self.members.borrow().last() == Some(&self.id);
        let Some(from) = self.next.filter(|_| mine) else {
            return Ok(Vec::new());
        };
        let records = match self.shared.read(self.partition(), from, limits).await {
            // The next poll says so.
            Err(Error::OutOfRange { .. }) => Vec::new(),
            read => read?,
        };
        if let Some(last) = records.last() {
            self.next = Some(last.offset + 1);
        }
        Ok(records)
    }

    async fn seek(&mut self, partition: PartitionId, offset: u64) -> Result<(), Error> {
        if partition != self.partition() {
            return Err(Error::Refused("this partition is not the group's".into()));
        }
        if self.assigned {
            self.next = Some(offset);
        }
        Ok(())
    }

    async fn commit(&mut self, _partition: PartitionId, _next: u64) -> Result<(), Error> {
        // Whoever displays a group's progress reads it from the store, which is in the same process.
        Ok(())
    }

    async fn leave(self: Box<Self>) {
        // Dropping leaves, so that a consumer that is forgotten does so too.
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.shared.members[self.group as usize]
            .send_modify(|members| members.retain(|member| *member != self.id));
    }
}
