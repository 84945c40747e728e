//! What a build does with one stage, decided from what was looked up: a pure function. A build acts
//! on the [`Decision`]; `plan`, `explain` and `path` print it.

use std::fmt;
use std::path::PathBuf;

use crate::artifact::Artifact;
use crate::stage::Placement;

/// What a decision depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// The stage's recipe and result.
    pub lookup: Lookup,
    /// Whether an input was put back into its place in this build, see [`Decision::Restore`].
    pub restored_input: bool,
}

/// What is known of a stage's recipe and result.
#[derive(Clone, Debug, PartialEq)]
pub enum Lookup {
    /// Not looked up: the stage is named with `--rebuild`.
    Forced,
    /// The recipe is incomplete until this input has been built.
    InputPending(String, LastBuild),
    /// The recipe is incomplete: what the stage needs from outside is not resolved.
    Unresolved(LastBuild),
    /// No result is recorded under the key.
    Unrecorded(LastBuild),
    /// A result is recorded, and its object is not in the cache.
    NotInCache(Artifact, Availability),
    /// The object is in the cache.
    InCache {
        /// The result.
        artifact: Artifact,
        /// Whether it is also where the user expects it.
        placement: Placement,
        /// Whether the stage was built on this machine with this recipe.
        built_here: bool,
    },
}

/// How the recipe compares with that of the stage's last build, as far as it is known.
#[derive(Clone, Debug, PartialEq)]
pub enum LastBuild {
    /// The stage was not built before.
    Never,
    /// It was, but its record is gone.
    Unknown,
    /// No line differs.
    Same,
    /// The first line that differs.
    Differs(String),
}

/// Whether an object that is not in the cache can come from the remote cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// Nothing reads it unless another stage runs.
    NotNeeded,
    /// The remote cache may have it.
    Remote,
    /// There is no remote cache, or it does not have it.
    Unavailable,
}

/// What to do with a stage.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Nothing. The result is at the path, or on the remote cache alone.
    Cached(Artifact, Option<PathBuf>),
    /// Nothing: what is at the path holds state, for the reason given, and is not replaced.
    Retained(Artifact, PathBuf, String),
    /// Fetch the object from the remote cache and decide again.
    Fetch(Artifact),
    /// Make the known result again from the same inputs and put it back into its place. For the
    /// user the result was cached.
    Restore(Artifact),
    /// Run the stage.
    Run(Reason),
    /// That depends on the result of the stage of this name.
    Unknown(String),
}

/// Why a stage runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// It is named with `--rebuild`.
    Forced,
    /// It was not built before.
    NotBuilt,
    /// Its recipe is that of the last build, and the result is gone.
    ResultGone,
    /// What its last recipe was is not known any more.
    RecordGone,
    /// This line of its recipe changed.
    Changed(String),
    /// What it needs from outside is not resolved.
    Unresolved,
    /// Its result is recorded, and could not be fetched.
    NotFetched,
    /// Its result is not where it was put, as the stage says.
    Missing(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Forced => "asked for with --rebuild",
            Reason::NotBuilt => "not built before",
            Reason::ResultGone => "its result is no longer in the cache",
            Reason::RecordGone => "the record of the last build is no longer in the cache",
            Reason::Changed(line) => line,
            Reason::Unresolved => "its packages are not resolved yet",
            Reason::NotFetched => "its result could not be fetched",
            Reason::Missing(reason) => reason,
        })
    }
}

impl LastBuild {
    /// Why a stage without a result has to run.
    fn reason(self) -> Reason {
        match self {
            LastBuild::Never => Reason::NotBuilt,
            LastBuild::Unknown => Reason::RecordGone,
            LastBuild::Same => Reason::ResultGone,
            LastBuild::Differs(line) => Reason::Changed(line),
        }
    }
}

