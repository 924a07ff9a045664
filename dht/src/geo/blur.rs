// SPDX-License-Identifier: GPL-2.0-or-later
//! How a position is told without telling it.
//!
//! Noise is no protection: it is different each time, and the mean of many publications is the place. A noise that is drawn
//! from a secret once is no better here: operational keys change every month, and a node has several names. So nothing is
//! drawn. The earth is divided into cells, the same ones for everybody, and all that is told is the centre of the one in
//! which the node is: everything in a cell says the same, however often, under whichever name, and readers learn no more
//! from a thousand publications than from one. Cells of half the size divide the larger ones, so that a change of the
//! setting tells no more than the finer of the two.
//!
//! A receiver that wavers round the edge of a cell would tell that it is there; so a node stays in its cell until it is
//! half a cell beyond ([`Cell::held`]). Altitude is left out: on a slope it would tell where in the cell.

use super::{ANTIMERIDIAN, POLE, Position};
use crate::record::Centimetres;

/// The least by which positions are blurred unless their owner asks for more, or for none: a block of houses.
pub const DEFAULT_BLUR: Centimetres = Centimetres(10_000);

/// Cells are at least so many times as high and wide as the blur: of a square with this edge in which every place is equally
/// likely, the mean square distance from the best guess, its centre, is the blur or more (edge / √6).
const EDGE: f64 = 2.5;
/// Halvings of the way from pole to pole of the smallest cells: about 19 m.
const LEVELS: u8 = 20;
/// Metres in a degree of latitude, where it is shortest and where it is longest.
const DEGREE_OF_LATITUDE: [f64; 2] = [110_574.0, 111_694.0];
/// Metres in a degree of longitude at the equator.
const DEGREE_OF_LONGITUDE: f64 = 111_320.0;

/// A part of the earth's surface, about square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cell {
    /// There are 2^this rows between the poles ...
    level: u8,
    /// ... of which this one counts from the south ...
    row: u32,
    /// ... and 2^this columns in that row ...
    splits: u8,
    /// ... of which this one counts from the antimeridian by east.
    column: u32,
}

impl Cell {
    /// The cell that a place is in, large enough for this blur.
    pub fn of(position: &Position, blur: Centimetres) -> Self {
        let level = level(blur);
        let row = part(along(position.latitude(), POLE), 2 * i64::from(POLE), level);
        let splits = splits(level, row);
        let column = part(along(position.longitude(), ANTIMERIDIAN), 2 * i64::from(ANTIMERIDIAN), splits);
        Self { level, row, splits, column }
    }

    /// The cell of a node that has told `last` before: the same one until the node is half a cell beyond its edge.
    pub fn held(last: &Position, position: &Position, blur: Centimetres) -> Self {
        let cell = Self::of(last, blur);
        if cell.is_near(position) { cell } else { Self::of(position, blur) }
    }

    /// What is told.
    pub fn centre(&self) -> Position {
        let latitude = middle(self.row, 2 * i64::from(POLE), self.level) - i64::from(POLE);
        let longitude = middle(self.column, 2 * i64::from(ANTIMERIDIAN), self.splits) - i64::from(ANTIMERIDIAN);
        let fit = |value: i64| i32::try_from(value).unwrap_or_default();
        Position::new(fit(latitude), fit(longitude), None).unwrap_or(Position {
            latitude: 0,
            longitude: 0,
            altitude: None,
        })
    }

    /// How far from the centre a node may be that tells it, whether it moves or not.
    pub fn error(&self) -> Centimetres {
        let rows = f64::from(1u32 << self.level);
        let near = nearest_edge(self.level, self.row);
        let high = 180.0 / rows * DEGREE_OF_LATITUDE[1];
        let wide = 360.0 / f64::from(1u32 << self.splits) * DEGREE_OF_LONGITUDE * near.to_radians().cos();
        let centimetres = (high.hypot(wide) * 100.0).ceil().min(f64::from(u32::MAX));
        // Rounded up, not negative, and no more than fits.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Centimetres(centimetres as u32)
    }

