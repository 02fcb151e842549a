//! What is wrong with Elasticsearch, if anything.

use chat_core::examine::{failed, ok, skipped, warning};
use chat_core::port::search::Error;
use chat_wire::admin::doctor::Examined;
use elasticsearch::http::Method;
use serde_json::Value;

use super::Index;
use super::schema;

/// Used parts of a disk, in percent, at which the engine by default gives it no more shards, and at
/// which it refuses writes.
const DISK_LOW: u64 = 85;
const DISK_FLOOD: u64 = 95;

impl Index {
    /// The checks of the cluster; an error where it does not answer.
    pub(crate) async fn examine(&self) -> Result<Vec<Examined>, Error> {
        let alias = &self.alias;
        let health = self
            .get(&format!(
                "/_cluster/health/{alias}?level=cluster&timeout=1s"
            ))
            .await?;
        let nodes = self
            .get("/_nodes/_all/none?filter_path=nodes.*.version")
            .await;
        let mapping = self.get(&format!("/{alias}/_mapping")).await?;
        let settings = self
            .get(&format!("/{alias}/_settings?flat_settings=true"))
            .await?;
        // Where the cluster is somebody else's, its disks may be too.
        let disks = self
            .get("/_cat/allocation?format=json&h=node,disk.percent")
            .await;
        let data_nodes = health["number_of_data_nodes"].as_u64().unwrap_or(1);
        Ok(vec![
            version(nodes.ok().as_ref()),
            status(&health),
            mapped(&mapping),
            copies(&settings, data_nodes),
            writable(&settings),
            room(disks.ok().as_ref()),
        ])
    }

    async fn get(&self, path: &str) -> Result<Value, Error> {
        self.http.send(Method::Get, path, None).await?.well()
    }
}

fn version(nodes: Option<&Value>) -> Examined {
    let id = "elasticsearch.version";
    let nodes = nodes.and_then(|found| found["nodes"].as_object());
    let mut versions: Vec<&str> = nodes
        .into_iter()
        .flat_map(|nodes| nodes.values())
        .filter_map(|node| node["version"].as_str())
        .collect();
    versions.sort_unstable();
    versions.dedup();
    match versions.as_slice() {
        [] => skipped(id, "the cluster does not tell its version"),
        [one] => ok(id, *one),
        several => warning(
            id,
            format!("nodes of several versions: {}", several.join(", ")),
            "finish the upgrade of the cluster",
        ),
    }
}

fn status(health: &Value) -> Examined {
    let id = "elasticsearch.health";
    let unassigned = health["unassigned_shards"].as_u64().unwrap_or(0);
    let detail = format!(
        "{}, {unassigned} shards unassigned",
        health["status"].as_str().unwrap_or("unknown")
    );
    let hint = "curl ELASTICSEARCH_URL/_cluster/allocation/explain";
    match health["status"].as_str() {
        Some("green") => ok(id, detail),
        Some("yellow") => warning(id, format!("{detail}: copies are missing"), hint),
        _ => failed(
            id,
            format!("{detail}: a part of the index cannot be searched"),
            hint,
        ),
    }
}

fn mapped(mapping: &Value) -> Examined {
    let id = "elasticsearch.mapping";
    let indices = mapping.as_object().into_iter().flatten();
    for (name, index) in indices {
        if !schema::is_ours(index) {
            return failed(
                id,
                format!("index {name} has not the mapping of this program"),
                "remove the index and run `chatd migrate`; it is filled again from the store",
            );
        }
        if !schema::has_fields(index) {
            return failed(
                id,
                format!("index {name} has no place for positions"),
                "chatd migrate",
            );
        }
    }
    ok(id, format!("version {}", schema::SCHEMA))
}

fn copies(settings: &Value, data_nodes: u64) -> Examined {
    let id = "elasticsearch.replicas";
    let indices = settings.as_object().into_iter().flatten();
    let copies = indices.filter_map(|(_, index)| {
        let copies = index["settings"]["index.number_of_replicas"].as_str()?;
        copies.parse::<u64>().ok()
    });
    match copies.min() {
        None => skipped(id, "the index does not tell its copies"),
        Some(0) if data_nodes > 1 => warning(
            id,
            format!("no copy, on {data_nodes} nodes: searches fail while one of them is away"),
            "curl -XPUT ELASTICSEARCH_URL/INDEX/_settings -H 'content-type: application/json' -d '{\"index.number_of_replicas\":1}'",
        ),
        Some(0) => ok(
            id,
            "no copy, on one node; a lost index is filled again from the store",
        ),
        Some(copies) => ok(id, format!("{copies} copies of each shard")),
    }
}

