//! The search port on Elasticsearch and OpenSearch: grams under the built-in `whitespace` analyzer.

mod bulk;
mod examine;
mod http;
mod positions;
mod schema;

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::clock::{Clock as _, System};
use chat_core::port::search::{
    Candidate, Document, Error, IndexPosition, Indexed, Listed, Query, Rank, Search, Staged,
};
use chat_core::port::store::{ChatKey, MessageKey};
use chat_core::text;
use chat_wire::ids::{AppToken, ChatNumber, MessageNumber};
use chat_wire::search::Sort;
use chat_wire::time::Timestamp;
use futures_util::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use serde_json::{Value, json};

use self::bulk::{Replaces, Requests};
use self::http::Http;
use self::positions::Positions;
use self::schema::Found;
use crate::config::Config;

/// Hits of one request: the engine's own limit (`index.max_result_window`).
const PAGE: usize = 10_000;
/// Bytes of bodies of one batch. A refresh makes a segment of its own of each, and small ones are merged
/// again and again.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Chats that one request counts: far below the engine's limit of terms and of buckets (65,536).
const CHATS_A_REQUEST: usize = 1_000;
/// Requests of one batch that are under way at once: we write the grams of one while the engine
/// indexes another. Versions decide, so their order does not matter.
const UNDER_WAY: usize = 2;
/// How long the index is believed to be the one that it was.
const BELIEVED: Duration = Duration::from_secs(1);
/// How long a look that failed stands for all who ask.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The index of one cluster.
pub(crate) struct Index {
    http: Http,
    alias: String,
    positions: Positions,
    /// The index that was found to be ours, and when, by the uptime.
    checked: Mutex<Option<(Found, Duration)>>,
    /// One look at a time: when the last one failed, and what to say until the next.
    looking: tokio::sync::Mutex<Option<(Duration, schema::Refusal)>>,
}

impl Index {
    /// Reaches the cluster and checks the index. Where it does not answer the check is left to the
    /// first use: everything but search is served without the index.
    pub(crate) async fn connect(config: &Config) -> Result<Self, crate::error::Error> {
        let index = Self {
            http: Http::new(config)?,
            alias: schema::alias(config),
            positions: Positions::new(),
            checked: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
        };
        let asked = System.uptime();
        let check = schema::check(&index.http, &index.alias);
        match tokio::time::timeout(http::QUESTION_TIMEOUT, check).await {
            Ok(Ok(found)) => *index.checked.lock() = Some((found, asked)),
            Ok(Err(error)) if !error.retryable() => return Err(error),
            Ok(Err(error)) => tracing::warn!("there is no search for now: {error}"),
            Err(_) => tracing::warn!(
                "there is no search for now: ELASTICSEARCH_URL: no answer within {} s",
                http::QUESTION_TIMEOUT.as_secs()
            ),
        }
        Ok(index)
    }

    /// The way to the index, which is ours.
    async fn http(&self) -> Result<&Http, Error> {
        self.index().await?;
        Ok(&self.http)
    }

