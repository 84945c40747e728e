//! The stages among each other: every reference names a stage that makes the right thing, and
//! none of them goes in a circle. It knows stages by name, output and inputs alone.

use super::fault::{Fault, Faults};
use super::suggest;
use super::value::Spanned;
use crate::artifact::ArtifactKind;

/// One input of a stage: the key it was written under, the name, its place, what it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The key it was written under.
    pub key: &'static str,
    /// The stage it names, and where.
    pub stage: Spanned<String>,
    /// What that stage may make.
    pub accepts: &'static [ArtifactKind],
}

/// A stage as the check sees it.
#[derive(Clone, Debug)]
pub struct StageNode {
    /// Its name, and where it is defined.
    pub name: Spanned<String>,
    /// Its kind, and where that is written; `None` if that is faulty.
    pub kind: Option<Spanned<String>>,
    /// What it makes; `None` if the kind is unknown.
    pub output: Option<ArtifactKind>,
    /// Its inputs.
    pub inputs: Vec<Input>,
}

/// Checks all references of `nodes` and the names in `default`. Returns the indices of the
/// nodes so that each comes after all its inputs; otherwise in the order of the slice.
pub fn check(nodes: &[StageNode], default: &[Spanned<String>], faults: &mut Faults) -> Vec<usize> {
    let find = |name: &str| nodes.iter().position(|node| node.name.value == name);
    let mut inputs: Vec<Vec<(usize, &Input)>> = vec![Vec::new(); nodes.len()];
    for (at, node) in nodes.iter().enumerate() {
        for input in &node.inputs {
            match find(&input.stage) {
                None => faults.add(unknown(&input.stage, nodes, Some(at))),
                Some(other) if other == at => {
                    let message = format!("the stage `{}` is its own input", node.name.value);
                    let fault = Fault::new(input.stage.span.clone(), message);
                    let hint = fitting(input, nodes, at);
                    faults.add(fault.label("refers to its own stage").maybe_hint(hint));
                }
                Some(other) => {
                    inputs[at].push((other, input));
                    faults_of_product(input, nodes, at, other, faults);
                }
            }
        }
    }
    for name in default.iter().filter(|name| find(name).is_none()) {
        faults.add(unknown(name, nodes, None));
    }
    let order = order(&inputs);
    if order.len() < nodes.len() {
        circles(nodes, &inputs, &order, faults);
    }
    order
}

fn unknown(name: &Spanned<String>, nodes: &[StageNode], except: Option<usize>) -> Fault {
    let others = nodes.iter().enumerate().filter(|(at, _)| Some(*at) != except);
    let names: Vec<&str> = others.map(|(_, node)| node.name.as_str()).collect();
    Fault::new(name.span.clone(), format!("there is no stage `{}`", name.value))
        .maybe_hint(suggest::hint(name, &names, "the stages are"))
        .of_absence([name.as_str()])
}

fn faults_of_product(
    input: &Input,
    nodes: &[StageNode],
    at: usize,
    other: usize,
    faults: &mut Faults,
) {
    let node = &nodes[other];
    let Some(output) = node.output.filter(|output| !input.accepts.contains(output)) else {
        return;
    };
    let accepted: Vec<_> = input.accepts.iter().map(ArtifactKind::to_string).collect();
    let kind = node.kind.as_ref().map_or("", |kind| kind.as_str());
    let message = format!(
        "`{}` takes {}, but `{}` (kind `{kind}`) makes {output}",
        input.key,
        suggest::join(&accepted, "or"),
        node.name.value,
    );
    let place = node.kind.as_ref().map_or(&node.name.span, |kind| &kind.span);
    let fault = Fault::new(input.stage.span.clone(), message).label("the wrong thing");
    faults.add(
        fault.also(place.clone(), format!("makes {output}")).maybe_hint(fitting(input, nodes, at)),
    );
}

/// Names the stages that would do for `input` of the stage `at`.
fn fitting(input: &Input, nodes: &[StageNode], at: usize) -> Option<String> {
    let fits = |node: &StageNode| node.output.is_some_and(|output| input.accepts.contains(&output));
    let others = nodes.iter().enumerate().filter(|(other, node)| *other != at && fits(node));
    let names: Vec<&str> = others.map(|(_, node)| node.name.as_str()).collect();
    (!names.is_empty() && names.len() <= 8).then(|| format!("what fits: {}", suggest::list(&names)))
}

/// The stages that can be ordered: each time the first one whose inputs are all there.
fn order(inputs: &[Vec<(usize, &Input)>]) -> Vec<usize> {
    let mut order = Vec::new();
    let mut placed = vec![false; inputs.len()];
    let ready = |at: &usize, placed: &[bool]| {
        !placed[*at] && inputs[*at].iter().all(|(other, _)| placed[*other])
    };
    while let Some(next) = (0..inputs.len()).find(|at| ready(at, &placed)) {
        placed[next] = true;
        order.push(next);
    }
    order
}

