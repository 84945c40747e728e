//! What a build would do, and why, without doing it: the same recipes as the build's own, looked
//! up and compared, with nothing run and nothing asked of the network.

use std::sync::Arc;

use super::attempt::{was_never_here, why};
use super::event::{Event, Observer};
use super::key;
use super::plan::{Node, Plan};
use super::worker::Build;
use crate::artifact::Artifact;
use crate::cache::Cache;
use crate::cancel::Cancel;
use crate::error::Result;
use crate::lock::LockFile;
use crate::recipe::{Difference, Key, Recipe, first_difference};
use crate::stage::{Inputs, PinOutcome, Placement, Settings};

/// What would happen to a stage.
#[derive(Clone, Debug, PartialEq)]
pub enum Forecast {
    /// Nothing: its result is there.
    Cached(Key, Artifact),
    /// It would run, for this reason.
    Run(String),
    /// That shows only when what it eats has run.
    Unknown(String),
    /// Its earlier result would be left as it is, for this reason.
    Kept(String),
}

/// A stage's recipe as far as it is known, and how it differs from the last one.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The recipe; without inputs and pin where those are not known yet.
    pub recipe: Recipe,
    /// Whether nothing is missing from it.
    pub complete: bool,
    /// How it differs from the recipe of the last build, or `None` where there was none.
    pub differences: Option<Vec<Difference>>,
    /// What would happen.
    pub forecast: Forecast,
    /// Whether its result is known and would only take its place again.
    pub put_back: bool,
}

/// Hears nothing.
struct Deaf;

impl Observer for Deaf {
    fn notify(&self, _event: &Event<'_>) {}
}

/// A build that is only looked at: it reaches nothing outside, and tells nobody.
pub(super) fn looking<'p>(
    plan: &'p Plan<'p>,
    cache: &Arc<Cache>,
    settings: Settings,
    lock: &'p LockFile,
) -> Build<'p> {
    Build {
        plan,
        cache: cache.clone(),
        settings: Arc::new(Settings { offline: true, ..settings }),
        lock,
        observer: Arc::new(Deaf),
        cancel: Cancel::default(),
        shelf: None,
        options: Default::default(),
    }
}

/// Explains every node of `plan`, in its order.
pub fn explain(
    plan: &Plan<'_>,
    cache: &Arc<Cache>,
    settings: &Settings,
    lock: &LockFile,
    rebuild: &[String],
) -> Result<Vec<Explanation>> {
    let build = looking(plan, cache, settings.clone(), lock);
    let mut found: Vec<Explanation> = Vec::new();
    for node in plan.nodes() {
        let explanation = explain_node(&build, node, &found, rebuild)?;
        found.push(explanation);
    }
    Ok(found)
}

fn explain_node(
    build: &Build<'_>,
    node: &Node<'_>,
    earlier: &[Explanation],
    rebuild: &[String],
) -> Result<Explanation> {
    let context = build.context(node);
    let (cache, pipeline) = (&build.cache, build.settings.pipeline.as_str());
    let latest = cache.latest_recipe(pipeline, &node.name)?;
    let mut inputs = Inputs::default();
    let mut waits_for = None;
    let moved = node.inputs.iter().any(|(_, input)| earlier[input.0].put_back);
    let mut put_back = false;
    for (key, input) in &node.inputs {
        match &earlier[input.0].forecast {
            Forecast::Cached(_, artifact) => {
                inputs.artifacts.insert(key, artifact.clone());
            }
            _ => waits_for = waits_for.or(Some(build.plan.nodes()[input.0].name.clone())),
        }
    }
    let pin = match waits_for {
        Some(_) => None,
        // What cannot be resolved without reaching out is told as "not resolved yet".
        None => node.stage.pin(&context, &inputs).ok().and_then(PinOutcome::pinned),
    };
    let complete = pin.is_some();
    let recipe = match &pin {
        Some(pins) => key::recipe(node, &context, &inputs, pins)?,
        None => key::open_recipe(node, &context)?,
    };
    let differences = latest.as_ref().map(|latest| match complete {
        true => recipe.differences(latest),
        // What is not known yet is no difference.
        false => recipe.differences(&without_late_lines(latest)),
    });
    let forced = rebuild.iter().any(|name| *name == node.name || *name == node.stage_name);
    let forecast = if forced {
        Forecast::Run("asked for with --rebuild".to_string())
    } else if let Some(waits_for) = waits_for {
        match differences.as_deref().and_then(first_difference) {
            Some(reason) => Forecast::Run(reason),
            None if latest.is_none() => Forecast::Run("not built before".to_string()),
            None => Forecast::Unknown(format!("depends on what {waits_for} makes")),
        }
    } else if !complete {
        match differences.as_deref().and_then(first_difference) {
            Some(reason) => Forecast::Run(reason),
            None => Forecast::Run("its packages are not resolved yet".to_string()),
        }
    } else {
        let key = recipe.key();
        match cache.known(&key)? {
            None => Forecast::Run(why(cache, pipeline, node, &recipe)?),
            Some(record) if !cache.holds(&record.output) => match record.output.kind {
                kind if kind.has_a_place() => {
                    Forecast::Run("its result is not here, and may have to be made again".into())
                }
                _ => Forecast::Cached(key, record.output),
            },
            Some(record) => match node.stage.locate(&context, &record.output)? {
                Placement::Present(_) => Forecast::Cached(recipe.key(), record.output),
                Placement::Replaced(_) => {
                    put_back = true;
                    Forecast::Cached(recipe.key(), record.output)
                }
                Placement::Missing(_)
                    if moved || was_never_here(cache, pipeline, node, &key, &record) =>
                {
                    put_back = true;
                    Forecast::Cached(recipe.key(), record.output)
                }
                Placement::Retained(_, reason) => Forecast::Kept(reason),
                Placement::Missing(reason) => Forecast::Run(reason),
            },
        }
    };
    Ok(Explanation { recipe, complete, differences, forecast, put_back })
}

fn without_late_lines(recipe: &Recipe) -> Recipe {
    let lines: Vec<&str> = recipe.lines().filter(|line| !key::is_late(line)).collect();
    Recipe::from_text(&lines.join("\n"))
}