    /// The index behind the alias. It is looked at again after a while, because it may be removed and made anew
    /// at any time, and would be empty then.
    async fn index(&self) -> Result<Found, Error> {
        if let Some(found) = self.believed() {
            return Ok(found);
        }
        let mut failed = self.looking.lock().await;
        if let Some(found) = self.believed() {
            return Ok(found);
        }
        let asked = System.uptime();
        if let Some((at, refusal)) = &*failed
            && asked.saturating_sub(*at) < RETRY_AFTER
        {
            return Err(refusal.error());
        }
        let check = schema::check(&self.http, &self.alias);
        let found = match tokio::time::timeout(http::QUESTION_TIMEOUT, check).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                let refusal = schema::Refusal::of(&error);
                let error = refusal.error();
                *failed = Some((System.uptime(), refusal));
                return Err(error);
            }
            Err(_) => {
                let refusal = schema::Refusal::silence(http::QUESTION_TIMEOUT);
                let error = refusal.error();
                *failed = Some((System.uptime(), refusal));
                return Err(error);
            }
        };
        let mut checked = self.checked.lock();
        if let Some((before, _)) = &*checked
            && *before != found
        {
            tracing::error!(
                index.before = before.uuid,
                index.now = found.uuid,
                "another index is behind the alias: it was removed, restored or made anew"
            );
        }
        *checked = Some((found.clone(), asked));
        Ok(found)
    }

    fn believed(&self) -> Option<Found> {
        let checked = self.checked.lock();
        let (found, since) = checked.as_ref()?;
        let fresh = System.uptime().saturating_sub(*since) < BELIEVED;
        fresh.then(|| found.clone())
    }

    /// Makes template, index and alias.
    pub(crate) async fn migrate(config: &Config) -> Result<(), crate::error::Error> {
        schema::migrate(&Http::new(config)?, config).await
    }

    async fn page(
        &self,
        query: &Query,
        after: Option<Rank>,
        size: usize,
    ) -> Result<Vec<Candidate>, Error> {
        let mut request = json!({
            "size": size,
            "_source": false,
            "stored_fields": "_none_",
            "track_total_hits": false,
            "query": { "bool": { "filter": [scope(query.token, query.chat), grams(&query.text)] } },
            "sort": order(query.sort),
        });
        if let Some(after) = after {
            request["search_after"] = place(query.sort, after);
        }
        // A shard that does not answer would be a hole in the page.
        let answer = self.search(query.token, &request).await?;
        let hits = answer["hits"]["hits"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        hits.iter()
            .map(|hit| candidate(query, &hit["sort"]))
            .collect()
    }
}

impl Index {
    /// Durable when it returns, and searchable after the next refresh.
    async fn write(
        &self,
        documents: &[Document],
        replaces: Replaces,
    ) -> Result<Vec<Indexed>, Error> {
        if documents.is_empty() {
            return Ok(Vec::new());
        }
        let http = self.http().await?;
        // Without the flag, writing to an alias that is gone would make an index of its name. Of the answer, what
        // is read of it alone: the rest is several times as long.
        let read = "error.type,items.index.status,items.index.error.type";
        let path = format!(
            "/{}/_bulk?require_alias=true&filter_path={read}",
            self.alias
        );
        let send = async |(lines, count): (Vec<u8>, usize)| {
            let answer = http.lines(&path, lines).await?.well()?;
            bulk::verdicts(&answer, count)
        };
        let requests = futures_util::stream::iter(Requests::new(documents, replaces)).map(send);
        let indexed: Vec<Vec<Indexed>> = requests.buffered(UNDER_WAY).try_collect().await?;
        Ok(indexed.into_iter().flatten().collect())
    }

    /// Sends a search to the shard of an application; every shard that it asks must answer.
    async fn search(&self, token: AppToken, request: &Value) -> Result<Value, Error> {
        let path = format!(
            "/{}/_search?routing={}&allow_partial_search_results=false",
            self.alias,
            token.reveal()
        );
        let answer = self.http().await?.ask(&path, request).await?;
        let answer = answer.well()?;
        whole(&answer)?;
        Ok(answer)
    }
}

#[async_trait]
impl Search for Index {
    fn batch_bytes(&self) -> usize {
        BATCH_BYTES
    }

    /// The engine indexes while it makes visible what was written before.
    async fn stage(&self, documents: Vec<Document>) -> Result<Staged, Error> {
        let written = self.write(&documents, Replaces::Older).await?;
        Ok(Staged::Written(written))
    }

    async fn positions(&self) -> Result<Vec<IndexPosition>, Error> {
        let index = self.index().await?;
        self.positions.read(&self.http, &self.alias, &index).await
    }

    async fn publish(
        &self,
        staged: Staged,
        positions: &[IndexPosition],
    ) -> Result<Vec<Indexed>, Error> {
        let verdicts = match staged {
            Staged::Written(verdicts) => verdicts,
            Staged::Documents(documents) => self.write(&documents, Replaces::Older).await?,
        };
        if !positions.is_empty() {
            // Every shard has a part of it, so its refresh is one of the whole index.
            let index = self.index().await?;
            let (http, alias) = (&self.http, &self.alias);
            self.positions.write(http, alias, &index, positions).await?;
        } else if !verdicts.is_empty() {
            positions::refresh(self.http().await?, &self.alias).await?;
        }
        Ok(verdicts)
    }

