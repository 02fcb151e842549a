//! Lanes: while something of a key is under way, whoever else comes for it waits, and all of them go together
//! next. Who comes alone goes at once; the more there is to do, the more goes into one round trip. Keys never
//! wait for each other.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::mem;

use parking_lot::Mutex;

/// Of each key that has something under way, those who came since.
pub(crate) struct Lanes<K: Copy + Eq + Hash, T>(Mutex<HashMap<K, Vec<T>>>);

/// Whoever serves a key. A panic fails those who wait, and not all who come afterwards.
#[must_use]
pub(crate) struct Serving<'l, K: Copy + Eq + Hash, T>(&'l Lanes<K, T>, K);

impl<K: Copy + Eq + Hash, T> Drop for Serving<'_, K, T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            drop(self.0.end(self.1));
        }
    }
}

impl<K: Copy + Eq + Hash, T> Default for Lanes<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Copy + Eq + Hash, T> Lanes<K, T> {
    /// Joins those who wait; gives the item back where nothing is under way, which is so from now on.
    pub(crate) fn join(&self, key: K, item: T) -> Option<T> {
        match self.0.lock().entry(key) {
            Entry::Occupied(mut lane) => {
                lane.get_mut().push(item);
                None
            }
            Entry::Vacant(lane) => {
                lane.insert(Vec::new());
                Some(item)
            }
        }
    }

    /// Keys that have something under way.
    pub(crate) fn under_way(&self) -> usize {
        self.0.lock().len()
    }

    /// To be held by whoever serves a key.
    pub(crate) const fn serving(&self, key: K) -> Serving<'_, K, T> {
        Serving(self, key)
    }

    /// At most so many of those who came meanwhile, in their order; without any, nothing is under way now.
    pub(crate) fn next(&self, key: K, most: usize) -> Vec<T> {
        match self.0.lock().entry(key) {
            Entry::Occupied(lane) if lane.get().is_empty() => lane.remove(),
            Entry::Occupied(mut lane) => {
                let count = lane.get().len().min(most);
                lane.get_mut().drain(..count).collect()
            }
            Entry::Vacant(_) => Vec::new(),
        }
    }

    /// Those who came meanwhile, in their order; something stays under way also without any.
    pub(crate) fn more(&self, key: K) -> Vec<T> {
        let mut lanes = self.0.lock();
        lanes.get_mut(&key).map(mem::take).unwrap_or_default()
    }

    /// All who wait; nothing is under way now.
    pub(crate) fn end(&self, key: K) -> Vec<T> {
        self.0.lock().remove(&key).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_first_goes_and_who_comes_meanwhile_goes_together() {
        let lanes = Lanes::default();
        assert_eq!(lanes.join('a', 1), Some(1));
        assert_eq!(lanes.join('b', 1), Some(1));
        for item in 2..=6 {
            assert_eq!(lanes.join('a', item), None);
        }
        assert_eq!(lanes.under_way(), 2);
        assert_eq!(lanes.next('a', 4), [2, 3, 4, 5]);
        assert_eq!(lanes.join('a', 7), None);
        assert_eq!(lanes.more('a'), [6, 7]);
        assert!(lanes.more('a').is_empty());
        assert_eq!(lanes.join('a', 8), None);
        assert_eq!(lanes.next('a', usize::MAX), [8]);
        assert!(lanes.next('a', usize::MAX).is_empty());
        // Nothing is under way any more.
        assert_eq!(lanes.join('a', 9), Some(9));
        assert_eq!(lanes.join('a', 10), None);
        assert_eq!(lanes.end('a'), [10]);
        assert_eq!(lanes.join('a', 11), Some(11));
    }

    #[test]
    fn a_panic_ends_its_own_lane_alone() {
        let lanes = Lanes::default();
        for key in ['a', 'b'] {
            assert_eq!(lanes.join(key, 1), Some(1));
            assert_eq!(lanes.join(key, 2), None);
        }
        let served = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _serving = lanes.serving('a');
            panic!("a mistake");
        }));
        assert!(served.is_err());
        drop(lanes.serving('b'));
        assert_eq!(lanes.join('a', 3), Some(3));
        assert_eq!(lanes.next('b', usize::MAX), [2]);
    }
}
