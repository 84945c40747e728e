//! in-toto Statements with SLSA provenance. They have no times and no host names, so the same build
//! gives the same bytes.
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
/// Says what `externalParameters` means.
const BUILD_TYPE: &str = "urn:kuth:build-type:pipeline:v1";
/// The builder: kuth on any host; the signature says whose.
pub const BUILDER: &str = "urn:kuth:builder";

/// Digests by the names of their algorithms, as in-toto spells them: `sha256`.
pub type Digests = BTreeMap<String, String>;

/// A resource descriptor: a file, a package or anything else with a digest.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// Its file name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its URI.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uri: String,
    /// The digests of its content.
    #[serde(default)]
    pub digest: Digests,
    /// Its media type.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
}

/// One stage of the build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its name in the pipeline.
    pub stage: String,
    /// The SHA-256 of its recipe.
    pub key: String,
    /// The recipe, line by line: everything that its output depends on.
    pub recipe: Vec<String>,
    /// Its input stages, by the pipeline key that names them.
    pub inputs: BTreeMap<String, String>,
    /// The digests of its output.
    pub output: Digests,
}

/// The provenance of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The file.
    pub subject: Resource,
    /// The pipeline's name.
    pub pipeline: String,
    /// The stages, each after its inputs; that of the file is the last.
    pub steps: Vec<Step>,
    /// What the build took from outside.
    pub materials: Vec<Resource>,
    /// The sidecar files.
    pub byproducts: Vec<Resource>,
    /// The version of kuth that made it; empty if unknown.
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

/// The parts of a statement that can be checked without the build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// `subject`.
    pub subjects: Vec<Resource>,
    /// `byproducts`.
    pub byproducts: Vec<Resource>,
    /// The stages.
    pub steps: Vec<Step>,
    /// The number of resolved dependencies.
    pub materials: usize,
}

impl Statement {
    /// Reads a statement. Refuses other predicates than SLSA provenance v1.
    pub fn read(text: &[u8]) -> Result<Statement, Fault> {
        let fault = |why: String| Fault::new(FORMAT, why);
        let value: Value = serde_json::from_slice(text)
            .map_err(|error| fault(format!("it is not a statement: {error}")))?;
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
    fn other_predicates_are_refused() {
        let other = provenance().write().replace("provenance/v1", "provenance/v0.2");
        for text in ["", "{}", "[]", other.as_str()] {
            assert!(Statement::read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
