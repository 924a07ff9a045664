// SPDX-License-Identifier: GPL-2.0-or-later
//! What the xTRs of one EID-prefix registered, by xTR-ID. Mostly it is one: that lies beside the prefix, and an answer needs no
//! further look into memory for it.

use super::registration::Part;

/// The parts.
#[derive(Debug, Clone, Default)]
pub(super) enum Parts {
    #[default]
    None,
    One(Part),
    Many(Vec<Part>),
}

impl Parts {
    pub(super) fn as_slice(&self) -> &[Part] {
        match self {
            Self::None => &[],
            Self::One(part) => std::slice::from_ref(part),
            Self::Many(parts) => parts,
        }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [Part] {
        match self {
            Self::None => &mut [],
            Self::One(part) => std::slice::from_mut(part),
            Self::Many(parts) => parts,
        }
    }

    /// Puts one before that of a place.
    pub(super) fn insert(&mut self, place: usize, part: Part) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(part),
            Self::One(first) => Self::Many(if place == 0 { vec![part, first] } else { vec![first, part] }),
            Self::Many(mut parts) => {
                // No more is allocated than there are.
                parts.reserve_exact(1);
                parts.insert(place, part);
                Self::Many(parts)
            }
        };
    }

    /// Keeps those that `stays`.
    pub(super) fn retain(&mut self, stays: impl Fn(&Part) -> bool) {
        *self = match std::mem::take(self) {
            Self::One(part) if stays(&part) => Self::One(part),
            Self::Many(mut parts) => {
                parts.retain(stays);
                match parts.len() {
                    0 | 1 => parts.pop().map_or(Self::None, Self::One),
                    _ => Self::Many(parts),
                }
            }
            Self::None | Self::One(_) => Self::None,
        };
    }
}
