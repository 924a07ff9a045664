// SPDX-License-Identifier: GPL-2.0-or-later
//! Geo-coordinates (RFC 8060, section 4.3).

use std::fmt;

use crate::error::{DecodeError, EncodeError, Problem};
use crate::reader::Reader;
use crate::writer::Writer;

/// N or E: north of the equator, east of the prime meridian.
const POSITIVE: u16 = 0x8000;
/// Degrees: the other 15 bits.
const DEGREES: u16 = 0x7fff;
/// Altitude that says that there is none.
const NO_ALTITUDE: i32 = i32::MAX;

/// A place in WGS 84.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct GeoCoordinates {
    /// Positive is north; 0 to 90 degrees.
    pub latitude: Angle,
    /// Positive is east; 0 to 180 degrees.
    pub longitude: Angle,
    /// Metres above sea level.
    pub altitude: Option<i32>,
}

/// Degrees, minutes and seconds of arc on one side of a zero line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Angle {
    /// North or east.
    pub positive: bool,
    /// Degrees, up to 90 or 180.
    pub degrees: u16,
    /// Minutes, 0 to 59.
    pub minutes: u8,
    /// Seconds, 0 to 59.
    pub seconds: u8,
}

impl GeoCoordinates {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let latitude = Angle::read("Latitude", reader, 90)?;
        let longitude = Angle::read("Longitude", reader, 180)?;
        let altitude = reader.array("Altitude").map(i32::from_be_bytes)?;
        Ok(Self { latitude, longitude, altitude: (altitude != NO_ALTITUDE).then_some(altitude) })
    }

    pub(super) fn write(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        self.latitude.write("Latitude", writer, 90)?;
        self.longitude.write("Longitude", writer, 180)?;
        if self.altitude == Some(NO_ALTITUDE) {
            return Err(EncodeError { field: "Altitude", count: 0x7fff_ffff, limit: 0x7fff_fffe });
        }
        writer.put(&self.altitude.unwrap_or(NO_ALTITUDE).to_be_bytes());
        Ok(())
    }
}

impl Angle {
    fn read(field: &'static str, reader: &mut Reader<'_>, most: u16) -> Result<Self, DecodeError> {
        let word = reader.u16(field)?;
        let [minutes, seconds] = reader.array(field)?;
        let angle = Self { positive: word & POSITIVE != 0, degrees: word & DEGREES, minutes, seconds };
        match angle.out_of_range(most) {
            None => Ok(angle),
            Some((value, _)) => Err(reader.error_behind(field, 4, Problem::Value(value.into()))),
        }
    }

    fn write(&self, field: &'static str, writer: &mut Writer, most: u16) -> Result<(), EncodeError> {
        if let Some((value, limit)) = self.out_of_range(most) {
            return Err(EncodeError { field, count: value.into(), limit: limit.into() });
        }
        writer.u16(self.degrees | if self.positive { POSITIVE } else { 0 });
        writer.put(&[self.minutes, self.seconds]);
        Ok(())
    }

    /// The first part that is too large, and its limit.
    fn out_of_range(&self, most: u16) -> Option<(u16, u16)> {
        [(self.degrees, most), (self.minutes.into(), 59), (self.seconds.into(), 59)]
            .into_iter()
            .find(|(value, limit)| value > limit)
    }
}

impl fmt::Display for GeoCoordinates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |angle: &Angle, positive, negative| if angle.positive { positive } else { negative };
        write!(f, "{} {}", self.latitude, side(&self.latitude, 'N', 'S'))?;
        write!(f, " {} {}", self.longitude, side(&self.longitude, 'E', 'W'))?;
        self.altitude.map_or(Ok(()), |metres| write!(f, " {metres} m"))
    }
}

impl fmt::Display for Angle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}d{:02}m{:02}s", self.degrees, self.minutes, self.seconds)
    }
}
