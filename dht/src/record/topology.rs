// SPDX-License-Identifier: GPL-2.0-or-later
//! TOPOLOGY: who the writer's neighbours are, and, if it says so, where it is.
//!
//! What one end says about a link counts for nothing until the other end says it too: see [`crate::geo::mutual_links`].
//!
//! ```text
//! TLV 0301, a neighbour:
//! +----------------------------------------------------------------
//! |  CN of the neighbour, 12 octets ...
//! +---------------+-------------------------------+---------------+
//! |    medium     |            metric             |  loss ..      |
//! +---------------+-------------------------------+---------------+
//! |  .. 0.01 %    |          rate in kbit/s, 4 ..                 |
//! +---------------+-----------------------------------------------+
//! |  ..           |
//! +---------------+
//!
//! TLV 0302, where the writer is:
//! +---------------------------------------------------------------+
//! |        latitude in 1e-7 degree, two's complement              |
//! +---------------------------------------------------------------+
//! |        longitude in 1e-7 degree, two's complement             |
//! +---------------------------------------------------------------+
//! |        altitude in cm, two's complement; 80000000: not known  |
//! +---------------------------------------------------------------+
//! |        error in cm                                            |
//! +---------------+-----------------------------------------------+
//! |    source     |
//! +---------------+
//!
//! TLV 0303, a terminal:
//! +---------------+---------------+--------------------------------
//! |    number     |    medium     |  latitude, longitude, altitude, error as above, 16 ...
//! +---------------+---------------+-------------------------------+
//! |          frequency in kHz, 8; 0: not said                     |
//! |                                                               |
//! +-------------------------------+-------------------------------+
//! |      azimuth in 0.01 degree   |     elevation in 0.01 degree  |
//! +-------------------------------+-------------------------------+
//! |      reach in 0.01 degree     |
//! +-------------------------------+
//! ```
//! One neighbour is named once for each medium; a terminal's number is its own.

use std::collections::BTreeMap;

use cgeid::Cn;
use wire::EncodeError;

use super::mapping::once;
use super::reader::Reader;
use super::tlv::Tlv;
use crate::error::Malformed;
use crate::geo::Position;
use crate::limits;

/// TLV types of TOPOLOGY.
mod kind {
    pub(super) const NEIGHBOUR: u16 = 0x0301;
    pub(super) const GEO: u16 = 0x0302;
    pub(super) const TERMINAL: u16 = 0x0303;
}

/// Altitude that stands for one that is not known.
const NO_ALTITUDE: i32 = i32::MIN;
/// Largest metric: one more is Babel's infinity (RFC 8966, section 2), and who cannot be reached is no neighbour.
const METRIC_MAX: u16 = u16::MAX - 1;

/// What a link goes through. Numbers that are not known here are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Medium(pub u8);

impl Medium {
    /// Not said.
    pub const UNKNOWN: Self = Self(0);
    /// Copper.
    pub const WIRE: Self = Self(1);
    /// Glass fibre.
    pub const FIBRE: Self = Self(2);
    /// Radio waves.
    pub const RADIO: Self = Self(3);
    /// Light through the air or through space.
    pub const LASER: Self = Self(4);
    /// A tunnel through another network.
    pub const TUNNEL: Self = Self(5);
}

/// Share of the packets that are lost, in hundredths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Loss(pub u16);

impl Loss {
    /// All are lost.
    pub const ALL: Self = Self(10_000);
}

/// A rate in kbit/s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Rate(pub u32);

/// A length in cm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Centimetres(pub u32);

/// A neighbour, and what the link to it goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Neighbour {
    /// Who.
    pub cn: Cn,
    /// By what.
    pub medium: Medium,
}

/// How good a link is, as one end sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Quality {
    /// Cost as the routing protocol counts it: lower is better, at most 65534.
    pub metric: u16,
    /// Loss, at most [`Loss::ALL`].
    pub loss: Loss,
    /// Rate; 0: not known.
    pub rate: Rate,
}

impl Quality {
    /// What can be relied on when two ends see a link differently.
    pub fn worse(self, other: Self) -> Self {
        let rate = match (self.rate, other.rate) {
            (Rate(0), known) | (known, Rate(0)) => known,
            (one, other) => one.min(other),
        };
        Self { metric: self.metric.max(other.metric), loss: self.loss.max(other.loss), rate }
    }
}

/// How a position came to be known. Numbers that are not known here are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Source(pub u8);

impl Source {
    /// Not said.
    pub const UNKNOWN: Self = Self(0);
    /// Written down by a person.
    pub const CONFIGURED: Self = Self(1);
    /// A satellite receiver.
    pub const GNSS: Self = Self(2);
}

/// Where the writer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Geo {
    /// The place.
    pub position: Position,
    /// How far from it the writer may be.
    pub error: Centimetres,
    /// How it is known.
    pub source: Source,
}

