//! YAML 1.2, as far as our records need it: mappings of scalars and short lists.

use serde_json::Value;

use crate::output::json;

/// One mapping, its fields in this order. `indent` goes before each line but the first.
pub(crate) fn mapping(value: &Value, fields: &[&str], indent: &str) -> String {
    let mut text = String::new();
    for (at, field) in fields.iter().enumerate() {
        let indent = if at == 0 { "" } else { indent };
        let value = value.get(field).unwrap_or(&Value::Null);
        text.push_str(&format!("{indent}{field}: {}\n", scalar(value)));
    }
    text
}

/// JSON is a subset of YAML 1.2, so whatever is not plain is written as JSON.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        other => json::to_string(other),
    }
}

/// Only what every reader takes for a text: `no`, `1e3` or `2020-01-01` are something else to many.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 12] = [
        "y", "n", "yes", "no", "on", "off", "true", "false", "null", "inf", "nan", "none",
    ];
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_plain_words_are_bare() {
        let value = json!({"a": "word", "b": "no", "c": "1e3", "d": "x: y", "e": null, "f": 7, "g": [[0, 3]], "h": "\u{85}"});
        let fields = ["a", "b", "c", "d", "e", "f", "g", "h"];
        assert_eq!(
            mapping(&value, &fields, "  "),
            "a: word\n  b: \"no\"\n  c: \"1e3\"\n  d: \"x: y\"\n  e: null\n  f: 7\n  g: [[0,3]]\n  h: \"\\u0085\"\n"
        );
    }
}
