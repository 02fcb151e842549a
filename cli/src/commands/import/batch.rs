//! Gathering lines into batches.
//!
//! What is in a batch depends on the lines alone, never on time, on the network or on how many
//! batches are under way. Otherwise a second run would cut elsewhere, its keys would be other
//! keys, and messages would be there twice.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use chat_client::key::IdempotencyKey;

use crate::commands::import::key::Keys;
use crate::commands::import::line::Line;

/// Most lines in one batch, by the API.
const LINES_MAX: usize = 1_000;
/// Largest batch; the API takes 768 KiB.
const BYTES_MAX: usize = 700 * 1024;
/// Most bytes in all open batches; beyond it the batch that was opened first is closed.
const OPEN_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What one line costs beside its bytes.
const LINE_BYTES: usize = size_of::<u64>();

/// What comes out, in an order that only the lines decide.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// The next chat: its value as JSON. Chats are counted from 0.
    Chat(Arc<str>),
    /// Lines of a chat that was told before.
    Batch(Batch),
}

/// Lines of one chat, sent as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Which chat, counted from 0.
    pub(crate) chat: usize,
    /// Which batch of the chat, counted from 0.
    pub(crate) ordinal: u64,
    /// NDJSON.
    pub(crate) payload: Bytes,
    /// The line of the input for each line of the payload.
    pub(crate) lines: Vec<u64>,
    /// Of this payload.
    pub(crate) key: IdempotencyKey,
}

impl Batch {
    /// Takes a line out, counted from 0, and returns its number in the input and its JSON.
    pub(crate) fn remove(&mut self, at: usize, chat: &str, keys: &Keys) -> Option<(u64, Bytes)> {
        if at >= self.lines.len() {
            return None;
        }
        let mut starts = vec![0];
        let ends = self.payload.iter().enumerate();
        starts.extend(
            ends.filter(|(_, byte)| **byte == b'\n')
                .map(|(end, _)| end + 1),
        );
        let (start, end) = (*starts.get(at)?, *starts.get(at + 1)?);
        let line = self.payload.slice(start..end - 1);
        let rest = [&self.payload[..start], &self.payload[end..]].concat();
        self.key = keys.batch(chat, self.ordinal, &rest);
        self.payload = Bytes::from(rest);
        Some((self.lines.remove(at), line))
    }
}

/// Lines in, batches out.
#[derive(Debug)]
pub(crate) struct Batcher {
    keys: Keys,
    chats: Vec<Chat>,
    by_value: HashMap<Arc<str>, usize>,
    /// Open batches by chat and ordinal, oldest first; those that are closed stay until their turn.
    opened: VecDeque<(usize, u64)>,
    open_bytes: usize,
}

#[derive(Debug)]
struct Chat {
    value: Arc<str>,
    /// Ordinal of the open batch.
    ordinal: u64,
    payload: Vec<u8>,
    lines: Vec<u64>,
}

impl Batcher {
    pub(crate) fn new(keys: Keys) -> Self {
        Self {
            keys,
            chats: Vec::new(),
            by_value: HashMap::new(),
            opened: VecDeque::new(),
            open_bytes: 0,
        }
    }

    /// Takes a line with its number in the input.
    pub(crate) fn push(&mut self, line: &Line<'_>, number: u64, pieces: &mut Vec<Piece>) {
        let at = self.chat(&line.chat, pieces);
        let Some(message) = &line.message else {
            return;
        };
        if self.chats[at].payload.len() + message.encoded_len() > BYTES_MAX {
            self.close(at, pieces);
        }
        let chat = &mut self.chats[at];
        if chat.lines.is_empty() {
            self.opened.push_back((at, chat.ordinal));
        }
        let before = chat.payload.len();
        message.append(&mut chat.payload);
        chat.lines.push(number);
        self.open_bytes += chat.payload.len() - before + LINE_BYTES;
        if chat.lines.len() == LINES_MAX {
            self.close(at, pieces);
        }
        while self.open_bytes > OPEN_BYTES_MAX {
            self.close_oldest(pieces);
        }
    }

    /// Closes what is open, at the end of the input only.
    pub(crate) fn finish(&mut self, pieces: &mut Vec<Piece>) {
        while !self.opened.is_empty() {
            self.close_oldest(pieces);
        }
    }

    fn chat(&mut self, value: &str, pieces: &mut Vec<Piece>) -> usize {
        if let Some(at) = self.by_value.get(value) {
            return *at;
        }
        let value: Arc<str> = Arc::from(value);
        let at = self.chats.len();
        self.by_value.insert(Arc::clone(&value), at);
        self.chats.push(Chat {
            value: Arc::clone(&value),
            ordinal: 0,
            payload: Vec::new(),
            lines: Vec::new(),
        });
        pieces.push(Piece::Chat(value));
        at
    }

    fn close_oldest(&mut self, pieces: &mut Vec<Piece>) {
        if let Some((at, ordinal)) = self.opened.pop_front()
            && self.chats[at].ordinal == ordinal
        {
            self.close(at, pieces);
        }
    }

