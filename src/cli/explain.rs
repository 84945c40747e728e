//! `kuth explain`.

use super::options::Source;
use super::project::Project;
use super::{Exit, screen};
use crate::engine::Plan;
use crate::engine::inspect::{self, Explanation};
use crate::error::Result;

/// Show the recipe of a stage, and how it differs from the last one
///
/// The recipe lists everything the result depends on; its SHA-256 is the cache key
/// of the result. Lines that only the last recipe has begin with `-`, new lines
/// with `+`. The last line shows what a build would do.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    source: Source,

    /// Stage, or STAGE/INSTANCE
    stage: String,
}

/// Runs `kuth explain`.
pub fn run(args: &Args) -> Result<Exit> {
    let project = Project::open(&args.source)?;
    let plan = Plan::new(&project.pipeline, std::slice::from_ref(&args.stage))?;
    let (cache, settings) = (project.cache()?, &project.settings);
    let found = inspect::explain(&plan, &cache, settings, &project.lock, &[])?;
    let texts: Vec<String> = plan
        .targets()
        .iter()
        .map(|target| text(&plan.nodes()[target.0].name, &found[target.0]))
        .collect();
    screen::data(&texts.join("\n"))?;
    Ok(Exit::Done)
}

fn text(stage: &str, found: &Explanation) -> String {
    let mut text = found.recipe.text();
    if !found.complete {
        text += "(its inputs and packages are not known yet)\n";
    }
    let differences = found.differences.as_deref().unwrap_or_default();
    if !differences.is_empty() {
        text += "\nsince the last build:\n";
        differences.iter().for_each(|difference| text += &format!("{difference}\n"));
    }
    let (state, reason) = found.decision.forecast();
    text += &match reason {
        Some(reason) => format!("\n{stage}: {state} ({reason})\n"),
        None => format!("\n{stage}: {state}\n"),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::decision::{Decision, Reason};
    use crate::recipe::Recipe;

    fn recipe(package: &str) -> Recipe {
        let mut recipe = Recipe::new("customise", 1);
        recipe.value("package", package);
        recipe
    }

    #[test]
    fn the_text_is_recipe_differences_forecast() {
        let found = Explanation {
            recipe: recipe("vim"),
            complete: true,
            differences: Some(recipe("vim").differences(&recipe("htop"))),
            decision: Decision::Run(Reason::Changed("package = vim (was htop)".into())),
        };
        let expected = "\
recipe = 1
kind = customise
revision = 1
package = vim

since the last build:
- package = htop
+ package = vim

base: run (package = vim (was htop))
";
        assert_eq!(text("base", &found), expected);
    }

    #[test]
    fn an_incomplete_recipe_is_marked() {
        let found = Explanation {
            recipe: recipe("vim"),
            complete: false,
            differences: None,
            decision: Decision::Run(Reason::NotBuilt),
        };
        let text = text("base", &found);
        let end = "package = vim\n(its inputs and packages are not known yet)\n\
                   \nbase: run (not built before)\n";
        assert!(text.ends_with(end), "{text}");
    }
}
