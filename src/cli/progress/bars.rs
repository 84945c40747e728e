//! Progress bars: a bar for each running stage, and above them the lines of the plain form. While
//! no stage runs, nothing is drawn and no thread runs.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Sink, message_for};
use crate::cli::screen::Paint;
use crate::engine::{Event, Observer};
use crate::units::{Bytes, Human};

/// For progress without a known total.
const SPINNER: &str = "{spinner} {prefix}  {msg}  {elapsed}";

/// For progress with a known total.
const BAR: &str = "{spinner} {prefix}  [{bar:24}] {msg}  {elapsed}";

/// The key of the bar for uploads to the remote cache; no stage can have this name.
const PUSH: &str = "(pushing)";

/// The interval of updates of the spinner and the elapsed time.
const TICK: Duration = Duration::from_millis(200);

/// An observer that draws progress bars.
pub struct Bars {
    talk: Sink,
    paint: Paint,
    screen: MultiProgress,
    running: Mutex<BTreeMap<String, ProgressBar>>,
}

impl Bars {
    /// Writes lines to `talk` and draws on `target`, which is the same terminal.
    pub fn new(talk: Sink, paint: Paint, target: ProgressDrawTarget) -> Bars {
        let screen = MultiProgress::with_draw_target(target);
        Bars { talk, paint, screen, running: Mutex::default() }
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, ProgressBar>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, stage: &str) {
        // A stage whose result could not be pulled has a bar already when it starts.
        self.end(stage);
        let bar = self.screen.add(ProgressBar::new(0));
        bar.set_style(style(SPINNER));
        bar.set_prefix(stage.to_string());
        bar.enable_steady_tick(TICK);
        self.running().insert(stage.to_string(), bar);
    }

    fn end(&self, stage: &str) {
        if let Some(bar) = self.running().remove(stage) {
            bar.finish_and_clear();
            self.screen.remove(&bar);
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template);
    // The templates are constants; a test reads them.
    style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

/// `1.0 MiB of 3.0 MiB`, `1 of 3 steps`, `resolving`.
fn message(done: u64, total: u64, what: &str) -> String {
    match (what, total) {
        ("B" | "bytes", 0) => Human(Bytes(done)).to_string(),
        ("B" | "bytes", total) => format!("{} of {}", Human(Bytes(done)), Human(Bytes(total))),
        (what, 0) => what.to_string(),
        (what, total) => format!("{done} of {total} {what}"),
    }
}

impl Observer for Bars {
    fn notify(&self, event: &Event<'_>) {
        match event {
            Event::Started { stage, .. } | Event::Fetching { stage, .. } => self.begin(stage),
            Event::Done { stage, .. }
            | Event::Cached { stage, .. }
            | Event::Failed { stage, .. }
            | Event::Skipped { stage, .. } => self.end(stage),
            Event::Progress { stage, done, total, what } => {
                if let Some(bar) = self.running().get(*stage) {
                    if bar.length() != Some(*total) {
                        bar.set_style(style(if *total == 0 { SPINNER } else { BAR }));
                        bar.set_length(*total);
                    }
                    bar.set_position(*done);
                    bar.set_message(message(*done, *total, what));
                }
            }
            Event::Pushing { bytes } => {
                if !self.running().contains_key(PUSH) {
                    self.begin(PUSH);
                }
                if let Some(bar) = self.running().get(PUSH) {
                    bar.set_message(message(bytes.0, 0, "B"));
                }
            }
            Event::Pushed { .. } | Event::End(_) => self.end(PUSH),
            Event::Begin { .. }
            | Event::WorkKept { .. }
            | Event::Withheld { .. }
            | Event::Warning { .. } => {}
        }
        if let Some(text) = message_for(event, self.paint) {
            self.screen.suspend(|| self.talk.line(&text));
        }
    }
}

/// An interrupted build leaves no bars behind.
impl Drop for Bars {
    fn drop(&mut self) {
        for bar in std::mem::take(&mut *self.running()).into_values() {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Captured, play};
    use super::*;
    use crate::pipeline::Color;

    #[test]
    fn the_templates_are_valid() {
        for template in [SPINNER, BAR] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn lines_are_those_of_the_plain_form_and_no_bar_is_left() {
        let (here, there) = (Captured::default(), Captured::default());
        let bars = Bars::new(here.sink(), Paint(Color::Never), ProgressDrawTarget::hidden());
        play(&bars);
        play(&super::super::plain::Plain::new(there.sink(), Paint(Color::Never)));
        assert_eq!(here.text(), there.text());
        assert!(bars.running().is_empty());
    }

    #[test]
    fn a_message_shows_the_progress() {
        assert_eq!(message(1 << 20, 3 << 20, "B"), "1.0 MiB of 3.0 MiB");
        assert_eq!(message(1 << 20, 0, "B"), "1.0 MiB");
        assert_eq!(message(1, 3, "steps"), "1 of 3 steps");
        assert_eq!(message(0, 0, "resolving"), "resolving");
    }
}
