// SPDX-License-Identifier: GPL-2.0-or-later
//! Places on the earth (WGS84): where a node or a terminal is, how little of it is told, in which direction another lies, and
//! which links count.
//!
//! A position is told only if its owner asks for it, and then the centre of a [`Cell`], unless the owner wants more.

mod blur;
mod links;
mod look;

pub use blur::{Cell, DEFAULT_BLUR};
pub use links::{MutualLink, mutual_links};
pub use look::{Look, look};

/// Units of a degree in which latitude and longitude are told: 1e-7 of it, at most 1.1 cm on the ground.
const PER_DEGREE: f64 = 1e7;
/// Latitude of the north pole.
const POLE: i32 = 900_000_000;
/// Longitude of the antimeridian; written as its negative.
const ANTIMERIDIAN: i32 = 1_800_000_000;

/// A place, WGS84; each has one value: longitudes run from -180 up to but not including 180 degrees, that of a pole is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    latitude: i32,
    longitude: i32,
    altitude: Option<i32>,
}

impl Position {
    /// The place of a latitude and a longitude in 1e-7 degree and an altitude above the ellipsoid in cm, if that is known.
    /// `None` if there is none: beyond a pole, farther round than once, or at `i32::MIN` cm, which stands for not known.
    pub fn new(latitude: i32, longitude: i32, altitude: Option<i32>) -> Option<Self> {
        let exists = (-POLE..=POLE).contains(&latitude)
            && (-ANTIMERIDIAN..=ANTIMERIDIAN).contains(&longitude)
            && altitude != Some(i32::MIN);
        let longitude = match longitude {
            _ if latitude.abs() == POLE => 0,
            ANTIMERIDIAN => -ANTIMERIDIAN,
            other => other,
        };
        exists.then_some(Self { latitude, longitude, altitude })
    }

    /// [`Position::new`] of degrees and metres, rounded.
    pub fn from_degrees(latitude: f64, longitude: f64, altitude: Option<f64>) -> Option<Self> {
        let altitude = match altitude {
            Some(metres) => Some(whole(metres * 100.0)?),
            None => None,
        };
        Self::new(whole(latitude * PER_DEGREE)?, whole(longitude * PER_DEGREE)?, altitude)
    }

    /// Latitude in 1e-7 degree, north is positive.
    pub fn latitude(&self) -> i32 {
        self.latitude
    }

    /// Longitude in 1e-7 degree, east is positive.
    pub fn longitude(&self) -> i32 {
        self.longitude
    }

    /// Altitude above the ellipsoid in cm, if it is known.
    pub fn altitude(&self) -> Option<i32> {
        self.altitude
    }

    /// Latitude and longitude in degrees.
    pub fn degrees(&self) -> (f64, f64) {
        (f64::from(self.latitude) / PER_DEGREE, f64::from(self.longitude) / PER_DEGREE)
    }

    /// Altitude in metres, if it is known.
    pub fn metres(&self) -> Option<f64> {
        self.altitude.map(|cm| f64::from(cm) / 100.0)
    }
}

/// The nearest whole number, if it fits.
fn whole(value: f64) -> Option<i32> {
    let rounded = value.round();
    let fits = rounded >= f64::from(i32::MIN) && rounded <= f64::from(i32::MAX);
    // A number of this range without a fraction: the conversion changes nothing.
    #[allow(clippy::cast_possible_truncation)]
    fits.then_some(rounded as i32)
}

#[cfg(test)]
mod tests {
    use super::Position;

    #[test]
    fn a_place_has_one_value() {
        let at = |latitude, longitude| Position::new(latitude, longitude, None);
        assert_eq!(at(0, 1_800_000_000), at(0, -1_800_000_000));
        assert_eq!(at(900_000_000, 7), at(900_000_000, 0));
        assert_eq!(at(900_000_001, 0), None);
        assert_eq!(at(0, 1_800_000_001), None);
        assert_eq!(Position::new(0, 0, Some(i32::MIN)), None);
    }

    #[test]
    fn degrees_are_rounded_and_what_is_none_is_refused() {
        let berlin = Position::from_degrees(52.520_008_04, -13.404_954, Some(34.567));
        assert_eq!(berlin, Position::new(525_200_080, -134_049_540, Some(3457)));
        for bad in [f64::NAN, f64::INFINITY, -91.0, 1e300] {
            assert_eq!(Position::from_degrees(bad, 0.0, None), None);
            assert_eq!(Position::from_degrees(0.0, bad * 3.0, None), None);
        }
        assert_eq!(Position::from_degrees(0.0, 0.0, Some(f64::NAN)), None);
    }
}
