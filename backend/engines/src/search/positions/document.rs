//! A position as a document: how it is written, read, and led to a shard.

use std::collections::BTreeMap;

use chat_core::port::log::{LogId, PartitionId, Topic};
use chat_core::port::search::{Error, IndexPosition};
use elasticsearch::http::Method;
use serde::Serialize;
use serde_json::{Value, json};

use crate::search::http::Http;
use crate::search::{PAGE, whole};

/// Routings that are tried to find one for each shard: many more than that takes by chance.
const ROUTINGS_MAX: usize = 10_000;

/// What stands there, as far as we know.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    pub(super) position: Option<IndexPosition>,
    /// The last write on each shard, in the order of the routings; `None` where it was of another index.
    pub(super) writes: Option<Vec<Option<Write>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) seq_no: u64,
    pub(super) primary_term: u64,
}

#[derive(Serialize)]
struct Action<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<Target<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    create: Option<Target<'a>>,
}

#[derive(Serialize)]
struct Target<'a> {
    _id: &'a str,
    routing: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    if_seq_no: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    if_primary_term: Option<u64>,
}

#[derive(Serialize)]
struct Source<'a> {
    position: &'a str,
    log: String,
    epoch: u32,
    next: u64,
    whole: bool,
}

/// Adds the lines that write a position on the shard that a routing leads to, where the last write there is `follows`.
pub(super) fn write(
    lines: &mut Vec<u8>,
    position: &IndexPosition,
    routing: &str,
    follows: Option<Write>,
) {
    let name = name(position.partition);
    let id = format!("position|{name}|{routing}");
    let target = Target {
        _id: &id,
        routing,
        if_seq_no: follows.map(|write| write.seq_no),
        if_primary_term: follows.map(|write| write.primary_term),
    };
    let (index, create) = match follows {
        Some(_) => (Some(target), None),
        None => (None, Some(target)),
    };
    line(lines, &Action { index, create });
    let source = Source {
        position: &name,
        log: format!("{:?}", position.log),
        epoch: position.epoch,
        next: position.next,
        whole: position.whole,
    };
    line(lines, &source);
}

/// Makes visible what was written: one for many documents; waiting for the next regular one would cost up to its
/// interval.
pub(in crate::search) async fn refresh(http: &Http, alias: &str) -> Result<(), Error> {
    let path = format!("/{alias}/_refresh");
    whole(&http.send(Method::Post, &path, None).await?.well()?)
}

/// What is visible: for each partition the lowest position of all shards, and the last write of each.
pub(super) async fn ask(
    http: &Http,
    alias: &str,
    routings: &[String],
) -> Result<BTreeMap<PartitionId, Mark>, Error> {
    let request = json!({
        "size": PAGE,
        "_source": false,
        "seq_no_primary_term": true,
        "track_total_hits": false,
        "query": { "exists": { "field": "position" } },
        "docvalue_fields": ["position", "log", "epoch", "next", "whole"],
    });
    let path = format!("/{alias}/_search?allow_partial_search_results=false");
    let answer = http.ask(&path, &request).await?.well()?;
    whole(&answer)?;
    let hits = answer["hits"]["hits"].as_array();
    let hits = hits.map_or(&[][..], Vec::as_slice);
    if hits.len() >= PAGE {
        return Err(Error::Unusable("it holds too many positions".into()));
    }
    let mut found: BTreeMap<PartitionId, Vec<Option<(IndexPosition, Write)>>> = BTreeMap::new();
    for hit in hits {
        let routing = hit["_routing"].as_str().unwrap_or_default();
        let Some(nth) = routings.iter().position(|known| known == routing) else {
            // Of an index with other shards, from which this one was made.
            continue;
        };
        let read = parsed(hit);
        let (position, write) =
            read.ok_or_else(|| Error::Unusable("a position cannot be read".into()))?;
        let places = found.entry(position.partition);
        let places = places.or_insert_with(|| vec![None; routings.len()]);
        places[nth] = Some((position, write));
    }
    let mark = |places: Vec<Option<(IndexPosition, Write)>>| Mark {
        position: lowest(&places),
        writes: Some(
            places
                .iter()
                .map(|place| place.map(|(_, write)| write))
                .collect(),
        ),
    };
    Ok(found
        .into_iter()
        .map(|(partition, places)| (partition, mark(places)))
        .collect())
}

/// `None` where a shard has none, or where they are of several logs: then nothing is known of what is there.
fn lowest(places: &[Option<(IndexPosition, Write)>]) -> Option<IndexPosition> {
    let all: Option<Vec<IndexPosition>> = places
        .iter()
        .map(|place| place.map(|(position, _)| position))
        .collect();
    let all = all?;
    let lowest = all.iter().min_by_key(|one| (one.epoch, one.next))?;
    let whole = all.iter().all(|one| one.whole);
    let position = IndexPosition { whole, ..*lowest };
    all.iter()
        .all(|one| one.log == lowest.log)
        .then_some(position)
}

