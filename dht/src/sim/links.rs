// SPDX-License-Identifier: GPL-2.0-or-later
//! The network between the nodes: how long messages take, which are lost, and where it is cut.

use std::time::Duration;

use super::dice::Dice;
use super::limits;

/// What the network does to messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Links {
    /// Whether the two sides are parted.
    pub(super) cut: bool,
    /// Messages lost, in thousandths.
    loss: usize,
    /// Shortest time of a message, and most that chance adds to it.
    least: Duration,
    spread: Duration,
}

impl Links {
    /// Those of a wide network.
    pub(super) fn new() -> Self {
        Self { cut: false, loss: limits::LOSS, least: limits::LATENCY_LEAST, spread: limits::LATENCY_SPREAD }
    }

    /// Those of a bench: all the same, and nothing is lost.
    pub(super) fn even() -> Self {
        Self { cut: false, loss: 0, least: limits::LATENCY_EVEN, spread: Duration::ZERO }
    }

    /// How long a message takes. QUIC sends a lost one again: loss costs time.
    pub(super) fn travel(self, dice: &mut Dice) -> Duration {
        // The product of two throws: most are short, few are long.
        let longest = dice.within(self.spread);
        let mut time = self.least + dice.within(longest);
        let mut pause = limits::RETRANSMISSION;
        for _ in 0..limits::RETRANSMISSIONS {
            if !dice.chance(self.loss) {
                break;
            }
            time += pause;
            pause *= 2;
        }
        time
    }

    /// Whether nodes on these sides can speak with each other.
    pub(super) fn join(self, one: bool, other: bool) -> bool {
        !self.cut || one == other
    }
}
