//! Runs the actions of a stage that changes a tree, one after the other. What each of them changed is
//! kept as a layer, under a key of what it does and of the state before it, so that after an edit only
//! the actions from there on run. On a host that cannot mount layers, all of them run. The tree has the
//! same bytes in both cases.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::StageContext;
use super::bootstrap::{PACKED, take_out};
use crate::artifact::{Artifact, ArtifactKind, Output};
use crate::cache::layers::{Kept, MOST};
use crate::digest::Digest;
use crate::error::{Context, Error, Result, caused_by};
use crate::process::open_log;
use crate::recipe::Recipe;
use crate::sandbox::layers::{Change, Unlayered};
use crate::sandbox::{self, Network, Packed, Sandbox, Step};

/// Raised when the same recipe would make another layer.
const REVISION: u32 = 1;

/// An action of a stage.
pub(super) struct Action<'a> {
    /// What it is, for the log: `packages`.
    pub name: String,
    /// What it does, without the content of [`Action::contents`].
    pub recipe: Recipe,
    /// The files that it puts into the tree, and what their content is: an action that is
    /// [`Sees::Observed`] may turn out not to depend on it.
    pub contents: Vec<(String, Digest)>,
    /// What of the tree it depends on.
    pub sees: Sees,
    /// The network of its commands.
    pub network: Network,
    /// The steps; puts what they need into the exchange directory. Only called when the action runs.
    pub steps: Box<Steps<'a>>,
}

/// Makes the steps of an action.
type Steps<'a> = dyn Fn(&Sandbox) -> Result<Vec<Step>> + 'a;

/// What of the tree an action depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sees {
    /// All of it.
    Everything,
    /// Of the files with [`Action::contents`] only the content of those that it opens: an action of
    /// kuth's own, which does not look at the size of others.
    Observed,
}

/// Changes `tree` by `actions`, ends with the steps `last`, and packs the result. `hostname` is what
/// commands see.
pub(super) fn run(
    context: &StageContext,
    hostname: &str,
    tree: &Artifact,
    actions: &[Action<'_>],
    last: &[Step],
) -> Result<Output> {
    let new = || Sandbox::new(&context.work, context.settings.epoch, hostname);
    let mut last = last.to_vec();
    last.push(Step::Pack { file: PACKED.into() });
    let run = Run { context, hostname, tree, actions, last };
    let mut sandbox = new()?;
    // A tree that is kept for somebody to look at has to be whole.
    let in_one_directory = context.settings.keep_failed;
    let mut why = match sandbox.unlayered() {
        Some(why) => Some(why.to_string()),
        None => run.known_unlayered()?,
    };
    if !in_one_directory && why.is_none() {
        let outcome = run.on_layers(&mut sandbox);
        why = outcome.as_ref().err().and_then(caused_by::<Unlayered>).map(Unlayered::to_string);
        if why.is_none() {
            let output = take_out(context, sandbox, outcome)?;
            context.cache.limit_layers(MOST, sandbox::remove_left)?;
            return Ok(output);
        }
        sandbox.clear(&context.log)?;
        sandbox = new()?;
    }
    if let Some(why) = why {
        run.note(&format!("all actions run, on a tree in one directory: {why}"))?;
    }
    let outcome = run.in_place(&sandbox);
    take_out(context, sandbox, outcome)
}

struct Run<'a> {
    context: &'a StageContext,
    hostname: &'a str,
    tree: &'a Artifact,
    actions: &'a [Action<'a>],
    last: Vec<Step>,
}

/// The layers so far, the lowest first.
struct Layers {
    directories: Vec<PathBuf>,
    /// Those in the cache, which must stay there.
    kept: Vec<Kept>,
    /// Names the state of the tree.
    state: Digest,
    /// The same without the content of `contents`.
    shape: Digest,
    contents: Vec<(String, Digest)>,
}

impl Layers {
    fn push(&mut self, layer: Found) {
        self.directories.push(layer.directory);
        self.kept.extend(layer.kept);
        self.state = after(&self.state, layer.digest);
    }
}

/// A layer that was found or made.
struct Found {
    directory: PathBuf,
    digest: Digest,
    kept: Option<Kept>,
}

impl From<Kept> for Found {
    fn from(kept: Kept) -> Found {
        let (directory, digest) = (kept.directory.clone(), kept.description.digest);
        Found { directory, digest, kept: Some(kept) }
    }
}

/// Names the state after a change with this digest.
fn after(state: &Digest, change: impl std::fmt::Display) -> Digest {
    Digest::of(format!("{state} {change}"))
}

