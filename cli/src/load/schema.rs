//! The published form of a report.

/// JSON Schema 2020-12 of [`Report`](crate::load::report::Report).
pub(crate) const SCHEMA: &str = include_str!("report.schema.json");

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

    use super::*;
    use crate::load::report::{self, Report};
    use crate::load::sample;

    fn schema() -> Value {
        serde_json::from_str(SCHEMA).unwrap()
    }

    /// Holds a value against a schema, as far as this schema uses the language; a word that is not
    /// known here fails, and so does a member that the schema does not name.
    fn check(root: &Value, schema: &Value, value: &Value, at: &str) {
        let words = schema
            .as_object()
            .unwrap_or_else(|| panic!("{at}: no schema"));
        for (word, wants) in words {
            match word.as_str() {
                "description" | "title" | "$schema" | "$defs" => {}
                "$ref" => {
                    let pointer = wants.as_str().unwrap().trim_start_matches('#');
                    check(root, root.pointer(pointer).unwrap(), value, at);
                }
                "anyOf" => {
                    let null = value.is_null();
                    let fits = |one: &&Value| (one["type"] == "null") == null;
                    let one = wants.as_array().unwrap().iter().find(fits);
                    check(root, one.unwrap(), value, at);
                }
                "const" => assert_eq!(value, wants, "{at}"),
                "enum" => assert!(wants.as_array().unwrap().contains(value), "{at}: {value}"),
                "format" => {
                    let time = value
                        .as_str()
                        .unwrap()
                        .parse::<chat_wire::time::Timestamp>();
                    assert!(time.is_ok(), "{at}: {value}");
                }
                "type" => assert!(is_of(value, wants), "{at}: {value} is no {wants}"),
                "minimum" if value.is_null() => {}
                "minimum" => assert!(value.as_f64() >= wants.as_f64(), "{at}: {value}"),
                "maximum" => assert!(value.as_f64() <= wants.as_f64(), "{at}: {value}"),
                "minItems" => {
                    let least = usize::try_from(wants.as_u64().unwrap()).unwrap();
                    assert!(value.as_array().unwrap().len() >= least, "{at}");
                }
                "prefixItems" => {
                    let values = value.as_array().unwrap();
                    for (schema, value) in wants.as_array().unwrap().iter().zip(values) {
                        check(root, schema, value, at);
                    }
                }
                "items" if wants == &Value::Bool(false) => {
                    let before = schema["prefixItems"].as_array().unwrap().len();
                    assert!(value.as_array().unwrap().len() <= before, "{at}");
                }
                "items" => {
                    for value in value.as_array().unwrap() {
                        check(root, wants, value, &format!("{at}[]"));
                    }
                }
                "required" => {
                    for name in wants.as_array().unwrap() {
                        let name = name.as_str().unwrap();
                        assert!(value.get(name).is_some(), "{at}: no {name}");
                    }
                }
                "properties" => members(root, wants.as_object().unwrap(), value, at),
                "additionalProperties" => {
                    for (name, value) in value.as_object().unwrap() {
                        check(root, wants, value, &format!("{at}.{name}"));
                    }
                }
                _ => panic!("{at}: {word} is not known here"),
            }
        }
    }

    fn members(root: &Value, known: &Map<String, Value>, value: &Value, at: &str) {
        for (name, value) in value.as_object().unwrap() {
            let at = format!("{at}.{name}");
            let schema = known.get(name);
            check(
                root,
                schema.unwrap_or_else(|| panic!("{at} is not in the schema")),
                value,
                &at,
            );
        }
    }

    fn is_of(value: &Value, wants: &Value) -> bool {
        match wants {
            Value::Array(all) => all.iter().any(|one| is_of(value, one)),
            _ => match wants.as_str().unwrap() {
                "null" => value.is_null(),
                "boolean" => value.is_boolean(),
                "string" => value.is_string(),
                "integer" => value.is_u64() || value.is_i64(),
                "number" => value.is_number(),
                "array" => value.is_array(),
                "object" => value.is_object(),
                other => panic!("{other} is no type"),
            },
        }
    }

    #[test]
    fn reports_are_as_published() {
        let schema = schema();
        assert_eq!(schema["properties"]["schema"]["const"], report::SCHEMA);
        for report in sample::all() {
            let value = serde_json::to_value(&report).unwrap();
            check(&schema, &schema, &value, "report");
        }
    }

    #[test]
    fn a_wrong_report_is_not_as_published() {
        let schema = schema();
        let right = serde_json::to_value(sample::steady()).unwrap();
        let wrongs: [fn(&mut Value); 6] = [
            |report| report["totals"]["ok"] = "many".into(),
            |report| report["totals"]["ok"] = (-1).into(),
            |report| report["scenario"]["model"] = "half".into(),
            |report| report["operations"][0]["response"]["quantiles"][0][0] = 1.5.into(),
            |report| report["drain"]["new"] = 1.into(),
            |report| drop(report.as_object_mut().unwrap().remove("series")),
        ];
        for wrong in wrongs {
            let mut report = right.clone();
            wrong(&mut report);
            let held = std::panic::catch_unwind(|| check(&schema, &schema, &report, "report"));
            assert!(held.is_err());
        }
    }

    /// What the schema requires is what a reader needs, and what it does not, a reader can do without.
    #[test]
    fn what_is_required_is_what_is_needed() {
        let schema = schema();
        let whole = serde_json::to_value(sample::overload()).unwrap();
        let places = [
            ("", ""),
            ("/scenario", "/$defs/asked"),
            ("/environment", "/$defs/environment"),
            ("/totals", "/$defs/totals"),
            ("/operations/0", "/$defs/operation"),
            ("/operations/0/response", "/$defs/latency"),
            ("/generator", "/$defs/generator"),
            ("/freshness", "/$defs/freshness"),
            ("/drain", "/$defs/drain"),
            ("/verification", "/$defs/verification"),
            ("/objectives/0", "/$defs/objective"),
            ("/trials/0", "/$defs/trial"),
            ("/series/0", "/$defs/second"),
        ];
        for (place, of) in places {
            let of = schema.pointer(of).unwrap();
            let required = of["required"].as_array().unwrap();
            let known = of["properties"].as_object().unwrap();
            let held = whole.pointer(place).unwrap().as_object().unwrap();
            assert!(known.keys().all(|name| held.contains_key(name)), "{place}");
            for name in known.keys() {
                let mut less = whole.clone();
                let inside = less.pointer_mut(place).unwrap().as_object_mut().unwrap();
                inside.remove(name);
                let read = serde_json::from_value::<Report>(less).is_ok();
                let needed = required.iter().any(|one| one == name);
                assert_eq!(read, !needed, "{place}/{name}");
            }
        }
    }
}
