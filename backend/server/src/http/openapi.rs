//! The OpenAPI 3.1 document: `openapi.json` with everything filled in that the code knows better.
//!
//! The file is a document as OpenAPI defines it, but for three things. An operation names the problems
//! that it can answer with in `x-problems`, by code or by a set of `x-problem-sets`; they become its
//! error responses here, so that a code, its status and its title are written down once, in
//! [`chat_wire::problem`]. `servers` of an admin path stand for `x-admin-server`. The version is ours.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use chat_wire::problem::{Code, MEDIA_TYPE, Problem};
use serde_json::{Map, Value, json};

use crate::http::problem::transient;

static TEXT: LazyLock<String> = LazyLock::new(|| format!("{:#}\n", document()));

static PAGE: LazyLock<String> =
    LazyLock::new(|| include_str!("docs.html").replace("/*openapi*/", &embedded(&document())));

/// The document, as JSON.
#[must_use]
pub fn text() -> String {
    TEXT.clone()
}

/// The same for people: one page without any asset from outside.
#[must_use]
pub fn page() -> String {
    PAGE.clone()
}

fn embedded(document: &Value) -> String {
    // Inside a script element nothing but `<` could end the text, and JSON has it in strings alone.
    document.to_string().replace('<', "\\u003c")
}

fn document() -> Value {
    let mut document: Value =
        serde_json::from_str(include_str!("openapi.json")).expect("the template is JSON");
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    document["components"]["schemas"]["Code"]["enum"] =
        Code::ALL.iter().map(|code| code.as_str()).collect();
    document["components"]["examples"] = examples();
    let admin_server = remove(&mut document, "x-admin-server");
    let sets = remove(&mut document, "x-problem-sets");
    for path in entries(&mut document["paths"]) {
        for (name, part) in path.as_object_mut().expect("a path is an object") {
            match name.as_str() {
                "servers" => *part = json!([admin_server]),
                "parameters" => {}
                _ => complete(part, &sets),
            }
        }
    }
    document
}

/// One problem document for each code.
fn examples() -> Value {
    let example = |code: &Code| {
        let value = Problem::new(*code, code.title());
        (
            code.as_str().to_owned(),
            json!({ "summary": code.title(), "value": value }),
        )
    };
    Code::ALL.iter().map(example).collect::<Map<_, _>>().into()
}

/// Replaces the problems of an operation by the responses that they are.
fn complete(operation: &mut Value, sets: &Value) {
    let names = remove(operation, "x-problems");
    let mut by_status: BTreeMap<u16, BTreeSet<&'static str>> = BTreeMap::new();
    for code in texts(&names).flat_map(|name| codes(name, sets)) {
        by_status
            .entry(code.status())
            .or_default()
            .insert(code.as_str());
    }
    let responses = operation["responses"]
        .as_object_mut()
        .expect("an operation has responses");
    for (status, codes) in by_status {
        let earlier = responses.insert(status.to_string(), response(status, &codes));
        assert!(
            earlier.is_none(),
            "the template describes {status} as a problem and otherwise"
        );
    }
}

/// The codes of one name in `x-problems`.
fn codes(name: &str, sets: &Value) -> Vec<Code> {
    match sets.get(name) {
        Some(set) => texts(set).flat_map(|name| codes(name, sets)).collect(),
        None => {
            let code = Code::ALL.iter().find(|code| code.as_str() == name);
            vec![*code.expect("the template names codes and sets that exist")]
        }
    }
}

fn response(status: u16, codes: &BTreeSet<&'static str>) -> Value {
    let of_these = |code: &&Code| codes.contains(code.as_str());
    let titles: Vec<&str> = Code::ALL
        .iter()
        .filter(of_these)
        .map(|code| code.title())
        .collect();
    let examples: Map<String, Value> = codes
        .iter()
        .map(|code| {
            let reference = format!("#/components/examples/{code}");
            ((*code).to_owned(), json!({ "$ref": reference }))
        })
        .collect();
    let mut response = json!({
        "description": titles.join("; or "),
        "content": { MEDIA_TYPE: {
            "schema": {
                "allOf": [{ "$ref": "#/components/schemas/Problem" }],
                "properties": { "status": { "const": status }, "code": { "enum": codes } },
            },
            "examples": examples,
        } },
    });
    if Code::ALL
        .iter()
        .filter(of_these)
        .all(|code| transient(*code))
    {
        response["headers"] = headers(&["Retry-After"]);
    }
    if status == Code::TooManyRequests.status() {
        response["headers"] = headers(&["Retry-After", "RateLimit-Policy", "RateLimit"]);
    }
    if status == Code::Unauthorized.status() {
        response["headers"] = headers(&["WWW-Authenticate"]);
    }
    response
}