    fn close(&mut self, at: usize, pieces: &mut Vec<Piece>) {
        let chat = &mut self.chats[at];
        let payload = Bytes::from(std::mem::take(&mut chat.payload));
        let lines = std::mem::take(&mut chat.lines);
        self.open_bytes -= payload.len() + lines.len() * LINE_BYTES;
        pieces.push(Piece::Batch(Batch {
            chat: at,
            ordinal: chat.ordinal,
            key: self.keys.batch(&chat.value, chat.ordinal, &payload),
            payload,
            lines,
        }));
        chat.ordinal += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(lines: &[String]) -> Vec<Piece> {
        let mut batcher = Batcher::new(Keys::of_name("test"));
        let mut pieces = Vec::new();
        for (number, line) in (1..).zip(lines) {
            let line = Line::parse(line.as_bytes()).unwrap();
            batcher.push(&line, number, &mut pieces);
            assert!(batcher.open_bytes <= OPEN_BYTES_MAX);
        }
        batcher.finish(&mut pieces);
        assert_eq!(batcher.open_bytes, 0);
        pieces
    }

    fn batches(pieces: &[Piece]) -> Vec<&Batch> {
        let batches = pieces.iter().filter_map(|piece| match piece {
            Piece::Batch(batch) => Some(batch),
            Piece::Chat(_) => None,
        });
        batches.collect()
    }

    fn line(chat: &str, body: &str) -> String {
        format!(r#"{{"chat":"{chat}","body":"{body}"}}"#)
    }

    /// Each chat's lines in order, each once, and no batch over the limits.
    fn check(lines: &[String], pieces: &[Piece]) {
        let mut seen = vec![Vec::new(); lines.len()];
        let mut ordinals = vec![0; lines.len()];
        for batch in batches(pieces) {
            assert!(batch.lines.len() <= LINES_MAX && batch.payload.len() <= BYTES_MAX);
            assert_eq!(
                batch.payload.iter().filter(|byte| **byte == b'\n').count(),
                batch.lines.len()
            );
            assert_eq!(batch.ordinal, ordinals[batch.chat]);
            ordinals[batch.chat] += 1;
            seen[batch.chat].extend(&batch.lines);
        }
        assert!(seen.iter().all(|numbers| numbers.is_sorted()));
        let mut all: Vec<u64> = seen.concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(1..=lines.len() as u64));
    }

    #[test]
    fn a_chat_is_cut_at_a_thousand_lines() {
        let lines: Vec<_> = (0..2_500).map(|at| line("a", &at.to_string())).collect();
        let pieces = run(&lines);
        check(&lines, &pieces);
        let sizes: Vec<_> = batches(&pieces)
            .iter()
            .map(|batch| batch.lines.len())
            .collect();
        assert_eq!(sizes, [1_000, 1_000, 500]);
    }

    #[test]
    fn long_bodies_are_cut_by_size() {
        let lines: Vec<_> = (0..40).map(|_| line("a", &"x".repeat(64 * 1024))).collect();
        let pieces = run(&lines);
        check(&lines, &pieces);
        assert_eq!(batches(&pieces).len(), 4);
    }

    #[test]
    fn interleaved_chats_make_good_batches_in_bounded_memory() {
        let body = "x".repeat(10_000);
        let lines: Vec<_> = (0..4_000)
            .map(|at| line(&format!("{}", at % 100), &body))
            .collect();
        let pieces = run(&lines);
        check(&lines, &pieces);
        let batches = batches(&pieces);
        assert!(batches.len() <= 400, "{}", batches.len());
    }

    #[test]
    fn the_same_lines_give_the_same_pieces() {
        let lines: Vec<_> = (0..3_000)
            .map(|at| line(&format!("{}", at % 7), "x"))
            .collect();
        assert_eq!(run(&lines), run(&lines));
    }

    #[test]
    fn chats_come_in_order_of_first_appearance_and_may_be_empty() {
        let lines = ["b", "a", "b"].map(|chat| line(chat, "x"));
        let empty = r#"{"chat":7,"empty":true}"#.to_owned();
        let pieces = run(&[&[empty], lines.as_slice()].concat());
        let chats: Vec<_> = pieces
            .iter()
            .filter_map(|piece| match piece {
                Piece::Chat(value) => Some(value.as_ref()),
                Piece::Batch(_) => None,
            })
            .collect();
        assert_eq!(chats, ["7", "\"b\"", "\"a\""]);
    }

    #[test]
    fn a_refused_line_leaves_the_rest_under_another_key() {
        let keys = Keys::of_name("test");
        let lines = ["one", "two", "three"].map(|body| line("a", body));
        let mut batch = batches(&run(&lines))[0].clone();
        let key = batch.key.clone();
        assert_eq!(batch.remove(3, "\"a\"", &keys), None);
        let removed = batch.remove(1, "\"a\"", &keys);
        assert_eq!(
            removed,
            Some((2, Bytes::from_static(b"{\"body\":\"two\"}")))
        );
        assert_eq!(batch.payload, "{\"body\":\"one\"}\n{\"body\":\"three\"}\n");
        assert_eq!(batch.lines, [1, 3]);
        assert_ne!(batch.key, key);
    }
}
