//! Exact search: what is found, against a scan of all bodies with the same normalization.

use std::time::{Duration, Instant};

use chat_client::client::Client;
use chat_core::text::normalize;
use chat_wire::ids::{AppToken, ChatNumber};
use chat_wire::messages::Message;
use chat_wire::search::{Hit, Sort};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::Failure;
use crate::check::{Verdict, all_hits};

/// Characters that mean something to other searches.
const METACHARACTERS: &str = "%_*?\"\\'()[]{}|^$.+-&!:~/<>#";
/// Longest fragment, in characters.
const LONGEST: usize = 20;

/// Everything that can be found.
pub(crate) struct Truth {
    token: AppToken,
    other: AppToken,
    messages: Vec<Message>,
    normalized: Vec<String>,
}

impl Truth {
    /// Of one application; `other` is one in which nothing of this may be found.
    pub(crate) fn new(token: AppToken, other: AppToken, messages: Vec<Message>) -> Self {
        let normalized = messages
            .iter()
            .map(|message| normalize(&message.body))
            .collect();
        Self {
            token,
            other,
            messages,
            normalized,
        }
    }

    /// Compares many searches with scans.
    pub(crate) async fn compare(
        &self,
        client: &Client,
        fragments: usize,
        metacharacters: usize,
        seed: u64,
        verdict: &mut Verdict,
    ) -> Result<(), Failure> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut times = Vec::new();
        let mut hits = 0;
        for nth in 0..fragments + metacharacters {
            let meta = nth >= fragments;
            let text = self.fragment(&mut rng, meta);
            // Most of them in one chat, as people search; each eighth in the whole application.
            let chat = (!nth.is_multiple_of(8)).then(|| self.any(&mut rng).chat_number);
            let sort = if rng.random_bool(0.5) {
                Sort::Newest
            } else {
                Sort::Number
            };
            let started = Instant::now();
            let found = all_hits(client, self.token, chat, &text, sort).await?;
            times.push(started.elapsed());
            hits += found.len();
            self.check(&text, chat, sort, &found, verdict);
        }
        for nth in 0..20 {
            // The neighbour holds some of the same bodies: each hit must be its own.
            let text = self.fragment(&mut rng, nth % 2 == 0);
            let found = all_hits(client, self.other, None, &text, Sort::Number).await?;
            verdict.must(
                "never another application",
                found.iter().all(|hit| hit.message.chat_number.get() == 1),
                || format!("{text:?} found a message of another application"),
            );
        }
        times.sort_unstable();
        verdict.figure("searches compared", times.len());
        verdict.figure("hits compared", hits);
        verdict.figure("search to the last hit", percentiles(&times));
        Ok(())
    }

    fn any(&self, rng: &mut StdRng) -> &Message {
        &self.messages[rng.random_range(0..self.messages.len())]
    }

    /// 1 to 20 characters of some body, in any case; around a metacharacter if one is wanted.
    fn fragment(&self, rng: &mut StdRng, meta: bool) -> String {
        loop {
            let body: Vec<char> = self.any(rng).body.chars().collect();
            let length = rng.random_range(1..=LONGEST).min(body.len());
            let start = rng.random_range(0..=body.len() - length);
            let part = &body[start..start + length];
            if meta && !part.iter().any(|letter| METACHARACTERS.contains(*letter)) {
                continue;
            }
            let text: String = match rng.random_range(0..3) {
                0 => part
                    .iter()
                    .flat_map(|letter| letter.to_uppercase())
                    .collect(),
                _ => part.iter().collect(),
            };
            if !normalize(&text).is_empty() {
                return text;
            }
        }
    }

    fn check(
        &self,
        text: &str,
        chat: Option<ChatNumber>,
        sort: Sort,
        found: &[Hit],
        verdict: &mut Verdict,
    ) {
        let wanted = normalize(text);
        let mut expected: Vec<&Message> = self
            .messages
            .iter()
            .zip(&self.normalized)
            .filter(|(message, body)| {
                chat.is_none_or(|chat| message.chat_number == chat) && body.contains(&wanted)
            })
            .map(|(message, _)| message)
            .collect();
        match sort {
            Sort::Number => expected.sort_by_key(|m| (m.chat_number, m.message_number)),
            Sort::Newest => {
                expected.sort_by_key(|m| {
                    std::cmp::Reverse((m.created_at, m.chat_number, m.message_number))
                });
            }
        }
        let same = found
            .iter()
            .map(|hit| &hit.message)
            .eq(expected.iter().copied());
        verdict.must("search equals a scan", same, || {
            format!(
                "{text:?} in {chat:?}: found {}, scanned {}",
                found.len(),
                expected.len()
            )
        });
        for hit in found {
            let body: Vec<char> = hit.message.body.chars().collect();
            let cut = hit.highlights.iter().all(|(start, end)| {
                let part = body.get(*start as usize..*end as usize);
                part.is_some_and(|part| {
                    normalize(&part.iter().collect::<String>()).contains(&wanted)
                })
            });
            verdict.must(
                "highlights cut the text",
                cut && !hit.highlights.is_empty(),
                || {
                    format!(
                        "{text:?} in message {}: {:?}",
                        hit.message.message_number, hit.highlights
                    )
                },
            );
        }
    }
}

fn percentiles(sorted: &[Duration]) -> String {
    let at = |share: usize| sorted[(sorted.len() - 1) * share / 100].as_secs_f64() * 1e3;
    format!("p50 {:.1} ms, p99 {:.1} ms", at(50), at(99))
}