    async fn repair(&self, documents: Vec<Document>) -> Result<Vec<Indexed>, Error> {
        let written = self.write(&documents, Replaces::OlderOrSame).await?;
        self.publish(Staged::Written(written), &[]).await
    }

    async fn list(&self, chat: ChatKey, after: u32, limit: usize) -> Result<Vec<Listed>, Error> {
        let filter = [
            scope(chat.token, Some(chat.chat)),
            json!({ "term": { "deleted": false } }),
        ];
        let mut found: Vec<Listed> = Vec::new();
        while found.len() < limit {
            let size = (limit - found.len()).min(PAGE);
            let behind = found.last().map_or(after, |last| last.number.get());
            let request = json!({
                "size": size,
                "_source": false,
                "version": true,
                "track_total_hits": false,
                "query": { "bool": { "filter": filter } },
                "sort": [{ "number": "asc" }],
                "search_after": [behind],
            });
            let answer = self.search(chat.token, &request).await?;
            let hits = answer["hits"]["hits"].as_array();
            let hits = hits.map(Vec::as_slice).unwrap_or_default();
            for hit in hits {
                found.push(listed(hit)?);
            }
            if hits.len() < size {
                break;
            }
        }
        Ok(found)
    }

    async fn counts(&self, token: AppToken, chats: &[ChatNumber]) -> Result<Vec<u64>, Error> {
        let mut counted: HashMap<u64, u64> = HashMap::with_capacity(chats.len());
        for chats in chats.chunks(CHATS_A_REQUEST) {
            let name = token.reveal();
            let scopes: Vec<String> = chats.iter().map(|chat| format!("{name}|{chat}")).collect();
            let request = json!({
                "size": 0,
                "track_total_hits": false,
                "query": { "bool": { "filter": [
                    { "terms": { "scope": scopes } },
                    { "term": { "deleted": false } },
                ] } },
                // As many buckets as there can be chats, so that no shard leaves one out.
                "aggs": { "chats": { "terms": { "field": "chat", "size": chats.len() } } },
            });
            let answer = self.search(token, &request).await?;
            let buckets = answer["aggregations"]["chats"]["buckets"].as_array();
            for bucket in buckets.map(Vec::as_slice).unwrap_or_default() {
                let pair = bucket["key"].as_u64().zip(bucket["doc_count"].as_u64());
                let (chat, count) =
                    pair.ok_or_else(|| Error::Unusable("a count is of no chat".into()))?;
                counted.insert(chat, count);
            }
        }
        let of = |chat: &ChatNumber| counted.get(&u64::from(chat.get())).copied();
        Ok(chats.iter().map(|chat| of(chat).unwrap_or(0)).collect())
    }

    async fn candidates(&self, query: &Query) -> Result<Vec<Candidate>, Error> {
        let mut found: Vec<Candidate> = Vec::new();
        while found.len() < query.limit {
            let size = (query.limit - found.len()).min(PAGE);
            let after = found.last().map(|last| last.rank).or(query.after);
            let mut page = self.page(query, after, size).await?;
            let full = page.len() == size;
            found.append(&mut page);
            if !full {
                break;
            }
        }
        Ok(found)
    }

    async fn count(&self, token: AppToken, chat: Option<ChatNumber>) -> Result<u64, Error> {
        let filter = [scope(token, chat), json!({ "term": { "deleted": false } })];
        let request = json!({ "query": { "bool": { "filter": filter } } });
        let path = format!("/{}/_count?routing={}", self.alias, token.reveal());
        let answer = self.http().await?.ask(&path, &request).await?.well()?;
        whole(&answer)?;
        answer["count"]
            .as_u64()
            .ok_or_else(|| Error::Unavailable("the count is missing in the answer".into()))
    }

    async fn check(&self) -> Result<(), Error> {
        let path = format!("/{}/_count", self.alias);
        let request = json!({ "query": { "match_none": {} } });
        let answer = self.http().await?.ask(&path, &request).await?.well()?;
        whole(&answer)
    }
}