impl Run<'_> {
    fn on_layers(&self, sandbox: &mut Sandbox) -> Result<Option<Packed>> {
        let digest = self.tree.digest;
        let lowest = self.unpacked(sandbox)?;
        let mut layers = Layers {
            directories: vec![lowest.directory],
            kept: Vec::from_iter(lowest.kept),
            state: digest,
            shape: digest,
            contents: Vec::new(),
        };
        for (at, action) in self.actions.iter().enumerate() {
            self.context.cancel.check()?;
            (self.context.progress)(at as u64, self.actions.len() as u64, "steps");
            let start = Instant::now();
            let layer = self.layer(action, sandbox, &layers);
            let (layer, is_cached) = layer.inspect_err(|error| self.remember(action, error))?;
            let digest = layer.digest;
            layers.push(layer);
            match (action.contents.is_empty(), layers.contents.is_empty()) {
                // Nothing was left out so far.
                (true, true) => layers.shape = layers.state,
                (true, false) => layers.shape = after(&layers.shape, digest),
                (false, _) => layers.shape = after(&layers.shape, action.recipe.key()),
            }
            layers.contents.extend(action.contents.iter().cloned());
            let how = match is_cached {
                true => "from the cache".to_string(),
                false => format!("done in {:.1} s", start.elapsed().as_secs_f32()),
            };
            self.note(&format!("{}: {how}", action.name))?;
        }
        let total = self.actions.len() as u64;
        (self.context.progress)(total, total, "packing");
        sandbox.stack(&layers.directories)?;
        let (log, cancel) = (&self.context.log, &self.context.cancel);
        sandbox.run(self.last.clone(), Network::None, log, cancel, |_| ())
    }

    fn in_place(&self, sandbox: &Sandbox) -> Result<Option<Packed>> {
        let context = self.context;
        let (log, cancel) = (&context.log, &context.cancel);
        // Of what was tried on layers.
        sandbox.clear_exchange()?;
        sandbox.offer(&context.object(self.tree), "input.tar")?;
        let unpack = Step::Unpack { files: vec!["input.tar".into()] };
        sandbox.run(vec![unpack], Network::None, log, cancel, |_| ())?;
        for (at, action) in self.actions.iter().enumerate() {
            (context.progress)(at as u64, self.actions.len() as u64, "steps");
            sandbox.clear_exchange()?;
            let steps = (action.steps)(sandbox)?;
            sandbox.change_in_place(steps, action.network, log, cancel)?;
        }
        sandbox.clear_exchange()?;
        sandbox.run(self.last.clone(), Network::None, log, cancel, |_| ())
    }

    /// The recipe under which it is noted that an action cannot be done on layers of this tree.
    fn unlayered(&self, action: &Action<'_>) -> Recipe {
        let mut recipe = Recipe::new("unlayered action", REVISION);
        recipe.value("tree", self.tree.digest);
        recipe.list("does", action.recipe.lines());
        recipe
    }

    /// Notes that an action cannot be done on layers, so that the next build need not find out.
    fn remember(&self, action: &Action<'_>, error: &Error) {
        if let Some(Unlayered::Steps(why)) = caused_by::<Unlayered>(error) {
            let work = &self.context.work;
            // Without it the next build takes longer.
            let _ = Output::text(ArtifactKind::File, work, "unlayered", why).and_then(|output| {
                self.context.cache.commit(&self.unlayered(action), output, Duration::ZERO)
            });
        }
    }

    /// Why an action is known not to be possible on layers.
    fn known_unlayered(&self) -> Result<Option<String>> {
        for action in self.actions {
            if let Some(record) = self.context.cache.find(&self.unlayered(action).key())? {
                let object = self.context.cache.object(&record.output);
                let why = std::fs::read_to_string(&object)
                    .with_context(|| format!("reading {}", object.display()))?;
                return Ok(Some(why));
            }
        }
        Ok(None)
    }

    /// The tree itself as the lowest layer.
    fn unpacked(&self, sandbox: &mut Sandbox) -> Result<Found> {
        let context = self.context;
        let mut recipe = Recipe::new("unpacked tree", REVISION);
        recipe.value("tree", self.tree.digest);
        let _lock = context.cache.lock_key(&recipe.key(), &context.cancel)?;
        if let Some(kept) = self.find(&recipe, sandbox)? {
            return Ok(kept.into());
        }
        (context.progress)(0, 0, "unpacking");
        sandbox.offer(&context.object(self.tree), "input.tar")?;
        let change = sandbox.lowest("input.tar", &context.log, &context.cancel)?;
        sandbox.clear_exchange()?;
        self.keep(&recipe, &change)
    }

    /// The layer of an action: kept, or made now; and which of the two.
    fn layer(
        &self,
        action: &Action<'_>,
        sandbox: &mut Sandbox,
        layers: &Layers,
    ) -> Result<(Found, bool)> {
        let cache = &self.context.cache;
        if action.sees == Sees::Everything || layers.contents.is_empty() {
            let mut recipe = self.recipe("action", action, &layers.state);
            recipe.list("content", contents(&action.contents, |_| true));
            let _lock = cache.lock_key(&recipe.key(), &self.context.cancel)?;
            return match self.find(&recipe, sandbox)? {
                Some(kept) => Ok((kept.into(), true)),
                None => {
                    let change = self.make(action, sandbox, layers, Vec::new())?;
                    Ok((self.keep(&recipe, &change)?, false))
                }
            };
        }
        // Which files it opens is known from its last run in this shape of the tree. What it opens next
        // depends on what it read so far, so that a result is right for all trees in which the files that it
        // opened are the same.
        let opened = self.recipe("opened files", action, &layers.shape);
        let recipe = |opened: &[String]| {
            let mut recipe = self.recipe("action", action, &layers.shape);
            let is_opened = |path: &str| opened.iter().any(|it| it == path);
            recipe.list("opened", contents(&layers.contents, is_opened));
            recipe
        };
        let _lock = cache.lock_key(&opened.key(), &self.context.cancel)?;
        if let Some(record) = cache.find(&opened.key())? {
            let object = cache.object(&record.output);
            let text = std::fs::read_to_string(&object)
                .with_context(|| format!("reading {}", object.display()))?;
            let paths: Vec<String> = text.lines().map(str::to_string).collect();
            if let Some(kept) = self.find(&recipe(&paths), sandbox)? {
                return Ok((kept.into(), true));
            }
        }
        let watch = layers.contents.iter().map(|(path, _)| path.clone()).collect();
        let start = Instant::now();
        let change = self.make(action, sandbox, layers, watch)?;
        let text: String = change.read.iter().map(|path| format!("{path}\n")).collect();
        let output = Output::text(ArtifactKind::File, &self.context.work, "opened", &text)?;
        cache.commit(&opened, output, start.elapsed())?;
        Ok((self.keep(&recipe(&change.read), &change)?, false))
    }

    fn recipe(&self, kind: &str, action: &Action<'_>, before: &Digest) -> Recipe {
        let mut recipe = Recipe::new(kind, REVISION);
        recipe.value("action", &action.name);
        recipe.value("before", before);
        recipe.value("epoch", self.context.settings.epoch);
        recipe.value("hostname", self.hostname);
        recipe.value("network", action.network == Network::Host);
        recipe.list("does", action.recipe.lines());
        recipe
    }

    /// Does an action.
    fn make(
        &self,
        action: &Action<'_>,
        sandbox: &mut Sandbox,
        layers: &Layers,
        watch: Vec<String>,
    ) -> Result<Change> {
        let context = self.context;
        sandbox.stack(&layers.directories)?;
        let steps = (action.steps)(sandbox)?;
        let (log, cancel) = (&context.log, &context.cancel);
        let change = sandbox.change(steps, action.network, watch, log, cancel)?;
        sandbox.clear_exchange()?;
        Ok(change)
    }

    /// The kept layer of a recipe, with the right bytes.
    fn find(&self, recipe: &Recipe, sandbox: &Sandbox) -> Result<Option<Kept>> {
        let (context, key) = (self.context, recipe.key());
        if context.fresh {
            return Ok(None);
        }
        let Some(mut kept) = context.cache.layer(&key, &context.cancel)? else { return Ok(None) };
        if kept.is_doubtful {
            let read = sandbox.read_layer(&kept.directory, &context.log, &context.cancel)?;
            if read.digest != kept.description.digest {
                self.note("a kept layer is damaged, and is removed")?;
                return Ok(None);
            }
            context.cache.trust_layer(&mut kept)?;
        }
        Ok(Some(kept))
    }

    /// Keeps a layer that was made. Where another process uses an older one of the same recipe, this
    /// one serves the stage alone.
    fn keep(&self, recipe: &Recipe, change: &Change) -> Result<Found> {
        let cache = &self.context.cache;
        let (directory, layer) = (&change.directory, change.layer);
        if !cache.remove_layer(&recipe.key(), sandbox::remove_left)? {
            return Ok(Found { directory: directory.clone(), digest: layer.digest, kept: None });
        }
        let (digest, size) = (layer.digest, layer.allocated);
        let kept = cache.keep_layer(recipe, directory, digest, size, &self.context.cancel)?;
        Ok(kept.into())
    }

    fn note(&self, line: &str) -> Result<()> {
        let log = &self.context.log;
        open_log(log)?
            .write_all(format!("# {line}\n").as_bytes())
            .with_context(|| format!("writing {}", log.display()))
    }
}

/// Lines for the content of files.
fn contents(
    contents: &[(String, Digest)],
    which: impl Fn(&str) -> bool,
) -> impl Iterator<Item = String> {
    let chosen = contents.iter().filter(move |(path, _)| which(path));
    chosen.map(|(path, digest)| format!("{digest} {path}"))
}