    /// Whether a place is in the cell or at most half a cell beyond.
    fn is_near(&self, position: &Position) -> bool {
        let cells = |offset: i64, whole: i64, splits: u8, index: u32| {
            // Twice the distance from the middle, in cells; the earth is round, but from pole to pole.
            let doubled = (i128::from(offset) << (splits + 1)) - i128::from(whole) * (2 * i128::from(index) + 1);
            (doubled.unsigned_abs(), u128::from(whole.unsigned_abs()))
        };
        let (apart, whole) = cells(along(position.latitude(), POLE), 2 * i64::from(POLE), self.level, self.row);
        if apart > 2 * whole {
            return false;
        }
        let round = 2 * i64::from(ANTIMERIDIAN);
        let (apart, whole) = cells(along(position.longitude(), ANTIMERIDIAN), round, self.splits, self.column);
        let circle = whole << (self.splits + 1);
        apart.min(circle.saturating_sub(apart)) <= 2 * whole
    }
}

/// The most halvings that leave cells high enough.
fn level(blur: Centimetres) -> u8 {
    let edge = f64::from(blur.0) / 100.0 * EDGE;
    let high = |level: &u8| 180.0 / f64::from(1u32 << level) * DEGREE_OF_LATITUDE[0] >= edge;
    (0..=LEVELS).rev().find(high).unwrap_or(0)
}

/// The most halvings of the circle of latitude that leave the cells of a row as wide as they are high, all over. A larger
/// row halves it less often, so that its cells consist of whole smaller ones.
fn splits(level: u8, row: u32) -> u8 {
    let high = 180.0 / f64::from(1u32 << level) * DEGREE_OF_LATITUDE[0];
    let circle = 360.0 * DEGREE_OF_LONGITUDE * farthest_edge(level, row).to_radians().cos();
    let wide = |splits: &u8| circle / f64::from(1u32 << splits) >= high;
    (0..=LEVELS + 1).rev().find(wide).unwrap_or(0)
}

/// Latitudes of a row's edges, in degrees north.
fn edges(level: u8, row: u32) -> [f64; 2] {
    [row, row + 1].map(|edge| 180.0 * f64::from(edge) / f64::from(1u32 << level) - 90.0)
}

/// Degrees from the equator at which a row is narrowest.
fn farthest_edge(level: u8, row: u32) -> f64 {
    let [south, north] = edges(level, row);
    south.abs().max(north.abs()).min(90.0)
}

/// Degrees from the equator at which a row is widest.
fn nearest_edge(level: u8, row: u32) -> f64 {
    let [south, north] = edges(level, row);
    if south < 0.0 && north > 0.0 { 0.0 } else { south.abs().min(north.abs()) }
}

/// Distance from the lower end of a scale that reaches as far to the other side of 0.
fn along(value: i32, end: i32) -> i64 {
    i64::from(value) + i64::from(end)
}

/// Which of 2^splits equal parts of `whole` an offset lies in; its end belongs to the last one.
fn part(offset: i64, whole: i64, splits: u8) -> u32 {
    let index = (i128::from(offset) << splits) / i128::from(whole);
    u32::try_from(index).unwrap_or_default().min((1 << splits) - 1)
}

