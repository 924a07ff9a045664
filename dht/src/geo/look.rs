// SPDX-License-Identifier: GPL-2.0-or-later
//! In which direction one place lies from another, as the beam of a laser or an antenna has to go: straight, not along the
//! ground.

use super::Position;

/// Semi-major axis of WGS84 in metres.
const MAJOR: f64 = 6_378_137.0;
/// Flattening of WGS84.
const FLATTENING: f64 = 1.0 / 298.257_223_563;
/// Metres below which there is no direction: positions are told to the centimetre.
const NOTHING: f64 = 1e-6;

/// What an observer sees. East, north and up are those of the ellipsoid at the observer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// Degrees from north by east, from 0 up to but not including 360; `None` straight up or down.
    pub azimuth: Option<f64>,
    /// Degrees above the horizontal plane, from -90 to 90; `None` from a place to itself.
    pub elevation: Option<f64>,
    /// Metres.
    pub range: f64,
}

/// The direction from one place to another. An altitude that is not known counts as 0.
pub fn look(from: &Position, to: &Position) -> Look {
    let (here, there) = (cartesian(from), cartesian(to));
    let [x, y, z] = [there[0] - here[0], there[1] - here[1], there[2] - here[2]];
    let (latitude, longitude) = from.degrees();
    let (sin_lat, cos_lat) = latitude.to_radians().sin_cos();
    let (sin_lon, cos_lon) = longitude.to_radians().sin_cos();
    let outward = cos_lon * x + sin_lon * y;
    let east = cos_lon * y - sin_lon * x;
    let north = cos_lat * z - sin_lat * outward;
    let up = cos_lat * outward + sin_lat * z;
    let level = east.hypot(north);
    let range = level.hypot(up);
    Look {
        azimuth: (level > NOTHING).then(|| east.atan2(north).to_degrees().rem_euclid(360.0)).map(below_360),
        elevation: (range > NOTHING).then(|| up.atan2(level).to_degrees()),
        range,
    }
}

/// The remainder of a tiny negative angle is rounded up to the whole circle.
fn below_360(degrees: f64) -> f64 {
    if degrees < 360.0 { degrees } else { 0.0 }
}

/// Metres from the centre of the earth: through 0 N 0 E, through 0 N 90 E, through the north pole.
fn cartesian(position: &Position) -> [f64; 3] {
    let (latitude, longitude) = position.degrees();
    let altitude = position.metres().unwrap_or_default();
    let (sin_lat, cos_lat) = latitude.to_radians().sin_cos();
    let (sin_lon, cos_lon) = longitude.to_radians().sin_cos();
    let eccentricity = FLATTENING * (2.0 - FLATTENING);
    let normal = MAJOR / (1.0 - eccentricity * sin_lat * sin_lat).sqrt();
    let out = (normal + altitude) * cos_lat;
    [out * cos_lon, out * sin_lon, (normal * (1.0 - eccentricity) + altitude) * sin_lat]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(latitude: f64, longitude: f64, altitude: f64) -> Position {
        Position::from_degrees(latitude, longitude, Some(altitude)).unwrap()
    }

    #[test]
    fn the_main_directions_are_right() {
        let here = at(0.0, 0.0, 0.0);
        for (there, azimuth) in [(at(0.01, 0.0, 0.0), 0.0), (at(0.0, 0.01, 0.0), 90.0), (at(-0.01, 0.0, 0.0), 180.0)] {
            let seen = look(&here, &there);
            assert!((seen.azimuth.unwrap() - azimuth).abs() < 1e-6, "{seen:?}");
            // The earth curves away beneath the horizontal plane.
            assert!((-0.006..-0.004).contains(&seen.elevation.unwrap()), "{seen:?}");
        }
        let west = look(&here, &at(0.0, -0.01, 0.0));
        assert!((west.azimuth.unwrap() - 270.0).abs() < 1e-6);
        assert!((west.range - 1113.19).abs() < 0.01, "{west:?}");
    }

    #[test]
    fn where_there_is_no_direction_there_is_none() {
        let here = at(52.0, 13.0, 100.0);
        assert_eq!(look(&here, &here), Look { azimuth: None, elevation: None, range: 0.0 });
        let equator = at(0.0, 0.0, 0.0);
        let above = look(&equator, &at(0.0, 0.0, 500.0));
        assert_eq!((above.azimuth, above.elevation), (None, Some(90.0)));
        assert!((above.range - 500.0).abs() < 1e-6);
    }

    #[test]
    fn an_altitude_that_is_not_known_counts_as_none() {
        let (here, there) = (at(52.0, 13.0, 0.0), at(52.1, 13.1, 0.0));
        let flat = |position: Position| Position::new(position.latitude(), position.longitude(), None).unwrap();
        assert_eq!(look(&flat(here), &flat(there)), look(&here, &there));
    }
}