fn writable(settings: &Value) -> Examined {
    let id = "elasticsearch.writable";
    let blocked = settings
        .as_object()
        .into_iter()
        .flatten()
        .find(|(_, index)| {
            let block = |name: &str| index["settings"][name].as_str() == Some("true");
            block("index.blocks.read_only_allow_delete")
                || block("index.blocks.write")
                || block("index.blocks.read_only")
        });
    match blocked {
        None => ok(id, "the index takes writes"),
        Some((name, _)) => failed(
            id,
            format!("index {name} is blocked for writes, as it is when a disk is full"),
            "make room, and take index.blocks.* back to null in its _settings",
        ),
    }
}

fn room(disks: Option<&Value>) -> Examined {
    let id = "elasticsearch.disk";
    let nodes = disks.and_then(Value::as_array);
    let used = nodes.into_iter().flatten().filter_map(|node| {
        // Numbers are texts in this answer; unassigned shards have no disk.
        let percent = node["disk.percent"].as_str()?.parse::<u64>().ok()?;
        Some((percent, node["node"].as_str().unwrap_or("a node")))
    });
    let Some((percent, node)) = used.max() else {
        return skipped(id, "the cluster does not tell how full its disks are");
    };
    let detail = format!("the fullest disk, of {node}, is {percent} % full");
    let hint = "curl ELASTICSEARCH_URL/_cat/allocation?v";
    match percent {
        DISK_FLOOD.. => failed(id, format!("{detail}: writes are refused by default"), hint),
        DISK_LOW.. => warning(
            id,
            format!("{detail}: by default it gets no more shards"),
            hint,
        ),
        _ => ok(id, detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat_wire::admin::doctor::Finding;
    use serde_json::json;

    #[test]
    fn health_is_told_as_it_is() {
        let of = |status: &str| super::status(&json!({ "status": status })).finding;
        assert_eq!(
            ["green", "yellow", "red", ""].map(of),
            [
                Finding::Ok,
                Finding::Warning,
                Finding::Failed,
                Finding::Failed
            ]
        );
    }

    #[test]
    fn copies_matter_where_there_is_room_for_them() {
        let settings =
            |copies: &str| json!({"i": {"settings": {"index.number_of_replicas": copies}}});
        assert_eq!(copies(&settings("0"), 1).finding, Finding::Ok);
        assert_eq!(copies(&settings("0"), 3).finding, Finding::Warning);
        assert_eq!(copies(&settings("1"), 3).finding, Finding::Ok);
        assert_eq!(copies(&json!({}), 3).finding, Finding::Skipped);
    }

    #[test]
    fn full_disks_are_told_before_they_block() {
        let of = |percent: &str| {
            room(Some(
                &json!([{"disk.percent": percent, "node": "n"}, {"disk.percent": null}]),
            ))
        };
        assert_eq!(of("84").finding, Finding::Ok);
        assert_eq!(of("85").finding, Finding::Warning);
        assert_eq!(of("95").finding, Finding::Failed);
        assert_eq!(room(None).finding, Finding::Skipped);
        let blocked = json!({"i": {"settings": {"index.blocks.read_only_allow_delete": "true"}}});
        assert_eq!(writable(&blocked).finding, Finding::Failed);
        assert_eq!(
            writable(&json!({"i": {"settings": {}}})).finding,
            Finding::Ok
        );
    }

    #[test]
    fn another_mapping_is_told() {
        let of = |version: u64, fields: u64| {
            let meta = json!({"chat_schema": version, "chat_fields": fields});
            mapped(&json!({"i": {"mappings": {"_meta": meta}}})).finding
        };
        assert_eq!(of(schema::SCHEMA, schema::FIELDS), Finding::Ok);
        assert_eq!(of(schema::SCHEMA, schema::FIELDS + 1), Finding::Ok);
        assert_eq!(of(schema::SCHEMA, 0), Finding::Failed);
        assert_eq!(of(schema::SCHEMA + 1, schema::FIELDS), Finding::Failed);
    }
}
