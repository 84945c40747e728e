//! Plain lines: a line when something begins or ends. For logs, pipes and dumb terminals.

use super::{Sink, words};
use crate::cli::screen::Paint;
use crate::engine::{Event, Observer};

/// See the file.
pub struct Plain {
    talk: Sink,
    paint: Paint,
}

impl Plain {
    /// Tells `talk`.
    pub fn new(talk: Sink, paint: Paint) -> Plain {
        Plain { talk, paint }
    }
}

impl Observer for Plain {
    fn notify(&self, event: &Event<'_>) {
        if let Some(words) = words(event, self.paint) {
            self.talk.line(&words);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Paper, play};
    use super::*;
    use crate::pipeline::Color;

    const SAID: &str = "\
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

    fn said(color: Color) -> String {
        let paper = Paper::default();
        play(&Plain::new(paper.sink(), Paint(color)));
        paper.text()
    }

    #[test]
    fn a_line_for_everything_that_begins_or_ends() {
        assert_eq!(said(Color::Never), SAID);
    }

    #[test]
    fn colour_adds_no_meaning() {
        let coloured = said(Color::Always);
        assert!(coloured.contains("\u{1b}["));
        let mut plain = String::new();
        for (at, piece) in coloured.split("\u{1b}[").enumerate() {
            let text = if at == 0 { piece } else { piece.split_once('m').unwrap().1 };
            plain.push_str(text);
        }
        assert_eq!(plain, SAID);
    }
}
