//! The graph of stages as SVG: a column for each distance from the stages without inputs, boxes in the
//! order of the plan, arrows from left to right. A box may say how its stage ended. The same graph gives
//! the same bytes.

use super::disk_map::shortened;
use crate::build_record::{BuildRecord, StageState};
use crate::format::xml::escaped;

/// The graph to draw.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// The name of the pipeline.
    pub title: String,
    /// The stages, each after its inputs.
    pub boxes: Vec<GraphBox>,
}

/// A box: a stage or an instance of one.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphBox {
    /// `disk`, `nodes/gate-node01`.
    pub name: String,
    /// The name of its kind.
    pub kind: String,
    /// The indices of the boxes it depends on; they come before it.
    pub inputs: Vec<usize>,
    /// How a build ended it, if that is known.
    pub outcome: Option<Outcome>,
}

/// How a build ended a stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The state.
    pub state: StageState,
    /// How long it took, in seconds; 0 if there was nothing to do.
    pub seconds: f64,
    /// Why it ran, or why it was skipped.
    pub reason: Option<String>,
    /// Whether it is on the critical path.
    pub is_critical: bool,
}

impl Graph {
    /// The stages of a build, and how they ended.
    pub fn of_build(pipeline: &str, build: &BuildRecord) -> Graph {
        let boxes = build.stages.iter().map(|stage| {
            let index = |name: &String| build.stages.iter().position(|it| it.stage == *name);
            let inputs = stage.inputs.iter().filter_map(index).collect();
            let (name, kind) = (stage.stage.clone(), stage.kind.clone());
            GraphBox { name, kind, inputs, outcome: None }
        });
        let mut graph = Graph { title: pipeline.to_string(), boxes: boxes.collect() };
        graph.add_outcomes(build);
        graph
    }

    /// Adds how `build` ended the stages that are in it.
    pub fn add_outcomes(&mut self, build: &BuildRecord) {
        let critical = build.critical_path();
        for it in &mut self.boxes {
            let Some(at) = build.stages.iter().position(|stage| stage.stage == it.name) else {
                continue;
            };
            let stage = &build.stages[at];
            it.outcome = Some(Outcome {
                state: stage.state,
                seconds: stage.seconds,
                reason: stage.reason.clone(),
                is_critical: critical.contains(&at),
            });
        }
    }

    /// Each arrow once, from an input to the stage that uses it.
    pub fn arrows(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let arrows = |(to, it): (usize, &'_ GraphBox)| {
            it.inputs.iter().map(|from| (*from, to)).collect::<Vec<_>>()
        };
        self.boxes.iter().enumerate().flat_map(arrows)
    }

    fn has_outcomes(&self) -> bool {
        self.boxes.iter().any(|it| it.outcome.is_some())
    }

    /// The height of every box.
    fn box_height(&self) -> usize {
        if self.has_outcomes() { 76 } else { 44 }
    }
}

/// `done, 12.3 s`, `cached`.
impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.state.word())?;
        if self.seconds > 0.0 {
            write!(f, ", {}", seconds(self.seconds))?;
        }
        Ok(())
    }
}

/// `12.3 s`, `3 min 20 s`
pub(super) fn seconds(seconds: f64) -> String {
    if seconds < 120.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    format!("{} min {} s", whole / 60, whole % 60)
}

/// A text in which digests have their first 12 digits only.
pub(super) fn with_short_digests(text: &str) -> String {
    let is_digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let (mut short, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(is_digit) {
        let length = rest[at..].find(|c| !is_digit(c)).unwrap_or(rest.len() - at);
        let (before, after) = rest.split_at(at + length);
        match length {
            64 => short.extend([&before[..at + 12], "…"]),
            _ => short += before,
        }
        rest = after;
    }
    short + rest
}

impl GraphBox {
    /// The lines below the name: font size, text, and class.
    fn lines(&self) -> Vec<(usize, String, &'static str)> {
        let mut lines = vec![(12, self.kind.clone(), "minor")];
        if let Some(outcome) = &self.outcome {
            lines.push((12, outcome.to_string(), "state"));
            let reason = with_short_digests(outcome.reason.as_deref().unwrap_or_default());
            lines.push((11, shortened(&reason, LONGEST_REASON), "minor"));
        }
        lines
    }

    /// The width of the longest line, in pixels.
    fn text_width(&self) -> usize {
        let width = |size: usize, text: &str| text.chars().count() * size * CHARACTER / 100;
        let lines = self.lines().into_iter().map(|(size, text, _)| width(size, &text));
        lines.fold(width(NAME_SIZE, &self.name), usize::max)
    }
}

/// The width of a character in a font of fixed width, in hundredths of the font size.
const CHARACTER: usize = 61;
/// The font size of names, in pixels.
const NAME_SIZE: usize = 15;
/// The longest reason in a box, in characters; the tooltip has all of it.
const LONGEST_REASON: usize = 28;
/// Between the text of a box and its border.
const PADDING: usize = 12;
/// Between the boxes of a column.
const ROW_GAP: usize = 16;
/// Between columns, for the arrows.
const COLUMN_GAP: usize = 56;
const MARGIN: usize = 16;

/// The position and width of a box, in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Position {
    x: usize,
    y: usize,
    width: usize,
}

