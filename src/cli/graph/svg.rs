//! The graph as SVG: a column for each distance from the stages without inputs, boxes in the order
//! of the plan, arrows from left to right. The same graph gives the same bytes.

use super::Graph;

/// The width of a character of the names, in a font of fixed width.
const CHARACTER: usize = 9;
/// Between the text of a box and its border.
const PADDING: usize = 12;
const BOX_HEIGHT: usize = 44;
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
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"monospace\">\n\
         <title>{}</title>\n\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" \
         markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0 8 4 0 8z\" fill=\"#667\"/></marker>\
         </defs>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n",
        escape(&graph.title)
    );
    for (from, to) in graph.arrows() {
        let (from, to) = (places[from], places[to]);
        let (x1, y1) = (from.x + from.width, from.y + BOX_HEIGHT / 2);
        let (x2, y2) = (to.x, to.y + BOX_HEIGHT / 2);
        let half = (x1 + x2) / 2;
        text += &format!(
            "<path d=\"M{x1} {y1}C{half} {y1} {half} {y2} {x2} {y2}\" fill=\"none\" \
             stroke=\"#667\" marker-end=\"url(#tip)\"/>\n"
        );
    }
    for (stage, place) in graph.boxes.iter().zip(&places) {
        let Position { x, y, width } = *place;
        let middle = x + width / 2;
        text += &format!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{BOX_HEIGHT}\" rx=\"6\" \
             fill=\"#eef\" stroke=\"#445\"/>\n\
             <text x=\"{middle}\" y=\"{}\" font-size=\"15\" text-anchor=\"middle\">{}</text>\n\
             <text x=\"{middle}\" y=\"{}\" font-size=\"12\" fill=\"#556\" \
             text-anchor=\"middle\">{}</text>\n",
            y + 19,
            escape(&stage.name),
            y + 35,
            escape(&stage.kind),
        );
    }
    text + "</svg>\n"
}

/// The places of all boxes, and the width and height of the whole.
fn layout(graph: &Graph) -> (Vec<Position>, (usize, usize)) {
    let columns = columns(graph);
    let rows = |column: usize| columns.iter().filter(|other| **other == column).count();
    let count = columns.iter().max().map_or(0, |last| last + 1);
    let tall = |rows: usize| (rows * (BOX_HEIGHT + ROW_GAP)).saturating_sub(ROW_GAP);
    let tallest = (0..count).map(|column| tall(rows(column))).max().unwrap_or(0);
    let mut places = vec![Position::default(); graph.boxes.len()];
    let mut x = MARGIN;
    for column in 0..count {
        let members: Vec<usize> = (0..columns.len()).filter(|at| columns[*at] == column).collect();
        let longest = |at: &usize| {
            let stage = &graph.boxes[*at];
            stage.name.chars().count().max(stage.kind.chars().count())
        };
        let width = members.iter().map(longest).max().unwrap_or(0) * CHARACTER + 2 * PADDING;
        let mut y = MARGIN + (tallest - tall(members.len())) / 2;
        for at in members {
            places[at] = Position { x, y, width };
            y += BOX_HEIGHT + ROW_GAP;
        }
        x += width + COLUMN_GAP;
    }
    let width = (x + MARGIN).saturating_sub(if count > 0 { COLUMN_GAP } else { 0 });
    (places, (width, tallest + 2 * MARGIN))
}

/// The column of each box: one more than the largest of its inputs.
fn columns(graph: &Graph) -> Vec<usize> {
    let mut columns: Vec<usize> = Vec::new();
    for stage in &graph.boxes {
        let before = stage.inputs.iter().map(|at| columns[*at] + 1).max();
        columns.push(before.unwrap_or(0));
    }
    columns
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn boxes_do_not_overlap_and_arrows_go_right() {
        let graph = sample();
        assert_eq!(columns(&graph), [0, 1, 2, 2]);
        let (places, (width, height)) = layout(&graph);
        assert_eq!(places[2].x, places[3].x);
        assert!(places[3].y >= places[2].y + BOX_HEIGHT + ROW_GAP);
        for (from, to) in graph.arrows() {
            assert!(places[from].x + places[from].width < places[to].x);
        }
        for place in places {
            assert!(place.x + place.width < width && place.y + BOX_HEIGHT < height);
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
}
