// SPDX-License-Identifier: GPL-2.0-or-later
//! Lines that others can provoke are written at a pace that fills no log (RFC 9303, section 6.5).

use std::time::Instant;

use crate::limits::LOG_PAUSE;

/// When the last line of a kind was written, and how many were left out since.
#[derive(Debug, Default)]
pub struct Pause {
    at: Option<Instant>,
    left_out: u64,
}

impl Pause {
    /// Has a line written, unless one was within [`LOG_PAUSE`]; it is to say how many of its kind were left out before it, if there were any.
    pub fn line(&mut self, now: Instant, write: impl FnOnce(Option<u64>)) {
        if self.at.is_some_and(|at| now.saturating_duration_since(at) < LOG_PAUSE) {
            self.left_out = self.left_out.saturating_add(1);
            return;
        }
        let left_out = std::mem::replace(self, Self { at: Some(now), left_out: 0 }).left_out;
        write(Some(left_out).filter(|left_out| *left_out > 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_in_a_while_and_the_next_one_says_how_many_were_left_out() {
        let (start, mut pause, mut lines) = (Instant::now(), Pause::default(), Vec::new());
        for at in [start; 1000].into_iter().chain([start + LOG_PAUSE, start + 2 * LOG_PAUSE]) {
            pause.line(at, |left_out| lines.push((at, left_out)));
        }
        assert_eq!(lines, [(start, None), (start + LOG_PAUSE, Some(999)), (start + 2 * LOG_PAUSE, None)]);
    }
}
