//! Candidates: the documents with every gram of a query, the first ones in the order asked for.

use chat_core::port::search::{Candidate, Error, Query, Rank};
use chat_core::port::store::{ChatKey, MessageKey};
use chat_core::text::{MAX_GRAM_CHARS, grams};
use chat_wire::ids::AppToken;
use chat_wire::search::Sort;
use chat_wire::time::Timestamp;
use tantivy::postings::SegmentPostings;
use tantivy::{DocSet, TERMINATED};

use super::schema::{from_position, position, scope_path};
use super::view::{Segment, View, postings};

pub(super) fn candidates(view: &View, query: &Query) -> Result<Vec<Candidate>, Error> {
    if query.limit == 0 {
        return Ok(Vec::new());
    }
    let scope = scope_path(query.token, query.chat);
    let needed = needed_grams(&query.text);
    let mut top = Top::new(query.sort, query.after, query.limit);
    for segment in &view.segments {
        if let Some(lists) = lists(segment, &scope, &needed).map_err(super::failure)? {
            intersect(lists, |document| {
                if segment.is_alive(document) {
                    top.offer(segment, document);
                }
            });
        }
    }
    top.into_candidates(query.token)
}

/// The grams that a text must have to contain this one. Grams as long as possible say most; the
/// shorter ones within them would only be read in vain.
fn needed_grams(text: &str) -> Vec<&str> {
    let size = text.chars().take(MAX_GRAM_CHARS).count().max(1);
    let mut needed: Vec<&str> = grams(text, size).collect();
    needed.sort_unstable();
    needed.dedup();
    needed
}

/// The lists of documents to intersect, shortest first; `None` when one of them is missing.
fn lists(
    segment: &Segment,
    scope: &[u8],
    needed: &[&str],
) -> tantivy::Result<Option<Vec<SegmentPostings>>> {
    let Some(scope) = segment.paths.terms().get(scope)? else {
        return Ok(None);
    };
    let mut terms = Vec::with_capacity(needed.len() + 1);
    for gram in needed {
        match segment.grams.terms().get(gram)? {
            Some(term) => terms.push((&segment.grams, term)),
            None => return Ok(None),
        }
    }
    // A scope that holds the whole segment excludes nothing.
    if terms.is_empty() || scope.doc_freq < segment.reader.max_doc() {
        terms.push((&segment.paths, scope));
    }
    terms.sort_by_key(|(_, term)| term.doc_freq);
    let open = terms.iter().map(|(field, term)| postings(field, term));
    open.collect::<tantivy::Result<_>>().map(Some)
}

/// Calls `found` with each document that is in all lists, ascending.
///
/// The first list proposes and the others are asked in turn, so it should be the shortest.
fn intersect(mut lists: Vec<SegmentPostings>, mut found: impl FnMut(u32)) {
    let Some((first, others)) = lists.split_first_mut() else {
        return;
    };
    let mut document = first.doc();
    'next: while document != TERMINATED {
        for other in others.iter_mut() {
            if other.doc() < document {
                other.seek(document);
            }
            let at = other.doc();
            if at != document {
                document = first.seek(at);
                continue 'next;
            }
        }
        found(document);
        document = first.advance();
    }
}

/// Ascending in the order asked for, and enough to make the candidate of it: see [`Top::key`].
type Key = (u64, u64);

/// Keeps the first keys of all that are offered, in memory of twice the limit.
struct Top {
    sort: Sort,
    limit: usize,
    behind: Option<Key>,
    /// Not in order, at most twice the limit.
    kept: Vec<Key>,
    /// The last that was kept so far: nothing behind it can get among the first any more.
    end: Option<Key>,
}

impl Top {
    fn new(sort: Sort, after: Option<Rank>, limit: usize) -> Self {
        let mut top = Self {
            sort,
            limit,
            behind: None,
            kept: Vec::new(),
            end: None,
        };
        top.behind = after.map(|rank| {
            top.key(
                rank.created_at.as_micros(),
                position(rank.chat, rank.number),
            )
        });
        top
    }

