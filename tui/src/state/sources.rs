//! The sources: which of them are wanted now, which state each is in, and when to ask them.

use super::dashboard::{Overlay, State};
use super::page::Page;
use super::picker::Picker;
use super::poll::Poll;
use crate::api::{Request, Slot};

impl State {
    /// Everything that is wanted from the server for what is on the screen.
    #[must_use]
    pub fn wanted(&self) -> Vec<(Slot, Request)> {
        let mut wanted = vec![(Slot::Stats, Request::Stats)];
        match self.page {
            Page::Overview => {}
            Page::Topics => {
                if self.topics.wants_partitions(self) {
                    wanted.push((Slot::Lag, Request::Lag(super::topics::query(self))));
                }
            }
            Page::Counters => match &self.counters.reader {
                Some(reader) => wanted.push((Slot::CounterMessages, reader.request())),
                None => wanted.push((Slot::Drift, Request::Drift(self.counters.query()))),
            },
            Page::Reconcile => wanted.push((Slot::Runs, Request::Runs)),
            Page::Letters => {
                wanted.push((Slot::Letters, Request::Letters(self.letters.query())));
                if let Some(open) = &self.letters.open {
                    wanted.push((Slot::Letter, Request::Letter(open.id.clone())));
                }
            }
            Page::Search => match &self.search.reader {
                Some(reader) => wanted.push((Slot::HitMessages, reader.request())),
                None => wanted.extend(self.search.request().map(|asked| (Slot::Hits, asked))),
            },
            Page::Doctor => wanted.push((Slot::Doctor, Request::Doctor)),
        }
        wanted.extend(self.picker_wants());
        wanted
    }

    fn picker_wants(&self) -> Option<(Slot, Request)> {
        let limit = super::picker::PAGE_ROWS;
        match &self.overlay {
            Some(Overlay::Picker(Picker::Applications { pager, .. })) => {
                let after = pager.after;
                Some((Slot::Applications, Request::Applications { after, limit }))
            }
            Some(Overlay::Picker(Picker::Chats { token, pager, .. })) => {
                let request = Request::Chats {
                    token: *token,
                    after: pager.after,
                    limit,
                };
                Some((Slot::Chats, request))
            }
            _ => None,
        }
    }

    /// The state of a source; `None` where what it belongs to is closed.
    #[must_use]
    pub fn poll(&self, slot: Slot) -> Option<&Poll> {
        Some(match slot {
            Slot::Stats => &self.overview.stats.poll,
            Slot::Lag => &self.topics.lag.poll,
            Slot::Drift => &self.counters.drift.poll,
            Slot::Runs => &self.reconcile.runs.poll,
            Slot::Letters => &self.letters.page.poll,
            Slot::Letter => &self.letters.open.as_ref()?.letter.poll,
            Slot::Doctor => &self.doctor.diagnosis.poll,
            Slot::CounterMessages => &self.counters.reader.as_ref()?.page.poll,
            Slot::HitMessages => &self.search.reader.as_ref()?.page.poll,
            Slot::Hits => &self.search.hits.poll,
            Slot::Applications => match &self.overlay {
                Some(Overlay::Picker(Picker::Applications { page, .. })) => &page.poll,
                _ => return None,
            },
            Slot::Chats => match &self.overlay {
                Some(Overlay::Picker(Picker::Chats { page, .. })) => &page.poll,
                _ => return None,
            },
        })
    }

    /// The same, to change it.
    pub fn poll_mut(&mut self, slot: Slot) -> Option<&mut Poll> {
        Some(match slot {
            Slot::Stats => &mut self.overview.stats.poll,
            Slot::Lag => &mut self.topics.lag.poll,
            Slot::Drift => &mut self.counters.drift.poll,
            Slot::Runs => &mut self.reconcile.runs.poll,
            Slot::Letters => &mut self.letters.page.poll,
            Slot::Letter => &mut self.letters.open.as_mut()?.letter.poll,
            Slot::Doctor => &mut self.doctor.diagnosis.poll,
            Slot::CounterMessages => &mut self.counters.reader.as_mut()?.page.poll,
            Slot::HitMessages => &mut self.search.reader.as_mut()?.page.poll,
            Slot::Hits => &mut self.search.hits.poll,
            Slot::Applications => match &mut self.overlay {
                Some(Overlay::Picker(Picker::Applications { page, .. })) => &mut page.poll,
                _ => return None,
            },
            Slot::Chats => match &mut self.overlay {
                Some(Overlay::Picker(Picker::Chats { page, .. })) => &mut page.poll,
                _ => return None,
            },
        })
    }

    /// Milliseconds between two looks at a source; `None` where it is asked only on demand.
    #[must_use]
    pub fn interval_ms(&self, slot: Slot) -> Option<u64> {
        let interval = self.setup.interval_ms;
        match slot {
            Slot::Stats | Slot::Lag => Some(interval),
            // A comparison reads every row that changed.
            Slot::Drift => Some(interval * 3),
            Slot::Runs if self.reconcile.current().is_some() => Some((interval / 2).max(250)),
            Slot::Runs | Slot::Letters => Some(interval * 2),
            // The checks of the doctor ask every engine.
            Slot::Doctor => Some(interval * 15),
            Slot::Letter
            | Slot::CounterMessages
            | Slot::HitMessages
            | Slot::Hits
            | Slot::Applications
            | Slot::Chats => None,
        }
    }

    /// When something will have to be done although nothing happens: at the latest in a second,
    /// because ages are shown.
    #[must_use]
    pub fn wake_ms(&self) -> u64 {
        const SECOND_MS: u64 = 1_000;
        let tick = self.now.ms - self.now.ms % SECOND_MS + SECOND_MS;
        let sources = self
            .wanted()
            .into_iter()
            .filter(|_| self.frozen_ms.is_none())
            .filter_map(|(slot, _)| self.poll(slot)?.next_ms());
        let flash = self.flash.as_ref().map(|flash| flash.until_ms);
        sources
            .chain(self.search.due_ms)
            .chain(flash)
            .min()
            .map_or(tick, |next| next.min(tick))
            .max(self.now.ms)
    }

    /// Whether everything on the screen has been answered, well or not.
    #[must_use]
    pub fn settled(&self) -> bool {
        self.search.due_ms.is_none()
            && self
                .wanted()
                .into_iter()
                .filter_map(|(slot, _)| self.poll(slot))
                .all(Poll::answered)
    }
}
