//! Plain progress: a line when a stage starts or ends. For logs, pipes and dumb terminals.

use super::{Sink, message_for};
use crate::cli::screen::Paint;
use crate::engine::{Event, Observer};

/// An observer that writes plain lines.
pub struct Plain {
    talk: Sink,
    paint: Paint,
}

impl Plain {
    /// Writes lines to `talk`.
    pub fn new(talk: Sink, paint: Paint) -> Plain {
        Plain { talk, paint }
    }
}

impl Observer for Plain {
    fn notify(&self, event: &Event<'_>) {
        if let Some(text) = message_for(event, self.paint) {
            self.talk.line(&text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Captured, play};
    use super::*;
    use crate::pipeline::Color;

    const EXPECTED: &str = "\
rootfs: cached
base: started (package = htop (new))
base: done in 12.3 s
disk: started (not built before)
disk: failed after 12.3 s
error: configuring packages
  because: a command failed: exit status 1
  command: dpkg --configure -a
  | dpkg: broken
  full log: /cache/logs/p/base.log
hint: look at the log
image: skipped (disk failed)
nodes/a: skipped (it was started)
5 stages: 1 run, 1 cached, 1 failed, 2 skipped, in 24.7 s
";

    fn output(color: Color) -> String {
        let captured = Captured::default();
        play(&Plain::new(captured.sink(), Paint(color)));
        captured.text()
    }

    #[test]
    fn each_start_and_end_is_a_line() {
        assert_eq!(output(Color::Never), EXPECTED);
    }

    #[test]
    fn colour_adds_no_meaning() {
        let coloured = output(Color::Always);
        assert!(coloured.contains("\u{1b}["));
        let mut plain = String::new();
        for (at, piece) in coloured.split("\u{1b}[").enumerate() {
            let text = if at == 0 { piece } else { piece.split_once('m').unwrap().1 };
            plain.push_str(text);
        }
        assert_eq!(plain, EXPECTED);
    }
}
