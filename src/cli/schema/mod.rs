//! `kuth schema`: a JSON Schema of pipeline files, for editors that complete and validate TOML. It is
//! generated from the tables of the reference. Rules about several keys are only in `kuth check`.

pub mod reference;

use serde_json::{Map, Value, json};

use super::{Exit, screen};
use crate::error::{Context, Result};
use crate::stage::KINDS;
use reference::Row;

/// Print a JSON Schema of pipeline files, for editors
///
///   kuth schema >kuth.schema.json
///
/// Editors that use Taplo read it from a first line in the pipeline file:
///
///   #:schema ../kuth.schema.json
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {}

/// Runs `kuth schema`.
pub fn run(_args: &Args) -> Result<Exit> {
    screen::data(&text()?)?;
    Ok(Exit::Done)
}

/// The schema as a file.
pub(super) fn text() -> Result<String> {
    Ok(serde_json::to_string_pretty(&schema()?).context("writing the schema")? + "\n")
}

fn schema() -> Result<Value> {
    let sections = reference::sections();
    let kinds: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    let mut definitions = Map::new();
    let mut each = Vec::new();
    for kind in &kinds {
        let rows =
            sections.get(kind).with_context(|| format!("the reference has no section `{kind}`"))?;
        let mut table = table(rows, "")?;
        table["properties"]["kind"] = json!({ "const": kind });
        definitions.insert(kind.to_string(), table);
        each.push(json!({
            "if": { "properties": { "kind": { "const": kind } } },
            "then": { "$ref": format!("#/definitions/{kind}") },
        }));
    }
    let by_dotted_name = json!({
        "type": "object",
        "additionalProperties": { "anyOf": [
            { "type": ["string", "integer"] },
            { "$ref": "#/definitions/by-dotted-name" },
        ] },
    });
    definitions.insert("by-dotted-name".to_string(), by_dotted_name);
    let pipeline =
        table(sections.get("pipeline").context("the reference has no section `pipeline`")?, "")?;
    Ok(json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A pipeline of kuth",
        "type": "object",
        "required": ["pipeline"],
        "additionalProperties": false,
        "properties": {
            "pipeline": pipeline,
            "vars": { "type": "object", "additionalProperties": { "type": "string" } },
            "stage": {
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "required": ["kind"],
                    "properties": { "kind": { "enum": kinds } },
                    "allOf": each,
                },
            },
        },
        "definitions": definitions,
    }))
}

/// The table whose keys are those of `rows` directly below `above` (`""` or `partition.`).
fn table(rows: &[Row], above: &str) -> Result<Value> {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for row in rows {
        let Some(key) = row.key.strip_prefix(above).filter(|key| !key.contains('.')) else {
            continue;
        };
        let mut value = value(rows, row).with_context(|| format!("the key {}", row.key))?;
        value["description"] = row.meaning.replace('`', "").into();
        properties.insert(key.to_string(), value);
        if row.required {
            required.push(key.to_string());
        }
    }
    Ok(json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    }))
}

/// The schema of a key's value, from its type in the reference.
fn value(rows: &[Row], row: &Row) -> Result<Value> {
    let string = || json!({ "type": "string" });
    let list = |items: Value| json!({ "type": "array", "items": items });
    let by_name = |values: Value| json!({ "type": "object", "additionalProperties": values });
    let below = || table(rows, &format!("{}.", row.key));
    Ok(match row.kind.as_str() {
        "string" | "path" | "stage" => string(),
        "boolean" => json!({ "type": "boolean" }),
        "integer" => json!({ "type": "integer" }),
        "size" => size(),
        "size or `\"rest\"`" => json!({ "anyOf": [size(), { "const": "rest" }] }),
        "list" | "list of stages" => list(string()),
        "list of sizes" => list(size()),
        "list of integers and strings" => list(json!({ "type": ["string", "integer"] })),
        "list, or strings by name" => json!({ "anyOf": [list(string()), by_name(string())] }),
        "string or list" => json!({ "anyOf": [string(), list(string())] }),
        "list of strings and tables" => list(json!({ "anyOf": [string(), below()?] })),
        "string or integer" => json!({ "type": ["string", "integer"] }),
        "strings by name" | "strings by path" => by_name(string()),
        "sizes by name" => by_name(size()),
        // A dot in a key of TOML is a table.
        "strings and integers by dotted name" => json!({ "$ref": "#/definitions/by-dotted-name" }),
        "table" => below()?,
        "tables" => by_name(below()?),
        "array of tables" => list(below()?),
        "string, table, list of both" => {
            let one = json!({ "anyOf": [string(), below()?] });
            json!({ "anyOf": [one, list(one.clone())] })
        }
        "path or table" => json!({ "anyOf": [string(), below()?] }),
        words if words.ends_with(" or table") => {
            json!({ "anyOf": [choice(words)?, below()?] })
        }
        words => match words.strip_suffix(", or a list") {
            Some(words) => json!({ "anyOf": [choice(words)?, list(choice(words)?)] }),
            None => choice(words)?,
        },
    })
}

/// A size, or a string with a variable in it.
fn size() -> Value {
    json!({ "type": "string", "pattern": r"^[0-9]+ ?(B|KiB|MiB|GiB|TiB)$|\$\{" })
}

/// One of the words between backquotes, or a string with a variable in it.
fn choice(words: &str) -> Result<Value> {
    let words: Vec<&str> =
        words.split('`').skip(1).step_by(2).map(|word| word.trim_matches('"')).collect();
    words.first().context("unknown type in the reference")?;
    Ok(json!({ "anyOf": [{ "enum": words }, { "type": "string", "pattern": r"\$\{" }] }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_the_reference_is_understood() {
        let schema = schema().unwrap();
        let disk = &schema["definitions"]["disk"];
        assert_eq!(disk["required"], json!(["from", "size", "partition"]));
        assert_eq!(disk["properties"]["partition"]["items"]["required"], json!(["name", "size"]));
        let run = &schema["definitions"]["customise"]["properties"]["run"];
        assert_eq!(
            run["anyOf"][1]["items"]["anyOf"][1]["properties"]["network"]["type"],
            "boolean"
        );
        let packages = &schema["definitions"]["customise"]["properties"]["packages"];
        assert_eq!(packages["items"]["anyOf"][1]["required"], json!(["from"]));
        let program = &schema["definitions"]["boot"]["properties"]["goss-binary"];
        assert_eq!(program["anyOf"][0]["type"], "string");
        assert_eq!(program["anyOf"][1]["required"], json!(["from"]));
    }
}
