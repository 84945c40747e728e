//! The jobs of a pipeline and their dependencies. Knows no service.
//!
//! A stage is a job if it runs for minutes and its result can be used on another host: a tree, a
//! disk, a report, an export. Other stages (downloads, unpacked files) are built by the job that
//! needs them, and so are machines and snapshots, which never leave their host. The clones of one
//! role are one job, which makes them from the disk in the cache.

use std::collections::BTreeSet;

use crate::artifact::ArtifactKind;
use crate::engine::plan::{Node, NodeId, Plan, Ready};

/// One job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its display name: `disk`, `nodes/gate`.
    pub name: String,
    /// A unique word of lower-case letters, digits and `-` that begins with a letter.
    pub id: String,
    /// The stages that it builds.
    pub stages: Vec<String>,
    /// The indices of the jobs whose results it fetches.
    pub needs: Vec<usize>,
    /// One more than the highest step of the jobs it needs; from 1.
    pub step: usize,
    /// What it produces.
    pub output: JobOutput,
}

/// What a job produces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobOutput {
    /// A result in the cache.
    Result,
    /// Files in `out/` as well.
    Exports,
    /// Machines, which are lost with the host that the job runs on.
    Machines,
}

/// The jobs for `plan`, each after those it needs.
pub fn jobs(pipeline: &Ready, plan: &Plan<'_>) -> Vec<Job> {
    let kind = |node: &Node<'_>| {
        pipeline.stage(node.stage_name).map_or(ArtifactKind::File, |stage| stage.output)
    };
    let mut jobs: Vec<Job> = Vec::new();
    // What each job builds: a node, or a role of a stage.
    let mut groups: Vec<String> = Vec::new();
    // The job of each node, if it has one.
    let mut owners: Vec<Option<usize>> = Vec::new();
    for (at, node) in plan.nodes().iter().enumerate() {
        let is_last = plan.dependents(NodeId(at)).next().is_none();
        if !is_last && !is_worth_a_job(kind(node)) {
            owners.push(None);
            continue;
        }
        let group = match node.stage.role() {
            Some(role) => format!("{}/{role}", node.stage_name),
            None => node.name.clone(),
        };
        let needs = owners_of_inputs(plan, node, &owners);
        let owner = match groups.iter().position(|other| *other == group) {
            Some(owner) => {
                jobs[owner].stages.push(node.name.clone());
                owner
            }
            None => {
                let step = 1 + needs.iter().map(|at| jobs[*at].step).max().unwrap_or(0);
                jobs.push(Job {
                    id: id(&group, &jobs),
                    name: title(&group),
                    stages: vec![node.name.clone()],
                    needs: needs.into_iter().collect(),
                    step,
                    output: output(kind(node)),
                });
                groups.push(group);
                jobs.len() - 1
            }
        };
        owners.push(Some(owner));
    }
    jobs
}

/// Whether a result takes time to make and can be used on another host.
fn is_worth_a_job(kind: ArtifactKind) -> bool {
    match kind {
        ArtifactKind::Tree
        | ArtifactKind::Disk
        | ArtifactKind::Report
        | ArtifactKind::Export
        | ArtifactKind::Publication => true,
        ArtifactKind::File | ArtifactKind::Directory => false,
        ArtifactKind::Machine | ArtifactKind::Snapshot | ArtifactKind::Machines => false,
    }
}

fn output(kind: ArtifactKind) -> JobOutput {
    match kind {
        ArtifactKind::Export => JobOutput::Exports,
        ArtifactKind::Machine | ArtifactKind::Snapshot | ArtifactKind::Machines => {
            JobOutput::Machines
        }
        ArtifactKind::File
        | ArtifactKind::Directory
        | ArtifactKind::Tree
        | ArtifactKind::Disk
        | ArtifactKind::Report
        | ArtifactKind::Publication => JobOutput::Result,
    }
}

/// The jobs that `node` depends on, directly or through stages without a job.
fn owners_of_inputs(plan: &Plan<'_>, node: &Node<'_>, owners: &[Option<usize>]) -> BTreeSet<usize> {
    let of = |input: &NodeId| match owners[input.0] {
        Some(owner) => BTreeSet::from([owner]),
        None => owners_of_inputs(plan, &plan.nodes()[input.0], owners),
    };
    node.inputs.iter().flat_map(|(_, input)| of(input)).collect()
}

/// `name` without characters that a service could interpret: a role may have any name.
fn title(name: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() || "._/-".contains(c) { c } else { '-' };
    name.chars().map(legal).collect()
}

/// Keywords at the top level of a GitLab file.
const RESERVED: [&str; 9] =
    ["cache", "default", "image", "include", "pages", "services", "spec", "stages", "workflow"];

