//! Quiet progress (`--quiet`): failures and warnings, and nothing else.

use super::{Sink, message_for};
use crate::cli::screen::Paint;
use crate::engine::{Event, Observer};

/// An observer that writes failures and warnings.
pub struct Quiet {
    talk: Sink,
    paint: Paint,
}

impl Quiet {
    /// Writes lines to `talk`.
    pub fn new(talk: Sink, paint: Paint) -> Quiet {
        Quiet { talk, paint }
    }
}

impl Observer for Quiet {
    fn notify(&self, event: &Event<'_>) {
        if let Event::Failed { .. } | Event::Warning { .. } = event
            && let Some(text) = message_for(event, self.paint)
        {
            self.talk.line(&text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Captured, play};
    use super::*;
    use crate::pipeline::Color;

    #[test]
    fn only_failures_and_warnings_are_written() {
        let captured = Captured::default();
        let quiet = Quiet::new(captured.sink(), Paint(Color::Never));
        play(&quiet);
        quiet.notify(&Event::Warning { text: "careful" });
        let text = captured.text();
        assert!(text.starts_with("disk: failed after 12.3 s\nerror: configuring"), "{text}");
        assert!(text.ends_with("hint: look at the log\nwarning: careful\n"), "{text}");
        assert!(!text.contains("rootfs") && !text.contains("5 stages"), "{text}");
    }
}