/// The picture.
pub fn draw(graph: &Graph) -> String {
    let (places, (width, height)) = layout(graph);
    let box_height = graph.box_height();
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"graph\" width=\"{width}\" \
         height=\"{height}\" viewBox=\"0 0 {width} {height}\" style=\"--width:{width}px\" \
         font-family=\"monospace\">\n\
         <title>{}</title>\n\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" \
         markerHeight=\"8\" markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path class=\"tip\" d=\"M0 0 8 4 0 8z\" \
         fill=\"#667\"/></marker></defs>\n\
         <rect class=\"paper\" width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n",
        escaped(&graph.title)
    );
    let is_critical =
        |at: usize| graph.boxes[at].outcome.as_ref().is_some_and(|outcome| outcome.is_critical);
    for (from, to) in graph.arrows() {
        let stroke = match is_critical(from) && is_critical(to) {
            true => "class=\"arrow critical\" stroke=\"#223\" stroke-width=\"2.5\"",
            false => "class=\"arrow\" stroke=\"#667\"",
        };
        let (from, to) = (places[from], places[to]);
        let (x1, y1) = (from.x + from.width, from.y + box_height / 2);
        let (x2, y2) = (to.x, to.y + box_height / 2);
        let half = (x1 + x2) / 2;
        text += &format!(
            "<path {stroke} d=\"M{x1} {y1}C{half} {y1} {half} {y2} {x2} {y2}\" fill=\"none\" \
             marker-end=\"url(#tip)\"/>\n"
        );
    }
    for (it, place) in graph.boxes.iter().zip(&places) {
        text += &draw_box(it, *place, box_height);
    }
    text + "</svg>\n"
}

fn draw_box(it: &GraphBox, Position { x, y, width }: Position, height: usize) -> String {
    let middle = x + width / 2;
    let (class, fill, stroke) = match &it.outcome {
        None => ("plain", "#eef", "#445"),
        Some(outcome) => match outcome.state {
            StageState::Done => ("done", "#e3f3e3", "#2c6a30"),
            StageState::Cached => ("cached", "#eef", "#667"),
            StageState::Failed => ("failed", "#fbe3e1", "#a3261b"),
            StageState::Skipped | StageState::NotReached => ("skipped", "#f6f0dc", "#7a6312"),
        },
    };
    let thick = it.outcome.as_ref().is_some_and(|outcome| outcome.is_critical);
    let border = if thick { " stroke-width=\"2.5\"" } else { "" };
    let reason = it.outcome.as_ref().and_then(|outcome| outcome.reason.as_deref());
    let tooltip =
        reason.map_or(String::new(), |reason| format!("<title>{}</title>", escaped(reason)));
    let mut text = format!(
        "<g class=\"{class}\">{tooltip}<rect class=\"box\" x=\"{x}\" y=\"{y}\" width=\"{width}\" \
         height=\"{height}\" rx=\"6\" fill=\"{fill}\" stroke=\"{stroke}\"{border}/>\n\
         <text x=\"{middle}\" y=\"{}\" font-size=\"{NAME_SIZE}\" \
         text-anchor=\"middle\">{}</text>\n",
        y + 19,
        escaped(&it.name),
    );
    for (at, (size, line, class)) in it.lines().into_iter().enumerate() {
        if !line.is_empty() {
            text += &format!(
                "<text class=\"{class}\" x=\"{middle}\" y=\"{}\" font-size=\"{size}\" \
                 fill=\"#556\" text-anchor=\"middle\">{}</text>\n",
                y + 35 + 16 * at,
                escaped(&line),
            );
        }
    }
    text + "</g>\n"
}

/// The places of all boxes, and the width and height of the whole.
fn layout(graph: &Graph) -> (Vec<Position>, (usize, usize)) {
    let columns = columns(graph);
    let rows = |column: usize| columns.iter().filter(|other| **other == column).count();
    let count = columns.iter().max().map_or(0, |last| last + 1);
    let box_height = graph.box_height();
    let tall = |rows: usize| (rows * (box_height + ROW_GAP)).saturating_sub(ROW_GAP);
    let tallest = (0..count).map(|column| tall(rows(column))).max().unwrap_or(0);
    let mut places = vec![Position::default(); graph.boxes.len()];
    let mut x = MARGIN;
    for column in 0..count {
        let members: Vec<usize> = (0..columns.len()).filter(|at| columns[*at] == column).collect();
        let widest = members.iter().map(|at| graph.boxes[*at].text_width()).max().unwrap_or(0);
        let width = widest + 2 * PADDING;
        let mut y = MARGIN + (tallest - tall(members.len())) / 2;
        for at in members {
            places[at] = Position { x, y, width };
            y += box_height + ROW_GAP;
        }
        x += width + COLUMN_GAP;
    }
    let width = (x + MARGIN).saturating_sub(if count > 0 { COLUMN_GAP } else { 0 });
    (places, (width, tallest + 2 * MARGIN))
}