fn scope(token: AppToken, chat: Option<ChatNumber>) -> Value {
    let token = token.reveal();
    match chat {
        Some(chat) => json!({ "term": { "scope": format!("{token}|{chat}") } }),
        None => json!({ "term": { "token": token } }),
    }
}

/// A text is the conjunction of its longest grams; one of two characters is how a gram begins, and one character
/// is a gram itself. What has all of them need not have them in that order: the body decides
/// (invariant: hits-are-verified).
fn grams(text: &str) -> Value {
    let mut longest: Vec<&str> = text::grams(text, text::MAX_GRAM_CHARS).collect();
    longest.sort_unstable();
    longest.dedup();
    let tokens: Vec<_> = longest.into_iter().map(text::token).collect();
    if !tokens.is_empty() {
        json!({ "match": { "grams": { "query": tokens.join(" "), "operator": "and" } } })
    } else if text.chars().nth(1).is_some() {
        json!({ "prefix": { "grams": text::token(text) } })
    } else {
        json!({ "term": { "grams": text::token(text) } })
    }
}

fn order(sort: Sort) -> Value {
    match sort {
        Sort::Newest => json!([{"created_at": "desc"}, {"chat": "desc"}, {"number": "desc"}]),
        // The time decides nothing here; as a sort key it comes back with the hit.
        Sort::Number => json!([{"chat": "asc"}, {"number": "asc"}, {"created_at": "asc"}]),
    }
}

fn place(sort: Sort, rank: Rank) -> Value {
    let (created_at, chat) = (rank.created_at.as_micros(), rank.chat.get());
    match sort {
        Sort::Newest => json!([created_at, chat, rank.number]),
        Sort::Number => json!([chat, rank.number, created_at]),
    }
}

fn listed(hit: &Value) -> Result<Listed, Error> {
    let number = hit["sort"][0].as_u64();
    let number = number.and_then(|number| MessageNumber::new(u32::try_from(number).ok()?));
    number
        .zip(hit["_version"].as_u64())
        .map(|(number, revision)| Listed { number, revision })
        .ok_or_else(|| Error::Unusable("a document has no number or no version".into()))
}

fn candidate(query: &Query, sort: &Value) -> Result<Candidate, Error> {
    let read = || {
        let (created_at, chat, number) = match query.sort {
            Sort::Newest => (&sort[0], &sort[1], &sort[2]),
            Sort::Number => (&sort[2], &sort[0], &sort[1]),
        };
        let narrow = |value: &Value| u32::try_from(value.as_u64()?).ok();
        let chat = ChatNumber::new(narrow(chat)?)?;
        let number = MessageNumber::new(narrow(number)?)?;
        Some(Candidate {
            key: MessageKey {
                chat: ChatKey {
                    token: query.token,
                    chat,
                },
                number,
            },
            rank: Rank {
                created_at: Timestamp::from_micros(created_at.as_i64()?).ok()?,
                chat,
                number: number.get(),
            },
        })
    };
    read().ok_or_else(|| Error::Unusable("a hit has no place in the order".into()))
}

/// An answer that not every shard gave is none.
fn whole(answer: &Value) -> Result<(), Error> {
    let failed = answer["_shards"]["failed"].as_u64().unwrap_or(0);
    if failed > 0 || answer["timed_out"] == true {
        return Err(Error::Unavailable(format!(
            "{failed} shards did not answer"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_conjunctions_and_short_ones_prefixes_or_terms() {
        let all =
            |tokens: &str| json!({ "match": { "grams": { "query": tokens, "operator": "and" } } });
        assert_eq!(grams("a b"), all("a_b"));
        assert_eq!(grams("abcd"), all("abc bcd"));
        assert_eq!(grams("ababab"), all("aba bab"));
        assert_eq!(grams("_"), json!({ "term": { "grams": "\\_" } }));
        assert_eq!(grams("日"), json!({ "term": { "grams": "日" } }));
        assert_eq!(grams("日本"), json!({ "prefix": { "grams": "日本" } }));
        assert_eq!(grams("_ "), json!({ "prefix": { "grams": "\\__" } }));
    }
}
