// SPDX-License-Identifier: GPL-2.0-or-later
//! Warnings that others can provoke are written at a pace that fills no log (RFC 9303, section 6.9).

use std::time::Instant;

use crate::limits::LOG_PAUSE;

/// When the last one was written.
#[derive(Debug, Default)]
pub(crate) struct Pause(Option<Instant>);

impl Pause {
    /// Whether one may be written again; it is taken for written then.
    pub(crate) fn is_over(&mut self, now: Instant) -> bool {
        let is_over = self.0.is_none_or(|at| now.saturating_duration_since(at) >= LOG_PAUSE);
        if is_over {
            self.0 = Some(now);
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_bad_messages_writes_one_line_in_a_while() {
        let (start, mut pause) = (Instant::now(), Pause::default());
        assert!(pause.is_over(start) && !pause.is_over(start));
        assert!(pause.is_over(start + LOG_PAUSE) && !pause.is_over(start + LOG_PAUSE));
    }
}