/// Which way a terminal looks, and how far it can turn from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pointing {
    azimuth: u16,
    elevation: i16,
    reach: u16,
}

impl Pointing {
    /// In every direction.
    pub const ANYWHERE: Self = Self { azimuth: 0, elevation: 0, reach: Self::REACH_MAX };

    const AZIMUTHS: u16 = 36_000;
    const ELEVATION_MAX: i16 = 9000;
    const REACH_MAX: u16 = 18_000;

    /// A direction and the angle round it that the terminal covers or can turn to, all in hundredths of a degree: azimuth from
    /// north by east below 360 degrees, elevation from -90 to 90, reach up to 180. `None` beyond that. Straight up or down has
    /// the azimuth 0, and what reaches 180 degrees is [`Pointing::ANYWHERE`].
    pub fn new(azimuth: u16, elevation: i16, reach: u16) -> Option<Self> {
        let range = -Self::ELEVATION_MAX..=Self::ELEVATION_MAX;
        if azimuth >= Self::AZIMUTHS || !range.contains(&elevation) || reach > Self::REACH_MAX {
            return None;
        }
        let upright = elevation.unsigned_abs() == Self::ELEVATION_MAX.unsigned_abs();
        match reach {
            Self::REACH_MAX => Some(Self::ANYWHERE),
            _ => Some(Self { azimuth: if upright { 0 } else { azimuth }, elevation, reach }),
        }
    }

    /// Azimuth in hundredths of a degree.
    pub fn azimuth(&self) -> u16 {
        self.azimuth
    }

    /// Elevation in hundredths of a degree.
    pub fn elevation(&self) -> i16 {
        self.elevation
    }

    /// Reach in hundredths of a degree.
    pub fn reach(&self) -> u16 {
        self.reach
    }

    /// Whether a direction lies within reach; azimuth and elevation in degrees.
    pub fn covers(&self, azimuth: f64, elevation: f64) -> bool {
        let radians = |hundredths: f64| (hundredths / 100.0).to_radians();
        let (own, other) = (radians(f64::from(self.elevation)), elevation.to_radians());
        let apart = azimuth.to_radians() - radians(f64::from(self.azimuth));
        let cosine = own.sin() * other.sin() + own.cos() * other.cos() * apart.cos();
        // Rounding must not make a terminal that looks straight at something miss it.
        cosine.clamp(-1.0, 1.0).acos() <= radians(f64::from(self.reach)) + 1e-7
    }
}

/// A device that has to be pointed at: an antenna, a laser head. Its place is exact, because a beam is narrow: whoever
/// publishes a terminal tells where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Terminal {
    /// What it sends through.
    pub medium: Medium,
    /// Where it is.
    pub position: Position,
    /// How far from there it may be.
    pub error: Centimetres,
    /// Its carrier, in kHz; 0: not said.
    pub frequency: u64,
    /// Which way it looks.
    pub pointing: Pointing,
}

/// The body of a TOPOLOGY section.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Topology {
    /// Neighbours, each once for each medium: TLV 0301.
    pub neighbours: BTreeMap<Neighbour, Quality>,
    /// Where the writer is: TLV 0302.
    pub geo: Option<Geo>,
    /// Terminals by number: TLV 0303.
    pub terminals: BTreeMap<u8, Terminal>,
    /// Elements that are not known here, kept as they are.
    pub unknown: Vec<Tlv>,
}

impl Topology {
    /// The media by which a neighbour is named, and how good each is.
    pub fn links_to(&self, cn: Cn) -> impl Iterator<Item = (Medium, Quality)> {
        let (first, last) = (Neighbour { cn, medium: Medium(0) }, Neighbour { cn, medium: Medium(u8::MAX) });
        self.neighbours.range(first..=last).map(|(neighbour, quality)| (neighbour.medium, *quality))
    }

    pub(crate) fn tlvs(&self) -> Result<Vec<Tlv>, EncodeError> {
        let bound = |field, count, limit| if count > limit { Err(EncodeError { field, count, limit }) } else { Ok(()) };
        bound("neighbours", self.neighbours.len(), limits::NEIGHBOURS)?;
        bound("terminals", self.terminals.len(), limits::TERMINALS)?;
        let mut tlvs = self.unknown.clone();
        for (neighbour, quality) in &self.neighbours {
            bound("metric", quality.metric.into(), METRIC_MAX.into())?;
            bound("loss", quality.loss.0.into(), Loss::ALL.0.into())?;
            tlvs.push(Tlv::new(kind::NEIGHBOUR, encode_neighbour(neighbour, quality)));
        }
        if let Some(geo) = &self.geo {
            let mut value = encode_place(&geo.position, geo.error);
            value.push(geo.source.0);
            tlvs.push(Tlv::new(kind::GEO, value));
        }
        tlvs.extend(self.terminals.iter().map(|(number, one)| Tlv::new(kind::TERMINAL, encode_terminal(*number, one))));
        Ok(tlvs)
    }