/// The middle of a part.
fn middle(index: u32, whole: i64, splits: u8) -> i64 {
    let doubled = i128::from(whole) * (2 * i128::from(index) + 1);
    i64::try_from(doubled >> (splits + 1)).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::super::look;
    use super::*;

    fn anywhere() -> impl Strategy<Value = Position> {
        (
            -900_000_000i32..=900_000_000,
            -1_800_000_000i32..1_800_000_000,
            proptest::option::of(-1_000_000i32..1_000_000),
        )
            .prop_map(|(latitude, longitude, altitude)| Position::new(latitude, longitude, altitude).unwrap())
    }

    fn any_blur() -> impl Strategy<Value = Centimetres> {
        prop_oneof![Just(DEFAULT_BLUR), (1000u32..100_000_000).prop_map(Centimetres)]
    }

    fn metres(one: &Position, other: &Position) -> f64 {
        let flat = |position: &Position| Position::new(position.latitude(), position.longitude(), None).unwrap();
        look(&flat(one), &flat(other)).range
    }

    proptest! {
        /// All that is told is the cell: the place in it does not matter, so nothing can be averaged.
        #[test]
        fn every_place_of_a_cell_tells_the_same(place in anywhere(), blur in any_blur()) {
            let cell = Cell::of(&place, blur);
            let told = cell.centre();
            prop_assert_eq!(Cell::of(&told, blur), cell);
            prop_assert_eq!(told.altitude(), None);
            prop_assert!(metres(&told, &place) <= f64::from(cell.error().0) / 100.0 + 1.0);
            // What was told is told again by whoever blurs it once more, also as one that moves.
            prop_assert_eq!(Cell::held(&told, &place, blur), cell);
            prop_assert_eq!(Cell::held(&told, &told, blur), cell);
        }

        /// From the middle, places at least one and a quarter times the blur away to all sides tell the same.
        #[test]
        fn a_cell_is_wide_enough(place in anywhere(), blur in any_blur(), east: bool, north: bool) {
            prop_assume!(place.latitude().abs() < 890_000_000 && blur.0 < 1_000_000);
            let cell = Cell::of(&place, blur);
            let middle = cell.centre();
            let (latitude, longitude) = middle.degrees();
            let step = f64::from(blur.0) / 100.0 * 1.24;
            let sign = |plus: bool| if plus { 1.0 } else { -1.0 };
            let up = latitude + sign(north) * step / DEGREE_OF_LATITUDE[1];
            let along = longitude + sign(east) * step / DEGREE_OF_LONGITUDE / up.to_radians().cos();
            for (latitude, longitude) in [(up, longitude), (latitude, along)] {
                let longitude = if longitude >= 180.0 { longitude - 360.0 } else if longitude < -180.0 { longitude + 360.0 } else { longitude };
                let other = Position::from_degrees(latitude, longitude, None).unwrap();
                prop_assert_eq!(Cell::of(&other, blur), cell);
            }
        }

        /// The cells of a larger blur consist of whole ones of a smaller.
        #[test]
        fn cells_nest(place in anywhere(), other in anywhere(), one in any_blur(), two in any_blur()) {
            let (small, large) = (one.min(two), one.max(two));
            let near = Cell::of(&place, small).centre();
            prop_assert_eq!(Cell::of(&near, large), Cell::of(&place, large));
            if Cell::of(&place, small) == Cell::of(&other, small) {
                prop_assert_eq!(Cell::of(&place, large), Cell::of(&other, large));
            }
        }

        /// A receiver that wavers by less than half a cell tells one thing.
        #[test]
        fn who_wavers_tells_one_cell(place in anywhere(), noise in proptest::collection::vec((-500i32..500, -500i32..500), 20)) {
            prop_assume!(place.latitude().abs() < 800_000_000 && place.longitude() > -1_700_000_000);
            let mut told = Cell::of(&place, DEFAULT_BLUR).centre();
            let first = told;
            for (north, east) in noise {
                let position = Position::new(place.latitude() + north * 10, place.longitude() + east * 10, None).unwrap();
                told = Cell::held(&told, &position, DEFAULT_BLUR).centre();
                prop_assert_eq!(told, first);
            }
        }
    }

    #[test]
    fn a_node_that_moves_away_is_told_where_it_is() {
        let at = |longitude| Position::from_degrees(52.52, longitude, None).unwrap();
        let first = Cell::of(&at(13.4), DEFAULT_BLUR);
        let moved = Cell::held(&first.centre(), &at(13.5), DEFAULT_BLUR);
        assert_eq!(moved, Cell::of(&at(13.5), DEFAULT_BLUR));
        assert_ne!(moved, first);
        // Round the antimeridian it is not far.
        let (east, west) = (at(179.999_9), at(-179.999_9));
        let cell = Cell::of(&east, DEFAULT_BLUR);
        assert_ne!(cell, Cell::of(&west, DEFAULT_BLUR));
        assert_eq!(Cell::held(&cell.centre(), &west, DEFAULT_BLUR), cell);
    }

    #[test]
    fn the_usual_cell_is_about_three_hundred_metres_high() {
        let cell = Cell::of(&Position::from_degrees(0.0, 0.0, None).unwrap(), DEFAULT_BLUR);
        assert_eq!((cell.level, cell.splits), (16, 17));
        let everything = Cell::of(&Position::from_degrees(1.0, 1.0, None).unwrap(), Centimetres(u32::MAX));
        assert_eq!(everything.level, 0);
        for latitude in [90.0, -90.0, 89.9999] {
            let pole = Cell::of(&Position::from_degrees(latitude, 5.0, None).unwrap(), DEFAULT_BLUR);
            assert_eq!(pole.splits, 0);
        }
    }
}
