//! The recipe of a node, once the digests of its inputs are known. The only place where recipes
//! of stages are made, so that building, planning and explaining see the same text.

use super::plan::Node;
use crate::error::{Context, Result};
use crate::recipe::Recipe;
use crate::stage::{Inputs, Pin, StageContext};

/// The recipe without what is not known yet: the inputs' digests and the pin.
pub fn open_recipe(node: &Node<'_>, context: &StageContext) -> Result<Recipe> {
    let mut recipe = Recipe::new(node.kind, node.stage.revision());
    recipe.value("architecture", &context.settings.architecture);
    recipe.value("epoch", context.settings.epoch);
    node.stage
        .describe(context, &mut recipe)
        .with_context(|| format!("reading what the stage {} depends on", node.name))?;
    Ok(recipe)
}

/// The whole recipe.
pub fn recipe(
    node: &Node<'_>,
    context: &StageContext,
    inputs: &Inputs,
    pins: &[Pin],
) -> Result<Recipe> {
    let mut recipe = open_recipe(node, context)?;
    for (key, artifact) in &inputs.artifacts {
        recipe.value(&format!("input {key}"), artifact.digest);
    }
    recipe.list("pin", pins.iter().map(|pin| pin.digest));
    Ok(recipe)
}

/// Whether a line of a recipe is one that [`open_recipe`] leaves out.
pub fn is_late(line: &str) -> bool {
    line.starts_with("input ") || line.starts_with("pin = ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn late_lines_are_inputs_and_pins() {
        let mut early = Recipe::new("x", 1);
        early.value("inputs", "few");
        early.value("pins", "few");
        let mut whole = early.clone();
        whole.value("input from", Digest::of("tree"));
        whole.list("pin", [Digest::of("packages")]);
        let (early, whole) = (early.text(), whole.text());
        let kept: Vec<&str> = whole.lines().filter(|line| !is_late(line)).collect();
        assert_eq!(kept, early.lines().collect::<Vec<_>>());
    }
}