    /// By number: position, time. Newest first: both turned around, and the time first.
    fn key(&self, created_at: i64, position: u64) -> Key {
        match self.sort {
            Sort::Number => (position, ascending(created_at)),
            Sort::Newest => (!ascending(created_at), !position),
        }
    }

    fn offer(&mut self, segment: &Segment, document: u32) {
        // Most documents of a frequent gram are out by the first half of the key already, and
        // the second column is not read.
        let first = match self.sort {
            Sort::Number => segment.position.get_val(document),
            Sort::Newest => !ascending(segment.created_at.get_val(document)),
        };
        if self.behind.is_some_and(|(behind, _)| first < behind)
            || self.end.is_some_and(|(end, _)| first > end)
        {
            return;
        }
        let second = match self.sort {
            Sort::Number => ascending(segment.created_at.get_val(document)),
            Sort::Newest => !segment.position.get_val(document),
        };
        self.push((first, second));
    }

    fn push(&mut self, key: Key) {
        if self.behind.is_some_and(|behind| key <= behind) || self.end.is_some_and(|end| key >= end)
        {
            return;
        }
        self.kept.push(key);
        if self.kept.len() == self.limit * 2 {
            self.shrink();
        }
    }

    /// Forgets what is behind the first `limit`. As it takes `limit` pushes to come here again,
    /// a push costs the same whatever the limit; a heap would be slow with documents that come
    /// oldest first, where each one is the new first.
    fn shrink(&mut self) {
        if self.kept.len() > self.limit {
            let (_, last, _) = self.kept.select_nth_unstable(self.limit - 1);
            self.end = Some(*last);
            self.kept.truncate(self.limit);
        }
    }

    fn into_candidates(mut self, token: AppToken) -> Result<Vec<Candidate>, Error> {
        self.shrink();
        self.kept.sort_unstable();
        let candidate = |key| candidate(self.sort, token, key);
        let candidates: Option<Vec<Candidate>> = self.kept.iter().copied().map(candidate).collect();
        candidates.ok_or_else(|| Error::Unusable("it names an impossible message".to_owned()))
    }
}

/// Undoes [`Top::key`]; `None` when it was never made of a message.
fn candidate(sort: Sort, token: AppToken, (first, second): Key) -> Option<Candidate> {
    let (created_at, position) = match sort {
        Sort::Number => (second, first),
        Sort::Newest => (!first, !second),
    };
    let (chat, number) = from_position(position)?;
    Some(Candidate {
        key: MessageKey {
            chat: ChatKey { token, chat },
            number,
        },
        rank: Rank {
            created_at: Timestamp::from_micros(descended(created_at)).ok()?,
            chat,
            number: number.get(),
        },
    })
}

/// The sign bit turned, so that negative times come before positive ones as `u64` too.
fn ascending(micros: i64) -> u64 {
    micros.cast_unsigned() ^ (1 << 63)
}

fn descended(ascending: u64) -> i64 {
    (ascending ^ (1 << 63)).cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_ones_are_kept(
            mut keys in prop::collection::vec((0_u64..20, 0_u64..20), 0..200),
            behind in prop::option::of((0_u64..20, 0_u64..20)),
            limit in 1_usize..30,
        ) {
            let mut top = Top::new(Sort::Number, None, limit);
            top.behind = behind;
            for key in &keys {
                top.push(*key);
            }
            top.shrink();
            top.kept.sort_unstable();
            keys.retain(|key| behind.is_none_or(|behind| *key > behind));
            keys.sort_unstable();
            keys.truncate(limit);
            prop_assert_eq!(top.kept, keys);
        }

        #[test]
        fn times_keep_their_order(a: i64, b: i64) {
            prop_assert_eq!(a.cmp(&b), ascending(a).cmp(&ascending(b)));
            prop_assert_eq!(descended(ascending(a)), a);
        }
    }

    #[test]
    fn only_the_longest_grams_are_needed() {
        assert_eq!(needed_grams("a"), ["a"]);
        assert_eq!(needed_grams("日本"), ["日本"]);
        assert_eq!(needed_grams("aaaab"), ["aaa", "aab"]);
        assert!(needed_grams("").is_empty());
    }
}