/// The column of each box: one more than the largest of its inputs.
fn columns(graph: &Graph) -> Vec<usize> {
    let mut columns: Vec<usize> = Vec::new();
    for it in &graph.boxes {
        let before = it.inputs.iter().map(|at| columns[*at] + 1).max();
        columns.push(before.unwrap_or(0));
    }
    columns
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::build_record::tests::{build, ran};

    /// Four stages, of which two are instances.
    pub fn sample() -> Graph {
        let it = |name: &str, kind: &str, inputs: &[usize]| GraphBox {
            name: name.into(),
            kind: kind.into(),
            inputs: inputs.to_vec(),
            outcome: None,
        };
        Graph {
            title: "debian".into(),
            boxes: vec![
                it("rootfs", "bootstrap", &[]),
                it("base", "customise", &[0]),
                it("nodes/a", "clone", &[1]),
                it("nodes/b", "clone", &[1]),
            ],
        }
    }

    /// The same, of which `base` and `nodes/b` ran.
    fn with_outcomes() -> Graph {
        let mut graph = sample();
        let mut build = build(vec![
            ran("rootfs", &[], 0.0, 0.0),
            ran("base", &["rootfs"], 0.0, 12.34),
            ran("nodes/b", &["base"], 12.5, 1.0),
        ]);
        build.stages[1].reason = Some("package = a<b, which is long enough to be cut (new)".into());
        graph.add_outcomes(&build);
        graph
    }

    #[test]
    fn boxes_do_not_overlap_and_arrows_go_right() {
        for graph in [sample(), with_outcomes()] {
            let tall = graph.box_height();
            assert_eq!(columns(&graph), [0, 1, 2, 2]);
            let (places, (width, height)) = layout(&graph);
            assert_eq!(places[2].x, places[3].x);
            assert!(places[3].y >= places[2].y + tall + ROW_GAP);
            for (from, to) in graph.arrows() {
                assert!(places[from].x + places[from].width < places[to].x);
            }
            for place in places {
                assert!(place.x + place.width < width && place.y + tall < height);
            }
        }
    }

    #[test]
    fn the_picture_is_escaped_and_always_the_same() {
        let mut graph = sample();
        graph.title = "a<b & \"c\"".into();
        let picture = draw(&graph);
        assert!(picture.contains("<title>a&lt;b &amp; &quot;c&quot;</title>"));
        assert_eq!(picture.matches("<rect ").count(), 5);
        assert_eq!(picture.matches("marker-end").count(), 3);
        assert_eq!(picture, draw(&graph));
    }

    #[test]
    fn boxes_say_how_their_stages_ended_and_why() {
        let picture = draw(&with_outcomes());
        assert!(picture.contains(">done, 12.3 s</text>"), "{picture}");
        assert!(picture.contains(">cached</text>"), "{picture}");
        assert!(picture.contains("<title>package = a&lt;b, which is long enough to be cut (new)<"));
        assert!(picture.contains(">package = a&lt;b, which is lon…</text>"), "{picture}");
        // One arrow is on the critical path, from `base` to `nodes/b`.
        assert_eq!(picture.matches("class=\"arrow critical\"").count(), 1);
        // What was not in the build has no state.
        assert_eq!(picture.matches("<g class=\"plain\">").count(), 1);
    }

    #[test]
    fn digests_are_cut_and_nothing_else() {
        let digest = "0123456789ab".to_string() + &"c".repeat(52);
        let text = format!("input from = {digest} (was {digest})");
        assert_eq!(with_short_digests(&text), "input from = 0123456789ab… (was 0123456789ab…)");
        for text in ["", "package = abc (new)", "\u{e4}bc\u{e4}", &format!("{digest}d")] {
            assert_eq!(with_short_digests(text), text);
        }
    }

    #[test]
    fn a_build_is_a_graph_of_its_own() {
        let build = build(vec![ran("rootfs", &[], 0.0, 1.0), ran("base", &["rootfs"], 1.0, 1.0)]);
        let graph = Graph::of_build("p", &build);
        assert_eq!(graph.boxes[1].inputs, [0]);
        assert!(graph.boxes.iter().all(|it| it.outcome.as_ref().unwrap().is_critical));
    }
}
