//! Damage with the engines' own clients.

use serde_json::json;

use super::{Damage, Place};
use crate::Failure;
use crate::mode::{Engine, Engines};
use chat_wire::ids::AppToken;

/// The number that a lowered counter stands at; a chat has more messages.
const LOWERED: &str = "3";
/// The message that loses its document.
const UNINDEXED: u32 = 3;
/// A message that never was.
const ORPHAN: u32 = 4_000_000;

pub(super) async fn damage(damage: Damage, place: Place, engines: &Engines) -> Result<(), Failure> {
    let Place { token, chat } = place;
    let hex = token.reveal();
    let counter = engines.key(&format!("chat:{{{hex}}}|{chat}"));
    let redis = async |args: &[&str]| engines.tool(Engine::Redis, args).await.map(drop);
    match damage {
        Damage::CounterLowered => redis(&["HSET", &counter, "l", LOWERED]).await,
        Damage::CounterForged => redis(&["HSET", &counter, "l", LOWERED, "c", LOWERED]).await,
        Damage::CounterDeleted => redis(&["DEL", &counter]).await,
        Damage::NumberBurned => {
            redis(&["HINCRBY", &counter, "l", "1"]).await?;
            redis(&["HINCRBY", &counter, "c", "1"]).await
        }
        Damage::CountFalsified => {
            let sql = format!(
                "UPDATE chats SET messages_count = messages_count + 7 \
                 WHERE application_token = UNHEX('{hex}') AND number = {chat}"
            );
            sql_on(engines, &sql).await
        }
        Damage::DocumentDeleted => {
            let path = document(engines, place, UNINDEXED);
            index(engines, &["DELETE", &path]).await
        }
        Damage::DocumentOrphaned => {
            let path = document(engines, place, ORPHAN);
            let path = format!("{path}&version=77&version_type=external");
            let source = json!({
                "token": hex, "scope": format!("{hex}|{chat}"), "chat": chat, "number": ORPHAN,
                "created_at": 0, "deleted": false, "grams": "x",
            });
            index(engines, &["PUT", &path, &source.to_string()]).await
        }
    }
}

pub(super) async fn falsify_all(token: AppToken, engines: &Engines) -> Result<(), Failure> {
    let hex = token.reveal();
    let sql = format!(
        "UPDATE chats SET messages_count = messages_count + 7 \
         WHERE application_token = UNHEX('{hex}')"
    );
    sql_on(engines, &sql).await
}

pub(super) async fn falsify_chats_count(token: AppToken, engines: &Engines) -> Result<(), Failure> {
    let hex = token.reveal();
    let sql = format!(
        "UPDATE applications SET chats_count = chats_count + 7 WHERE token = UNHEX('{hex}')"
    );
    sql_on(engines, &sql).await
}

/// One statement of SQL.
pub(super) async fn sql_on(engines: &Engines, sql: &str) -> Result<(), Failure> {
    let args = [engines.database().as_str(), "-e", sql].map(str::to_owned);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    engines.tool(Engine::Mariadb, &args).await.map(drop)
}

/// The path of a document, on its shard.
fn document(engines: &Engines, place: Place, number: u32) -> String {
    let (index, hex, chat) = (engines.index(), place.token.reveal(), place.chat);
    format!("/{index}/_doc/{hex}%7C{chat}%7C{number}?routing={hex}")
}

/// One request to Elasticsearch, and what makes it seen.
async fn index(engines: &Engines, args: &[&str]) -> Result<(), Failure> {
    engines.tool(Engine::Elasticsearch, args).await?;
    let refresh = format!("/{}/_refresh", engines.index());
    engines
        .tool(Engine::Elasticsearch, &["POST", &refresh])
        .await
        .map(drop)
}