/// Decides what to do with a stage.
pub fn decide(facts: Facts) -> Decision {
    match facts.lookup {
        Lookup::Forced => Decision::Run(Reason::Forced),
        Lookup::InputPending(input, LastBuild::Same) => Decision::Unknown(input),
        Lookup::InputPending(_, last) | Lookup::Unrecorded(last) => Decision::Run(last.reason()),
        Lookup::Unresolved(LastBuild::Differs(line)) => Decision::Run(Reason::Changed(line)),
        Lookup::Unresolved(_) => Decision::Run(Reason::Unresolved),
        Lookup::NotInCache(artifact, Availability::NotNeeded) => Decision::Cached(artifact, None),
        Lookup::NotInCache(artifact, Availability::Remote) => Decision::Fetch(artifact),
        Lookup::NotInCache(_, Availability::Unavailable) => Decision::Run(Reason::NotFetched),
        Lookup::InCache { artifact, placement, built_here } => match placement {
            Placement::Present(path) => Decision::Cached(artifact, Some(path)),
            Placement::Retained(path, reason) => Decision::Retained(artifact, path, reason),
            Placement::Replaced(_) => Decision::Restore(artifact),
            Placement::Missing(_) if facts.restored_input || !built_here => {
                Decision::Restore(artifact)
            }
            Placement::Missing(reason) => Decision::Run(Reason::Missing(reason)),
        },
    }
}

impl Decision {
    /// The result that dependents get, where it is known before anything runs.
    pub fn artifact(&self) -> Option<&Artifact> {
        match self {
            Decision::Cached(artifact, _)
            | Decision::Retained(artifact, ..)
            | Decision::Restore(artifact) => Some(artifact),
            Decision::Fetch(artifact) if !artifact.kind.has_a_place() => Some(artifact),
            Decision::Fetch(_) | Decision::Run(_) | Decision::Unknown(_) => None,
        }
    }