fn headers(names: &[&str]) -> Value {
    let entry = |name: &&str| {
        let reference = format!("#/components/headers/{name}");
        ((*name).to_owned(), json!({ "$ref": reference }))
    };
    names.iter().map(entry).collect::<Map<_, _>>().into()
}

fn remove(object: &mut Value, name: &str) -> Value {
    object
        .as_object_mut()
        .and_then(|members| members.remove(name))
        .expect("the template has this member")
}

fn entries(object: &mut Value) -> impl Iterator<Item = &mut Value> {
    object
        .as_object_mut()
        .expect("the template has an object here")
        .values_mut()
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array()
        .expect("the template has a list of texts here")
        .iter()
        .filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat_core::{limits, text};

    #[test]
    fn limits_are_those_of_the_rules() {
        let document = document();
        let schemas = &document["components"]["schemas"];
        let name = &schemas["NewApplication"]["properties"]["name"];
        assert_eq!(name["maxLength"], limits::NAME_CHARS);
        let message = &schemas["NewMessage"]["properties"];
        assert_eq!(message["body"]["maxLength"], limits::BODY_BYTES);
        assert_eq!(message["sender"]["maxLength"], limits::NAME_CHARS);
        let edit = &schemas["EditMessage"]["properties"];
        assert_eq!(edit["body"]["maxLength"], limits::BODY_BYTES);
        let parameters = &document["components"]["parameters"];
        assert_eq!(parameters["Key"]["schema"]["maxLength"], limits::KEY_BYTES);
        assert_eq!(parameters["Limit"]["schema"]["maximum"], limits::PAGE_ITEMS);
        assert_eq!(
            parameters["Limit"]["schema"]["default"],
            limits::PAGE_ITEMS_DEFAULT
        );
        assert_eq!(
            parameters["Query"]["schema"]["maxLength"],
            text::MAX_QUERY_CHARS
        );
        let wait = parameters["Prefer"]["description"].as_str().unwrap();
        assert!(wait.contains(&format!("at most {}", limits::WAIT_SECONDS)));
        let set = &document["paths"]["/admin/applications/{token}/limit"]["put"];
        let most = set["description"].as_str().unwrap().replace(',', "");
        assert!(most.contains(&format!("At most {} ", limits::RATES)));
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn walk<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
            match value {
                Value::Object(members) => {
                    found.extend(members.get("$ref").and_then(Value::as_str));
                    members.values().for_each(|value| walk(value, found));
                }
                Value::Array(items) => items.iter().for_each(|value| walk(value, found)),
                _ => {}
            }
        }
        let document = document();
        let mut references = Vec::new();
        walk(&document, &mut references);
        for reference in references {
            let pointer = reference
                .strip_prefix('#')
                .expect("references stay in the document");
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn every_code_is_used_or_known_not_to_be() {
        let text = text();
        // These belong to no operation: paths and methods that do not exist, and the end of the server.
        let elsewhere = [Code::MethodNotAllowed, Code::Stopping];
        for code in Code::ALL {
            let used = text.contains(&format!("#/components/examples/{}\"", code.as_str()));
            assert_ne!(used, elsewhere.contains(code), "{}", code.as_str());
        }
    }

    #[test]
    fn the_page_holds_the_document_and_nothing_from_outside() {
        let page = page();
        let (_, rest) = page.split_once("id=\"openapi\">").unwrap();
        let (embedded, _) = rest.split_once("</script>").unwrap();
        assert_eq!(serde_json::from_str::<Value>(embedded).unwrap(), document());
        for outside in ["src=\"", "<link", "@import", " url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
