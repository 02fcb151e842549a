//! What the OpenAPI document says of a path, and whether an answer is one of those that it knows.

use std::sync::LazyLock;

use chat_wire::problem::MEDIA_TYPE;
use serde_json::Value;

use crate::raw::Answer;

pub(crate) static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(&chat_server::http::openapi::text()).unwrap());

/// Every path with its methods, in the upper case of HTTP.
pub(crate) fn operations() -> Vec<(String, Vec<String>)> {
    let methods = |item: &Value| {
        let names = item.as_object().unwrap().keys();
        names
            .filter(|name| matches!(name.as_str(), "get" | "put" | "post" | "delete"))
            .map(|name| name.to_uppercase())
            .collect()
    };
    let paths = DOCUMENT["paths"].as_object().unwrap();
    paths
        .iter()
        .map(|(path, item)| (path.clone(), methods(item)))
        .collect()
}

/// Fails where an answer is not one of those that the document has for the operation.
#[track_caller]
pub(crate) fn check(operation: &'static Value, answer: &Answer) {
    let name = &operation["operationId"];
    let status = answer.status.to_string();
    let response = operation["responses"].get(&status);
    let response = resolve(response.unwrap_or_else(|| panic!("{name}: {status}")));
    for (name, header) in response["headers"].as_object().into_iter().flatten() {
        let required = resolve(header)["required"] == true;
        assert!(
            !required || answer.headers.contains_key(name),
            "{name}: {status} without {name}"
        );
    }
    let Some(content) = response["content"].as_object() else {
        assert!(answer.body.is_empty(), "{name}: {status} with a body");
        return;
    };
    let media_type = answer.header("content-type");
    let media = content.get(media_type);
    let media = media.unwrap_or_else(|| panic!("{name}: {status} is {media_type}"));
    if media_type == MEDIA_TYPE {
        let code = Value::from(answer.problem().code.as_str());
        let codes = media["schema"]["properties"]["code"]["enum"].as_array();
        assert!(codes.unwrap().contains(&code), "{name}: {code}");
    }
}

/// The operation of a path; none where the document has no such path or method.
pub(crate) fn operation(method: &str, path: &str, on_admin: bool) -> Option<&'static Value> {
    let path = path.split('?').next().unwrap_or_default();
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let (_, item) = paths
        .iter()
        .filter(|(_, item)| item["servers"].is_array() == on_admin)
        .filter(|(template, _)| matches(template, path))
        // Of `…/messages/batch` and `…/messages/{message}` the router takes the former.
        .min_by_key(|(template, _)| template.matches('{').count())?;
    item.get(method.to_lowercase())
}

fn matches(template: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    let fits = wanted
        .by_ref()
        .zip(given.by_ref())
        .all(|(wanted, given)| wanted == given || (wanted.starts_with('{') && !given.is_empty()));
    fits && template.split('/').count() == path.split('/').count()
}

fn resolve(value: &'static Value) -> &'static Value {
    match value["$ref"].as_str() {
        Some(reference) => DOCUMENT.pointer(&reference[1..]).unwrap(),
        None => value,
    }
}
