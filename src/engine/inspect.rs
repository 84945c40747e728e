//! What a build would do, without doing it: the same recipes, look-ups and decisions as the build's
//! own, with nothing run and no network.

use std::sync::Arc;

use super::decision::{Decision, Facts, Lookup, decide};
use super::event::{Event, Observer};
use super::execute::{Locate, Scope};
use super::key;
use super::plan::Plan;
use super::scheduler::{Build, Options};
use crate::cache::Cache;
use crate::cancel::Cancel;
use crate::error::Result;
use crate::lock::LockFile;
use crate::recipe::{Difference, Recipe};
use crate::stage::{Inputs, PinOutcome, Settings};

/// A stage's recipe as far as it is known, and what a build would do.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The recipe; without inputs and pins where those are not known yet.
    pub recipe: Recipe,
    /// Whether nothing is missing from it.
    pub complete: bool,
    /// How it differs from the recipe of the last build, or `None` where there was none. Lines that
    /// are not known yet do not count.
    pub differences: Option<Vec<Difference>>,
    /// What a build would do.
    pub decision: Decision,
}

/// Ignores all events.
struct Ignore;

impl Observer for Ignore {
    fn notify(&self, _event: &Event<'_>) {}
}

/// A build that is not run: it has no network and reports to nobody.
pub(super) fn offline_build<'p>(
    plan: &'p Plan<'p>,
    cache: &Arc<Cache>,
    settings: Settings,
    lock: &'p LockFile,
    options: Options,
) -> Build<'p> {
    Build {
        plan,
        cache: cache.clone(),
        settings: Arc::new(Settings { offline: true, ..settings }),
        lock,
        observer: Arc::new(Ignore),
        cancel: Cancel::default(),
        remote: None,
        options,
    }
}

/// Explains every node of `plan`, in its order. `rebuild` has the names of stages and instances to
/// run in any case.
pub fn explain(
    plan: &Plan<'_>,
    cache: &Arc<Cache>,
    settings: &Settings,
    lock: &LockFile,
    rebuild: &[String],
) -> Result<Vec<Explanation>> {
    let options = Options { rebuild: rebuild.to_vec(), ..Options::default() };
    let build = offline_build(plan, cache, settings.clone(), lock, options);
    let mut explained: Vec<Explanation> = Vec::new();
    for at in 0..plan.nodes().len() {
        let explanation = explain_node(&build, at, &explained)?;
        explained.push(explanation);
    }
    Ok(explained)
}

fn explain_node(build: &Build<'_>, at: usize, earlier: &[Explanation]) -> Result<Explanation> {
    let nodes = build.plan.nodes();
    let node = &nodes[at];
    let context = build.context(node);
    let mut inputs = Inputs::default();
    let (mut pending, mut restored_input) = (None, false);
    for (key, input) in &node.inputs {
        let decision = &earlier[input.0].decision;
        restored_input |= matches!(decision, Decision::Restore(_));
        match decision.artifact() {
            Some(artifact) => _ = inputs.artifacts.insert(key, artifact.clone()),
            None => pending = pending.or(Some(nodes[input.0].name.clone())),
        }
    }
    let pins = match pending {
        Some(_) => None,
        // What cannot be resolved without network is reported as not resolved.
        None => node.stage.pin(&context, &inputs).ok().and_then(PinOutcome::pinned),
    };
    let complete = pins.is_some();
    let recipe = match &pins {
        Some(pins) => key::recipe(node, &context, &inputs, pins)?,
        None => key::open_recipe(node, &context)?,
    };
    let latest = build.cache.latest_recipe(&build.settings.pipeline, &node.name)?;
    let differences = latest.map(|latest| match complete {
        true => recipe.differences(&latest),
        false => recipe.differences(&without_late_lines(&latest)),
    });
    let last_build = || build.last_build(node, differences.as_deref());
    let lookup = match pending {
        _ if build.is_forced(node) => Lookup::Forced,
        Some(input) => Lookup::InputPending(input, last_build()),
        None if !complete => Lookup::Unresolved(last_build()),
        None => {
            let locate: Locate = |stage, context, artifact| stage.locate(context, artifact);
            build.look_up(at, &context, &recipe, Scope::LocalAndRemote, locate)?
        }
    };
    let decision = decide(Facts { lookup, restored_input });
    Ok(Explanation { recipe, complete, differences, decision })
}

fn without_late_lines(recipe: &Recipe) -> Recipe {
    let lines: Vec<&str> = recipe.lines().filter(|line| !key::is_late(line)).collect();
    Recipe::from_text(&lines.join("\n"))
}