/// An identifier for `name` that is valid in every service.
fn id(name: &str, others: &[Job]) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let word: String = name.chars().map(legal).collect();
    let word = word.trim_end_matches('-').to_string();
    let is_letter = |c: char| c.is_ascii_alphabetic();
    let word = match word.starts_with(is_letter) && !RESERVED.contains(&word.as_str()) {
        true => word,
        false => format!("stage-{word}"),
    };
    let is_free = |word: &String| others.iter().all(|job| job.id != *word);
    let numbered = (2..).map(|number| format!("{word}-{number}"));
    std::iter::once(word.clone()).chain(numbered).find(is_free).unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Table;
    use std::path::Path;

    fn of(stages: &str, targets: &[&str]) -> Vec<String> {
        let text = format!("[pipeline]\nname = \"p\"\n{stages}");
        let path = Path::new("pipelines/p.toml");
        let pipeline = crate::pipeline::load(path, &text, &[], &|_| None, &Table);
        let pipeline = pipeline.unwrap_or_else(|faulty| panic!("{faulty}"));
        let targets: Vec<String> = targets.iter().map(|target| target.to_string()).collect();
        let plan = Plan::new(&pipeline, &targets).unwrap();
        let jobs = jobs(&pipeline, &plan);
        let needs = |job: &Job| job.needs.iter().map(|at| jobs[*at].id.clone()).collect::<Vec<_>>();
        let line = |job: &Job| {
            let (stages, needs) = (job.stages.join("+"), needs(job).join(" "));
            format!("{} {} {:?} {stages} < {needs}", job.step, job.id, job.output)
        };
        jobs.iter().map(line).collect()
    }

    const DISK: &str = "[stage.disk]\nkind = \"disk\"\nfrom = \"root.fs\"\nsize = \"1 GiB\"\n\
        [[stage.disk.partition]]\nname = \"a\"\nsize = \"rest\"\nfilesystem = \"ext4\"\n\
        mount = \"/\"\n[stage.\"root.fs\"]\nkind = \"bootstrap\"\nsuite = \"trixie\"\n";

    #[test]
    fn long_stages_are_jobs_and_each_role_is_one() {
        let stages = format!(
            "{DISK}[stage.m]\nkind = \"register\"\nfrom = \"disk\"\nname = \"m\"\n\
             [stage.s]\nkind = \"snapshot\"\nfrom = \"m\"\nname = \"s\"\n\
             [stage.n]\nkind = \"clone\"\nfrom = \"s\"\n\
             [stage.n.role.x]\ninstances = [\"a\", \"b\"]\n\
             [stage.n.role.y]\ninstances = [\"c\"]\n\
             [stage.e]\nkind = \"export\"\nfrom = \"disk\"\nformat = [\"raw\", \"vdi\"]\n"
        );
        let expected = [
            "1 root-fs Result root.fs < ",
            "2 disk Result disk < root-fs",
            "3 n-x Machines n/a+n/b < disk",
            "3 n-y Machines n/c < disk",
            "3 e-raw Exports e/raw < disk",
            "3 e-vdi Exports e/vdi < disk",
        ];
        let mut found = of(&stages, &["e", "n"]);
        found.sort_by_key(|line| expected.iter().position(|other| other == line));
        assert_eq!(found, expected);
        // A target is a job, whatever its kind.
        assert_eq!(of(&stages, &["s"]).last().unwrap(), "3 s Machines s < disk");
    }

    #[test]
    fn short_stages_are_built_by_the_job_that_needs_them() {
        let sha256 = "0".repeat(64);
        let stages = format!(
            "[stage.f]\nkind = \"download\"\nurl = \"file:///x\"\nsha256 = \"{sha256}\"\n\
             [stage.g]\nkind = \"unpack\"\nfrom = \"f\"\n"
        );
        assert_eq!(of(&stages, &[]), ["1 g Result g < "]);
        assert_eq!(of(&stages, &["f"]), ["1 f Result f < "]);
    }

    #[test]
    fn ids_are_legal_and_unique() {
        let job = |id: &str| Job {
            name: id.to_string(),
            id: id.to_string(),
            stages: Vec::new(),
            needs: Vec::new(),
            step: 1,
            output: JobOutput::Result,
        };
        assert_eq!(id("a.b/c", &[]), "a-b-c");
        assert_eq!(id("a.b", &[job("a-b")]), "a-b-2");
        assert_eq!(id("a_B", &[job("a-b"), job("a-b-2")]), "a-b-3");
        assert_eq!(id("9x", &[]), "stage-9x");
        assert_eq!(id("image", &[job("stage-image")]), "stage-image-2");
        assert_eq!(id("a/${{ b }}", &[]), "a-----b");
        assert_eq!(title("a/${{ b }}"), "a/----b---");
        assert_eq!(id("x.-", &[]), "x");
    }
}
