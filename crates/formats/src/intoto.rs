//! What a file was made of and how, as an in-toto Statement with SLSA provenance. No time is in it
//! and no name of a machine: the same build says the same, to the byte.
//!
//! Source: the in-toto attestation framework, Statement v1; SLSA Provenance v1.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Fault;
use crate::digest::Digest;

const FORMAT: &str = "in-toto";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

/// The media type of a statement.
pub const MEDIA_TYPE: &str = "application/vnd.in-toto+json";
/// What `externalParameters` means.
const BUILD_TYPE: &str = "urn:kuth:build-type:pipeline:v1";
/// Who builds: kuth, on whatever machine; the signature says whose.
pub const BUILDER: &str = "urn:kuth:builder";

/// Digests by the names of their algorithms, as in-toto spells them: `sha256`.
pub type Digests = BTreeMap<String, String>;

/// A file, package or other thing, and what is known of its content.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// Its file name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Where or what it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uri: String,
    /// Its content.
    #[serde(default)]
    pub digest: Digests,
    /// What kind of file it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
}

/// One stage on the way to the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its name in the pipeline.
    pub stage: String,
    /// The SHA-256 of its recipe.
    pub key: String,
    /// The recipe: everything that its result depends on, by line.
    pub recipe: Vec<String>,
    /// The stages it eats, by the key they stand under.
    pub inputs: BTreeMap<String, String>,
    /// What came out.
    pub output: Digests,
}

/// What is told of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The file.
    pub subject: Resource,
    /// The pipeline's name.
    pub pipeline: String,
    /// The stages, each after what it eats; the file's own last.
    pub steps: Vec<Step>,
    /// What came from outside.
    pub materials: Vec<Resource>,
    /// What was written beside the file.
    pub byproducts: Vec<Resource>,
    /// The version of kuth that made it; empty where that is not known.
    pub tool: String,
}

impl Provenance {
    /// The statement as text.
    pub fn write(&self) -> String {
        let version = match self.tool.as_str() {
            "" => json!({}),
            version => json!({ "kuth": version }),
        };
        let own = self.steps.last();
        let value = json!({
            "_type": STATEMENT,
            "subject": [self.subject],
            "predicateType": PROVENANCE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": {
                        "pipeline": self.pipeline,
                        "stage": own.map_or("", |step| step.stage.as_str()),
                        "stages": self.steps,
                    },
                    "resolvedDependencies": self.materials,
                },
                "runDetails": {
                    "builder": { "id": BUILDER, "version": version },
                    "metadata": {
                        "invocationId":
                            format!("urn:kuth:{}", own.map_or("", |step| step.key.as_str())),
                    },
                    "byproducts": self.byproducts,
                },
            },
        });
        format!("{value:#}\n")
    }
}

/// What a statement says that a reader can check without knowing the build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// What it is about.
    pub subjects: Vec<Resource>,
    /// What else was written, if it is provenance.
    pub byproducts: Vec<Resource>,
    /// The stages that it names.
    pub steps: Vec<Step>,
    /// How many things from outside it names.
    pub materials: usize,
}

impl Statement {
    /// The statement that `text` is; only provenance as SLSA has it is read.
    pub fn read(text: &[u8]) -> Result<Statement, Fault> {
        let fault = |why: String| Fault::new(FORMAT, why);
        let value: Value = serde_json::from_slice(text)
            .map_err(|error| fault(format!("it is no statement: {error}")))?;
        for (key, expected) in [("_type", STATEMENT), ("predicateType", PROVENANCE)] {
            let found = value.get(key).and_then(Value::as_str).unwrap_or_default();
            Fault::unless(found == expected, FORMAT, || {
                format!("its `{key}` is `{found}`, not `{expected}`")
            })?;
        }
        let resources = |path: &str| -> Result<Vec<Resource>, Fault> {
            let list = value.pointer(path).cloned().unwrap_or(json!([]));
            serde_json::from_value(list).map_err(|error| fault(format!("{path}: {error}")))
        };
        let definition = "/predicate/buildDefinition";
        let steps = value.pointer(&format!("{definition}/externalParameters/stages"));
        let materials = value.pointer(&format!("{definition}/resolvedDependencies"));
        Ok(Statement {
            subjects: resources("/subject")?,
            byproducts: resources("/predicate/runDetails/byproducts")?,
            steps: serde_json::from_value(steps.cloned().unwrap_or(json!([])))
                .map_err(|error| fault(format!("its stages: {error}")))?,
            materials: materials.and_then(Value::as_array).map_or(0, Vec::len),
        })
    }
}

impl Step {
    /// Whether its key is that of its recipe.
    pub fn is_of_its_key(&self) -> bool {
        let text: String = self.recipe.iter().map(|line| format!("{line}\n")).collect();
        Digest::of(text).to_string() == self.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(name: &str) -> Resource {
        let digest = [("sha256".to_string(), Digest::of(name).to_string())].into();
        Resource { name: name.into(), uri: String::new(), digest, media_type: String::new() }
    }

    fn provenance() -> Provenance {
        let recipe = vec!["recipe = 1".to_string(), "kind = export".to_string()];
        let step = Step {
            stage: "image".into(),
            key: Digest::of("recipe = 1\nkind = export\n").to_string(),
            recipe,
            inputs: [("from".to_string(), "disk".to_string())].into(),
            output: resource("x.raw").digest,
        };
        Provenance {
            subject: resource("x.raw"),
            pipeline: "p".into(),
            steps: vec![step],
            materials: vec![resource("htop.deb")],
            byproducts: vec![resource("x.raw.cdx.json")],
            tool: "0.1.0".into(),
        }
    }

    #[test]
    fn provenance_is_written_and_read() {
        let text = provenance().write();
        let statement = Statement::read(text.as_bytes()).unwrap();
        assert_eq!(statement.subjects, [resource("x.raw")]);
        assert_eq!(statement.byproducts, [resource("x.raw.cdx.json")]);
        assert_eq!((&statement.steps, statement.materials), (&provenance().steps, 1));
        assert!(statement.steps[0].is_of_its_key());
        assert_eq!(provenance().write(), text);
    }

    #[test]
    fn a_recipe_that_is_not_of_its_key_shows() {
        let text = provenance().write().replace("kind = export", "kind = other");
        let statement = Statement::read(text.as_bytes()).unwrap();
        assert!(!statement.steps[0].is_of_its_key());
    }

    #[test]
    fn what_is_no_provenance_is_refused() {
        let other = provenance().write().replace("provenance/v1", "provenance/v0.2");
        for text in ["", "{}", "[]", other.as_str()] {
            assert!(Statement::read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