    pub(crate) fn from_tlvs(tlvs: Vec<Tlv>) -> Result<Self, Malformed> {
        let mut topology = Self::default();
        for tlv in tlvs {
            let mut reader = Reader(&tlv.value);
            match tlv.kind {
                kind::NEIGHBOUR => {
                    let (neighbour, quality) = decode_neighbour(&mut reader)?;
                    if topology.neighbours.insert(neighbour, quality).is_some() {
                        return Err(Malformed::TooMany("neighbour"));
                    }
                }
                kind::GEO => {
                    let (position, error) = decode_place(&mut reader)?;
                    let source = Source(reader.u8("position")?);
                    once(&mut topology.geo, "position", Geo { position, error, source })?;
                }
                kind::TERMINAL => {
                    let number = reader.u8("terminal")?;
                    if topology.terminals.insert(number, decode_terminal(&mut reader)?).is_some() {
                        return Err(Malformed::TooMany("terminal"));
                    }
                }
                _ => {
                    topology.unknown.push(tlv.kept()?);
                    continue;
                }
            }
            reader.finish("element of TOPOLOGY")?;
        }
        if topology.neighbours.len() > limits::NEIGHBOURS {
            return Err(Malformed::TooMany("neighbour"));
        }
        if topology.terminals.len() > limits::TERMINALS {
            return Err(Malformed::TooMany("terminal"));
        }
        Ok(topology)
    }
}

fn encode_neighbour(neighbour: &Neighbour, quality: &Quality) -> Vec<u8> {
    let mut out = neighbour.cn.0.to_vec();
    out.push(neighbour.medium.0);
    out.extend_from_slice(&quality.metric.to_be_bytes());
    out.extend_from_slice(&quality.loss.0.to_be_bytes());
    out.extend_from_slice(&quality.rate.0.to_be_bytes());
    out
}

fn decode_neighbour(reader: &mut Reader<'_>) -> Result<(Neighbour, Quality), Malformed> {
    const FIELD: &str = "neighbour";
    let neighbour = Neighbour { cn: Cn(reader.array(FIELD)?), medium: Medium(reader.u8(FIELD)?) };
    let (metric, loss, rate) = (reader.u16(FIELD)?, Loss(reader.u16(FIELD)?), Rate(reader.u32(FIELD)?));
    if metric > METRIC_MAX {
        return Err(Malformed::Value("metric", metric.into()));
    }
    if loss > Loss::ALL {
        return Err(Malformed::Value("loss", loss.0.into()));
    }
    Ok((neighbour, Quality { metric, loss, rate }))
}

fn encode_place(position: &Position, error: Centimetres) -> Vec<u8> {
    let mut out = position.latitude().to_be_bytes().to_vec();
    out.extend_from_slice(&position.longitude().to_be_bytes());
    out.extend_from_slice(&position.altitude().unwrap_or(NO_ALTITUDE).to_be_bytes());
    out.extend_from_slice(&error.0.to_be_bytes());
    out
}

fn decode_place(reader: &mut Reader<'_>) -> Result<(Position, Centimetres), Malformed> {
    const FIELD: &str = "position";
    let mut number = || reader.array(FIELD).map(i32::from_be_bytes);
    let (latitude, longitude, altitude) = (number()?, number()?, number()?);
    let altitude = (altitude != NO_ALTITUDE).then_some(altitude);
    let wrong = Malformed::Value(FIELD, u64::from(latitude.unsigned_abs().max(longitude.unsigned_abs())));
    let position = Position::new(latitude, longitude, altitude).ok_or(wrong)?;
    Ok((position, Centimetres(reader.u32(FIELD)?)))
}

fn encode_terminal(number: u8, terminal: &Terminal) -> Vec<u8> {
    let mut out = vec![number, terminal.medium.0];
    out.extend(encode_place(&terminal.position, terminal.error));
    out.extend_from_slice(&terminal.frequency.to_be_bytes());
    out.extend_from_slice(&terminal.pointing.azimuth.to_be_bytes());
    out.extend_from_slice(&terminal.pointing.elevation.to_be_bytes());
    out.extend_from_slice(&terminal.pointing.reach.to_be_bytes());
    out
}

fn decode_terminal(reader: &mut Reader<'_>) -> Result<Terminal, Malformed> {
    const FIELD: &str = "terminal";
    let medium = Medium(reader.u8(FIELD)?);
    let (position, error) = decode_place(reader)?;
    let frequency = reader.u64(FIELD)?;
    let (azimuth, elevation) = (reader.u16(FIELD)?, reader.array(FIELD).map(i16::from_be_bytes)?);
    let pointing = Pointing::new(azimuth, elevation, reader.u16(FIELD)?);
    let pointing = pointing.ok_or(Malformed::Value("terminal direction", azimuth.into()))?;
    Ok(Terminal { medium, position, error, frequency, pointing })
}