    /// `cached`, `run` or `unknown`, and the reason where there is one.
    pub fn forecast(&self) -> (&'static str, Option<String>) {
        match self {
            Decision::Cached(..) | Decision::Restore(_) => ("cached", None),
            Decision::Retained(_, _, reason) => ("cached", Some(reason.clone())),
            Decision::Fetch(artifact) if artifact.kind.has_a_place() => {
                ("run", Some("its result is not here, and may have to be made again".to_string()))
            }
            Decision::Fetch(_) => ("cached", None),
            Decision::Run(reason) => ("run", Some(reason.to_string())),
            Decision::Unknown(input) => {
                ("unknown", Some(format!("depends on the result of {input}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{ArtifactKind, Hashing};
    use crate::digest::Digest;

    fn artifact() -> Artifact {
        artifact_of(ArtifactKind::Tree)
    }

    fn artifact_of(kind: ArtifactKind) -> Artifact {
        let (hashing, digest) = (Hashing::Plain, Digest::of("result"));
        Artifact { kind, hashing, digest, size: 1, facts: Default::default() }
    }

    /// Every kind of last build.
    fn last_builds() -> [LastBuild; 4] {
        [
            LastBuild::Never,
            LastBuild::Unknown,
            LastBuild::Same,
            LastBuild::Differs("package = htop (new)".into()),
        ]
    }

    /// The decision, which must be the same whether or not an input was restored.
    fn decision(lookup: &Lookup) -> Decision {
        let [one, other] = [false, true]
            .map(|restored_input| decide(Facts { lookup: lookup.clone(), restored_input }));
        assert_eq!(one, other, "{lookup:?}");
        one
    }

    #[test]
    fn a_forced_stage_runs() {
        assert_eq!(decision(&Lookup::Forced), Decision::Run(Reason::Forced));
    }

    #[test]
    fn without_a_record_the_last_build_is_the_reason() {
        let changed = Reason::Changed("package = htop (new)".into());
        let run = Decision::Run;
        let unrecorded =
            [Reason::NotBuilt, Reason::RecordGone, Reason::ResultGone, changed.clone()];
        assert_eq!(
            last_builds().map(|last| decision(&Lookup::Unrecorded(last))),
            unrecorded.map(run)
        );
        let pending = [
            run(Reason::NotBuilt),
            run(Reason::RecordGone),
            Decision::Unknown("base".into()),
            run(changed.clone()),
        ];
        let lookup = |last| Lookup::InputPending("base".into(), last);
        assert_eq!(last_builds().map(|last| decision(&lookup(last))), pending);
        let unresolved = [Reason::Unresolved, Reason::Unresolved, Reason::Unresolved, changed];
        assert_eq!(
            last_builds().map(|last| decision(&Lookup::Unresolved(last))),
            unresolved.map(run)
        );
    }

    #[test]
    fn an_absent_object_is_fetched_where_something_needs_it() {
        let decisions = [Availability::NotNeeded, Availability::Remote, Availability::Unavailable]
            .map(|availability| decision(&Lookup::NotInCache(artifact(), availability)));
        let expected = [
            Decision::Cached(artifact(), None),
            Decision::Fetch(artifact()),
            Decision::Run(Reason::NotFetched),
        ];
        assert_eq!(decisions, expected);
    }

    #[test]
    fn a_present_object_is_used_restored_or_made_again_by_its_placement() {
        let cached = Decision::Cached(artifact(), Some("/a".into()));
        let retained = Decision::Retained(artifact(), "/a".into(), "it runs".into());
        let restore = Decision::Restore(artifact());
        let run = Decision::Run(Reason::Missing("it is gone".into()));
        let present = Placement::Present("/a".into());
        let kept = Placement::Retained("/a".into(), "it runs".into());
        let replaced = Placement::Replaced("another is there".into());
        let missing = Placement::Missing("it is gone".into());
        // Placement, whether it was built here, whether an input was restored.
        for (placement, built_here, restored_input, expected) in [
            (&present, true, false, &cached),
            (&present, true, true, &cached),
            (&present, false, false, &cached),
            (&present, false, true, &cached),
            (&kept, true, false, &retained),
            (&kept, true, true, &retained),
            (&kept, false, false, &retained),
            (&kept, false, true, &retained),
            (&replaced, true, false, &restore),
            (&replaced, true, true, &restore),
            (&replaced, false, false, &restore),
            (&replaced, false, true, &restore),
            (&missing, true, false, &run),
            (&missing, true, true, &restore),
            (&missing, false, false, &restore),
            (&missing, false, true, &restore),
        ] {
            let placement = placement.clone();
            let lookup = Lookup::InCache { artifact: artifact(), placement, built_here };
            assert_eq!(
                decide(Facts { lookup: lookup.clone(), restored_input }),
                *expected,
                "{lookup:?}"
            );
        }
    }

    #[test]
    fn every_decision_has_its_forecast_and_the_result_for_dependents() {
        let reason = |text: &str| Some(text.to_string());
        let export = artifact_of(ArtifactKind::Export);
        let restored = "its result is not here, and may have to be made again";
        for (decision, forecast, artifact) in [
            (Decision::Cached(artifact(), None), ("cached", None), Some(artifact())),
            (
                Decision::Retained(artifact(), "/a".into(), "it runs".into()),
                ("cached", reason("it runs")),
                Some(artifact()),
            ),
            (Decision::Fetch(artifact()), ("cached", None), Some(artifact())),
            (Decision::Fetch(export), ("run", reason(restored)), None),
            (Decision::Restore(artifact()), ("cached", None), Some(artifact())),
            (Decision::Run(Reason::NotBuilt), ("run", reason("not built before")), None),
            (
                Decision::Unknown("base".into()),
                ("unknown", reason("depends on the result of base")),
                None,
            ),
        ] {
            assert_eq!(decision.forecast(), forecast);
            assert_eq!(decision.artifact(), artifact.as_ref(), "{decision:?}");
        }
    }
}