fn parsed(hit: &Value) -> Option<(IndexPosition, Write)> {
    let fields = &hit["fields"];
    let (topic, index) = fields["position"][0].as_str()?.split_once('|')?;
    let topic = Topic::ALL.into_iter().find(|one| one.name() == topic)?;
    let index = index.parse().ok()?;
    let log = u128::from_str_radix(fields["log"][0].as_str()?, 16).ok()?;
    let position = IndexPosition {
        partition: PartitionId { topic, index },
        log: LogId::from_bytes(log.to_be_bytes()),
        epoch: u32::try_from(fields["epoch"][0].as_u64()?).ok()?,
        next: fields["next"][0].as_u64()?,
        whole: fields["whole"][0].as_bool()?,
    };
    let write = Write {
        seq_no: hit["_seq_no"].as_u64()?,
        primary_term: hit["_primary_term"].as_u64()?,
    };
    Some((position, write))
}

/// The write that an item of a bulk's answer tells; `None` where something else stands there.
pub(super) fn written(item: &Value) -> Result<Option<Write>, Error> {
    let kind = item["error"]["type"].as_str().unwrap_or_default();
    let failed = item["_shards"]["failed"].as_u64().unwrap_or(0);
    match (item["status"].as_u64(), failed) {
        (Some(200..=299), 0) => {
            let pair = item["_seq_no"].as_u64().zip(item["_primary_term"].as_u64());
            pair.map(|(seq_no, primary_term)| {
                Some(Write {
                    seq_no,
                    primary_term,
                })
            })
            .ok_or_else(|| Error::Unavailable("a write has no sequence number".into()))
        }
        (Some(409), _) => Ok(None),
        (Some(404), _) => Err(Error::Unusable(
            "the index is missing: run `chatd migrate`".into(),
        )),
        (status, _) => Err(Error::Unavailable(format!(
            "a position got status {status:?} {kind}, and {failed} copies failed"
        ))),
    }
}

/// One routing for each shard, in the order of shards. Which one a routing leads to is the engine's secret, but
/// it can be asked.
pub(super) async fn routings(http: &Http, alias: &str, shards: u64) -> Result<Vec<String>, Error> {
    let mut found: BTreeMap<u64, String> = BTreeMap::new();
    for nth in 0..ROUTINGS_MAX {
        if found.len() as u64 == shards {
            return Ok(found.into_values().collect());
        }
        let routing = format!("position-{nth}");
        let path = format!("/{alias}/_search_shards?routing={routing}&filter_path=shards.shard");
        let answer = http.send(Method::Get, &path, None).await?.well()?;
        let shard = answer["shards"][0][0]["shard"].as_u64();
        let shard = shard.ok_or_else(|| Error::Unavailable("a shard is not allocated".into()))?;
        found.entry(shard).or_insert(routing);
    }
    Err(Error::Unusable(
        "no routing leads to one of its shards".into(),
    ))
}

fn name(partition: PartitionId) -> String {
    format!("{}|{}", partition.topic.name(), partition.index)
}

fn line(lines: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(&mut *lines, value).expect("writing to memory does not fail");
    lines.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(log: u8, epoch: u32, next: u64) -> IndexPosition {
        IndexPosition {
            partition: PartitionId {
                topic: Topic::Messages,
                index: 3,
            },
            log: LogId::from_bytes([log; 16]),
            epoch,
            next,
            whole: true,
        }
    }

    const WRITE: Write = Write {
        seq_no: 5,
        primary_term: 1,
    };

    #[test]
    fn the_shard_that_is_behind_decides() {
        let place = |position| Some((position, WRITE));
        let low = at(1, 0, 7);
        assert_eq!(lowest(&[place(at(1, 0, 9)), place(low)]), Some(low));
        assert_eq!(lowest(&[place(at(1, 1, 2)), place(low)]), Some(low));
        let lacking = IndexPosition {
            whole: false,
            ..low
        };
        let higher = IndexPosition { next: 9, ..lacking };
        assert_eq!(lowest(&[place(higher), place(low)]), Some(lacking));
        assert_eq!(lowest(&[place(low), None]), None);
        assert_eq!(lowest(&[place(low), place(at(2, 0, 7))]), None);
    }

    #[test]
    fn a_hit_is_read_as_it_was_written() {
        let position = at(0xab, 2, 1 << 39);
        let hit = json!({
            "_seq_no": 5,
            "_primary_term": 1,
            "fields": {
                "position": [name(position.partition)],
                "log": [format!("{:?}", position.log)],
                "epoch": [2],
                "next": [1_u64 << 39],
                "whole": [true],
            },
        });
        assert_eq!(parsed(&hit), Some((position, WRITE)));
    }
}