/// One fault for each circle among the stages that `order` could not place.
fn circles(
    nodes: &[StageNode],
    inputs: &[Vec<(usize, &Input)>],
    order: &[usize],
    faults: &mut Faults,
) {
    let mut reported = vec![false; nodes.len()];
    for start in (0..nodes.len()).filter(|at| !order.contains(at)) {
        if reported[start] {
            continue;
        }
        let Some(ring) = ring(start, inputs) else { continue };
        if ring.iter().any(|(at, _)| reported[*at]) {
            continue;
        }
        ring.iter().for_each(|(at, _)| reported[*at] = true);
        let names = ring.iter().map(|(at, _)| *at).chain([start]);
        let names: Vec<_> = names.map(|at| nodes[at].name.as_str()).collect();
        let message = format!("the stages go in a circle: {}", names.join(" -> "));
        let mut places = ring.iter().map(|(_, input)| input.stage.span.clone());
        let mut fault = Fault::new(places.next().unwrap_or_default(), message)
            .label("this reference closes the circle");
        for place in places {
            fault = fault.also(place, "then this one");
        }
        faults.add(fault);
    }
}

/// The shortest way from `start` back to it, as the stages on it and the input each follows.
fn ring<'a>(start: usize, inputs: &[Vec<(usize, &'a Input)>]) -> Option<Vec<(usize, &'a Input)>> {
    let mut came: Vec<Option<(usize, &Input)>> = vec![None; inputs.len()];
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        for (other, input) in &inputs[at] {
            if came[*other].is_none() {
                came[*other] = Some((at, input));
                queue.push_back(*other);
            }
        }
    }
    let mut ring = Vec::new();
    let mut at = start;
    loop {
        let step = came[at]?;
        ring.push(step);
        at = step.0;
        if at == start {
            ring.reverse();
            return Some(ring);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes from rows of name, output and inputs; every place is the row's number.
    fn nodes(rows: &[(&str, ArtifactKind, &[&str])]) -> Vec<StageNode> {
        let node = |(at, (name, output, inputs)): (usize, &(&str, ArtifactKind, &[&str]))| {
            let spanned = |text: &str| Spanned::new(at..at + 1, text.to_string());
            let inputs = inputs.iter().map(|stage| Input {
                key: "from",
                stage: spanned(stage),
                accepts: &[ArtifactKind::Tree, ArtifactKind::Disk],
            });
            StageNode {
                name: spanned(name),
                kind: Some(spanned("k")),
                output: Some(*output),
                inputs: inputs.collect(),
            }
        };
        rows.iter().enumerate().map(node).collect()
    }

    fn checked(rows: &[(&str, ArtifactKind, &[&str])]) -> (Vec<usize>, Vec<String>) {
        let mut faults = Faults::default();
        let order = check(&nodes(rows), &[], &mut faults);
        (order, faults.sorted().iter().map(|fault| fault.message.clone()).collect())
    }

    use ArtifactKind::{File, Tree};

    #[test]
    fn order_follows_the_inputs_and_else_the_file() {
        let rows: &[(&str, ArtifactKind, &[&str])] =
            &[("d", Tree, &["b"]), ("a", Tree, &[]), ("b", Tree, &[]), ("c", Tree, &["a"])];
        assert_eq!(checked(rows), (vec![1, 2, 0, 3], vec![]));
    }

    #[test]
    fn each_circle_is_named_once_and_whole() {
        let rows: &[(&str, ArtifactKind, &[&str])] = &[
            ("tail", Tree, &["a"]),
            ("a", Tree, &["b"]),
            ("b", Tree, &["c"]),
            ("c", Tree, &["a"]),
            ("x", Tree, &["y"]),
            ("y", Tree, &["x"]),
        ];
        let expected = [
            "the stages go in a circle: a -> b -> c -> a",
            "the stages go in a circle: x -> y -> x",
        ];
        assert_eq!(checked(rows).1, expected);
    }

    #[test]
    fn wrong_outputs_and_a_stage_as_its_own_input_are_faults() {
        let rows: &[(&str, ArtifactKind, &[&str])] =
            &[("f", File, &[]), ("a", Tree, &["f"]), ("b", Tree, &["b"]), ("c", Tree, &["aa"])];
        let expected = [
            "`from` takes a tree or a disk, but `f` (kind `k`) makes a file",
            "the stage `b` is its own input",
            "there is no stage `aa`",
        ];
        assert_eq!(checked(rows).1, expected);
    }

    #[test]
    fn a_stage_of_unknown_kind_fits_everywhere() {
        let mut nodes = nodes(&[("f", File, &[]), ("a", Tree, &["f"])]);
        nodes[0].output = None;
        let mut faults = Faults::default();
        assert_eq!(check(&nodes, &[], &mut faults), [0, 1]);
        assert!(faults.is_empty());
    }
}
