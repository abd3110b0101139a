//! A check against docs/json-schema.json, for the part of JSON Schema that it uses.

use std::sync::LazyLock;

use serde_json::Value;

static SCHEMA: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../docs/json-schema.json")).unwrap());

/// Fails unless `object` conforms to the schema.
#[track_caller]
pub(crate) fn check(object: &Value) {
    if let Err(why) = fits(object, &SCHEMA) {
        panic!("{object}\nis not as docs/json-schema.json says: {why}");
    }
}

/// The reason why `value` does not conform to `schema`.
fn fits(value: &Value, schema: &Value) -> Result<(), String> {
    for (keyword, says) in schema.as_object().unwrap() {
        let fits = match keyword.as_str() {
            "$schema" | "title" | "description" | "$defs" => Ok(()),
            "$ref" => {
                let name = says.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                fits(value, &SCHEMA["$defs"][name])
            }
            "anyOf" => {
                let tries: Vec<_> = says
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|schema| (schema, fits(value, schema)))
                    .collect();
                let whys = || {
                    tries.iter().filter_map(|(schema, why)| {
                        Some(format!("{schema}: {}", why.as_ref().err()?))
                    })
                };
                tries
                    .iter()
                    .any(|(_, why)| why.is_ok())
                    .then_some(())
                    .ok_or_else(|| whys().collect::<Vec<_>>().join("; "))
            }
            "const" => expect(value == says, || format!("{value} is not {says}")),
            "enum" => expect(says.as_array().unwrap().contains(value), || {
                format!("{value} is not one of {says}")
            }),
            "type" => {
                let types =
                    says.as_array().map_or_else(|| vec![says], |types| types.iter().collect());
                expect(types.iter().any(|it| is(value, it)), || format!("{value} is no {says}"))
            }
            "minimum" => expect(value.is_null() || value.as_i64() >= says.as_i64(), || {
                format!("{value} is below {says}")
            }),
            "maximum" => {
                expect(value.as_i64() <= says.as_i64(), || format!("{value} is above {says}"))
            }
            "items" => value.as_array().unwrap().iter().try_for_each(|item| fits(item, says)),
            "required" => says.as_array().unwrap().iter().try_for_each(|key| {
                expect(value.get(key.as_str().unwrap()).is_some(), || format!("{key} is missing"))
            }),
            "properties" => {
                let members = value.as_object().unwrap();
                members
                    .iter()
                    .filter_map(|(key, member)| Some((key, member, says.get(key)?)))
                    .try_for_each(|(key, member, schema)| {
                        fits(member, schema).map_err(|why| format!("{key}: {why}"))
                    })
            }
            "additionalProperties" if *says == false => {
                let known = &schema["properties"];
                let more = value.as_object().unwrap().keys().find(|key| known.get(key).is_none());
                more.map_or(Ok(()), |key| Err(format!("{key} is unknown")))
            }
            other => panic!("the schema uses {other}, which is not checked"),
        };
        fits?;
    }
    Ok(())
}

fn expect(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

fn is(value: &Value, name: &Value) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "null" => value.is_null(),
        other => panic!("{other} is no type"),
    }
}

/// Every word that a program may meet is explained.
#[test]
fn every_word_of_the_schema_is_in_the_docs() {
    fn words<'a>(schema: &'a Value, into: &mut Vec<&'a str>) {
        let members = schema.as_object().into_iter().flatten();
        for (keyword, says) in members {
            match keyword.as_str() {
                "enum" => into.extend(says.as_array().unwrap().iter().filter_map(Value::as_str)),
                "const" => into.extend(says.as_str()),
                _ => words(says, into),
            }
        }
    }
    let docs = concat!(
        include_str!("../../docs/json.md"),
        include_str!("../../docs/check.md"),
        include_str!("../../docs/states.md")
    );
    let json = include_str!("../../docs/json.md");
    let (_, wait) = json.split_once("\n## A wait\n").unwrap();
    let wait = wait.split("\n## ").next().unwrap();
    for words in ["wait-end", "wait-reason"] {
        for word in SCHEMA["$defs"][words]["enum"].as_array().unwrap() {
            let word = word.as_str().unwrap();
            assert!(wait.contains(&format!("`{word}`")), "`{word}` is not explained as a {words}");
        }
    }
    let mut all = Vec::new();
    words(&SCHEMA, &mut all);
    assert!(all.len() > 100);
    for word in all {
        let is_there =
            ['`', '"'].iter().any(|quote| docs.contains(&format!("{quote}{word}{quote}")));
        assert!(is_there, "`{word}` is not explained");
    }
}

/// Guards against a check that accepts everything.
#[test]
fn an_object_that_breaks_the_schema_is_found() {
    let good = serde_json::json!({
        "schema": 2, "command": "list", "simulated": true,
        "host": { "total_kib": 1, "free_kib": 1, "claimed_kib": 0 },
    });
    assert_eq!(fits(&good, &SCHEMA), Ok(()));
    for (pointer, bad) in [
        ("/schema", serde_json::json!(1)),
        ("/command", serde_json::json!("set")),
        ("/host/free_kib", serde_json::json!(-1)),
        ("/host/free_kib", serde_json::json!("1")),
        ("/host", serde_json::json!({ "total_kib": 1, "free_kib": 1 })),
        (
            "/host",
            serde_json::json!({ "total_kib": 1, "free_kib": 1, "claimed_kib": 0, "more": 0 }),
        ),
    ] {
        let mut object = good.clone();
        *object.pointer_mut(pointer).unwrap() = bad;
        assert!(fits(&object, &SCHEMA).is_err(), "{object}");
    }
}
