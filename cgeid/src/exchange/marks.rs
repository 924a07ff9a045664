// SPDX-License-Identifier: GPL-2.0-or-later
//! How many corner marks of QR codes a picture seems to have, in time that is linear in its pixels.
//!
//! The library that reads the codes matches all its marks with each other. This counts by its rules, so that nothing
//! passes here that is a mark there: in a line dark and light runs of 1:1:3:1:1, of which the outer ones belong to one
//! dark area and the middle one to another, with the ratio of areas that a mark has, roughly.

use std::collections::BTreeSet;

/// The dark areas of a picture.
struct Areas {
    /// The area of each pixel, row by row; light has number 0.
    numbers: Vec<u32>,
    /// Pixels of each area.
    sizes: Vec<usize>,
}

impl Areas {
    /// Pixels touch by their edges.
    fn of(width: usize, dark: &[bool]) -> Areas {
        let mut areas = Areas { numbers: vec![0; dark.len()], sizes: vec![0] };
        let mut rest = Vec::new();
        for start in 0..dark.len() {
            if !dark[start] || areas.numbers[start] != 0 {
                continue;
            }
            let number = u32::try_from(areas.sizes.len()).unwrap_or(u32::MAX);
            let mut size = 0;
            areas.numbers[start] = number;
            rest.push(start);
            while let Some(at) = rest.pop() {
                size += 1;
                for next in neighbours(at, width, dark.len()).into_iter().flatten() {
                    if dark[next] && areas.numbers[next] == 0 {
                        areas.numbers[next] = number;
                        rest.push(next);
                    }
                }
            }
            areas.sizes.push(size);
        }
        areas
    }

    /// The area that is the ring of a mark, if five runs that end at `end` go through one.
    fn ring(&self, runs: [usize; 5], end: usize) -> Option<u32> {
        let right = end - runs[4];
        let stone = right - runs[3] - runs[2];
        let left = stone - runs[1] - runs[0];
        let [left, stone, right] = [left, stone, right].map(|at| self.numbers[at]);
        let size = |area: u32| self.sizes.get(area as usize).copied().unwrap_or(0);
        let ratio = size(stone) * 100 / size(right).max(1);
        (left == right && stone != right && (11..70).contains(&ratio)).then_some(right)
    }
}

fn neighbours(at: usize, width: usize, pixels: usize) -> [Option<usize>; 4] {
    let column = at % width;
    [
        (column > 0).then(|| at - 1),
        (column + 1 < width).then(|| at + 1),
        at.checked_sub(width),
        Some(at + width).filter(|below| *below < pixels),
    ]
}

/// Marks of a picture, of which `dark` tells the pixels row by row.
pub(super) fn count(width: usize, dark: &[bool]) -> usize {
    let areas = Areas::of(width, dark);
    let mut rings = BTreeSet::new();
    for (row, pixels) in dark.chunks_exact(width.max(1)).enumerate() {
        let mut runs = [0; 5];
        let mut end = row * width;
        for run in pixels.chunk_by(|one, next| one == next) {
            end += run.len();
            runs.rotate_left(1);
            runs[4] = run.len();
            if run[0] && runs[0] > 0 && is_mark(runs) {
                rings.extend(areas.ring(runs, end));
            }
        }
    }
    rings.len()
}

/// 1:1:3:1:1, with three quarters of a module for what a camera does to it.
fn is_mark(runs: [usize; 5]) -> bool {
    let module = (runs[0] + runs[1] + runs[3] + runs[4]) / 4;
    let error = module * 3 / 4;
    runs.iter().zip([1, 1, 3, 1, 1]).all(|(run, modules)| run.abs_diff(modules * module) <= error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mark of 7 x 7 modules in each cell of 10 x 10.
    fn is_dark(x: usize, y: usize) -> bool {
        let (x, y) = (x % 10, y % 10);
        x < 7 && y < 7 && x.abs_diff(3).max(y.abs_diff(3)) != 2
    }

    #[test]
    fn every_mark_counts_once() {
        for module in 1..4 {
            let (width, height) = (50 * module, 40 * module);
            let pixels = 0..width * height;
            let dark: Vec<_> = pixels.map(|at| is_dark(at % width / module, at / width / module)).collect();
            assert_eq!(count(width, &dark), 5 * 4);
        }
    }

    #[test]
    fn what_looks_like_a_mark_in_one_line_only_does_not_count() {
        let line = "# ### # # ### #".chars().map(|pixel| pixel == '#').collect::<Vec<_>>();
        assert_eq!(count(line.len(), &line), 0);
        assert_eq!(count(0, &[]), 0);
    }
}
