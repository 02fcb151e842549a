//! The index: made by `migrate` from a template, checked at every start.

use std::time::Duration;

use chat_core::port::search;
use elasticsearch::http::Method;
use serde_json::{Map, Value, json};

use super::http::{Answer, Http};
use crate::config::Config;
use crate::error::Error;

const SETTING: &str = "ELASTICSEARCH_URL";
/// Version of the mapping; it stands in the index as `_meta.chat_schema`. Another one means that documents are
/// written otherwise.
pub(super) const SCHEMA: u64 = 3;
/// Fields that were added since, which change no document: a program that does not know them works on. It stands in
/// the index as `_meta.chat_fields`, and `migrate` adds what is missing.
pub(super) const FIELDS: u64 = 1;
const TEMPLATE: &str = include_str!("../../../../migrations/elasticsearch/messages.json");

/// The name under which the index is used.
pub(super) fn alias(config: &Config) -> String {
    format!("{}messages", config.index_prefix)
}

/// Makes template, index and alias where they are missing.
///
/// # Errors
/// The engine does not answer, refuses us, or has an index of another version.
pub(super) async fn migrate(http: &Http, config: &Config) -> Result<(), Error> {
    let alias = alias(config);
    let template = TEMPLATE
        .replace("@prefix@", &config.index_prefix)
        .replace("@shards@", &config.index_shards.to_string())
        .replace("@replicas@", &config.index_replicas.to_string());
    let template: Value = serde_json::from_str(&template).map_err(|_| {
        Error::wrong(
            "CHATD_INDEX_PREFIX",
            "it holds a character that no index name may have",
            "use letters, digits and hyphens",
        )
    })?;
    let path = format!("/_index_template/{alias}");
    ask(http, Method::Put, &path, Some(&template))
        .await
        .and_then(|answer| well(&answer))?;
    let found = ask(http, Method::Head, &format!("/_alias/{alias}"), None).await?;
    if found.status == 404 {
        let first = json!({ "aliases": { alias.as_str(): { "is_write_index": true } } });
        let made = ask(http, Method::Put, &format!("/{alias}-000001"), Some(&first)).await?;
        // Another `migrate` may have been faster.
        if made.kind() != "resource_already_exists_exception" {
            well(&made)?;
        }
    } else {
        well(&found)?;
        add_fields(http, &alias, &template["template"]["mappings"]).await?;
    }
    check(http, &alias).await.map(drop)
}

/// Adds the fields that an index of our version lacks. Nothing that is in it changes.
async fn add_fields(http: &Http, alias: &str, mappings: &Value) -> Result<(), Error> {
    let found = ask(http, Method::Get, &format!("/{alias}/_mapping"), None).await?;
    well(&found)?;
    for (name, index) in found.body.as_object().into_iter().flatten() {
        if !is_ours(index) || has_fields(index) {
            continue;
        }
        let added = json!({ "_meta": mappings["_meta"], "properties": mappings["properties"] });
        let path = format!("/{name}/_mapping");
        well(&ask(http, Method::Put, &path, Some(&added)).await?)?;
    }
    Ok(())
}

/// The index behind the alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The engine's own name for it, which no other index ever has.
    pub(super) uuid: String,
    pub(super) shards: u64,
}

/// Why an index cannot be used, to be said to many.
#[derive(Debug)]
pub(super) struct Refusal {
    reason: String,
    retryable: bool,
}

impl Refusal {
    pub(super) fn of(error: &Error) -> Self {
        Self {
            reason: error.to_string(),
            retryable: error.retryable(),
        }
    }

    pub(super) fn silence(waited: Duration) -> Self {
        Self {
            reason: format!("no answer within {} s", waited.as_secs()),
            retryable: true,
        }
    }

    pub(super) fn error(&self) -> search::Error {
        match self.retryable {
            true => search::Error::Unavailable(self.reason.clone()),
            false => search::Error::Unusable(self.reason.clone()),
        }
    }
}

/// Looks whether the index is there and is ours.
///
/// # Errors
/// As [`migrate`].
pub(super) async fn check(http: &Http, alias: &str) -> Result<Found, Error> {
    let read =
        "error.type,*.mappings._meta,*.settings.index.uuid,*.settings.index.number_of_shards";
    let path = format!("/{alias}?filter_path={read}");
    let found = ask(http, Method::Get, &path, None).await?;
    if found.status == 404 {
        return Err(Error::not_up(
            SETTING,
            format!("there is no index behind '{alias}'"),
            "run `chatd migrate`",
        ));
    }
    well(&found)?;
    let indices = found.body.as_object().into_iter().flatten();
    for (name, index) in indices {
        let schema = index["mappings"]["_meta"]["chat_schema"].as_u64();
        if schema != Some(SCHEMA) {
            let is = schema.map_or_else(
                || "no version".to_owned(),
                |schema| format!("version {schema}"),
            );
            return Err(Error::wrong(
                SETTING,
                format!("index '{name}' has a mapping of {is}, this program uses version {SCHEMA}"),
                "remove the index, run `chatd migrate` and `chatctl reconcile --full --execute`, which fills it again from the rows, or choose another index prefix",
            ));
        }
        if !has_fields(index) {
            return Err(Error::wrong(
                SETTING,
                format!("index '{name}' is of an earlier chatd and has no place for positions"),
                "run `chatd migrate`, which adds it; nothing has to be indexed again",
            ));
        }
    }
    let behind: Vec<&Value> = found
        .body
        .as_object()
        .into_iter()
        .flat_map(Map::values)
        .collect();
    let &[index] = behind.as_slice() else {
        return Err(Error::wrong(
            SETTING,
            format!("there are {} indices behind '{alias}'", behind.len()),
            "let the alias lead to one index",
        ));
    };
    let settings = &index["settings"]["index"];
    // The engine tells numbers of settings as texts.
    let shards = settings["number_of_shards"].as_str();
    let shards = shards.and_then(|shards| shards.parse().ok());
    settings["uuid"]
        .as_str()
        .zip(shards)
        .map(|(uuid, shards)| Found {
            uuid: uuid.to_owned(),
            shards,
        })
        .ok_or_else(|| {
            Error::not_up(
                SETTING,
                "the index has no name of its own",
                "see the server's log",
            )
        })
}

/// Whether an index, as `_mapping` tells of it, is of our version.
pub(super) fn is_ours(index: &Value) -> bool {
    index["mappings"]["_meta"]["chat_schema"].as_u64() == Some(SCHEMA)
}

/// Whether it has the fields that were added since.
pub(super) fn has_fields(index: &Value) -> bool {
    index["mappings"]["_meta"]["chat_fields"]
        .as_u64()
        .is_some_and(|fields| fields >= FIELDS)
}

async fn ask(
    http: &Http,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Answer, Error> {
    http.send(method, path, body).await.map_err(|error| {
        Error::not_up(
            SETTING,
            error.to_string(),
            "start Elasticsearch, or correct host and port",
        )
    })
}

fn well(answer: &Answer) -> Result<(), Error> {
    match answer.status {
        200..=299 => Ok(()),
        401 | 403 => Err(Error::wrong(
            SETTING,
            format!("user or password are refused (status {})", answer.status),
            "correct user and password in it, and allow index templates, indices and aliases",
        )),
        400..=499 => Err(Error::wrong(
            SETTING,
            format!(
                "the request was refused with status {}: {}",
                answer.status, answer.body["error"]["reason"]
            ),
            "use Elasticsearch 8 or 9, or OpenSearch",
        )),
        status => Err(Error::not_up(
            SETTING,
            format!("status {status} {}", answer.kind()),
            "see the server's log",
        )),
    }
}
