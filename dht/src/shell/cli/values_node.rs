// SPDX-License-Identifier: GPL-2.0-or-later
//! What flags and settings say about a node itself: its SERVICE, its TOPOLOGY, its place.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, bail};
use cgeid::Network;

use super::describe_node::MEDIA;
use super::settings::Settings;
use super::values::{cgeid, split};
use crate::geo::{Cell, DEFAULT_BLUR, Position};
use crate::record::{
    Centimetres, Geo, Loss, Medium, Neighbour, Pointing, Pref64, Quality, Rate, Roles, Service, Source, Terminal,
    Topology,
};

/// Metric of a link of which nothing is said: what Babel counts for a wire (RFC 8966, appendix A).
const METRIC: u16 = 96;
/// Metres per second of light, for a wavelength.
const LIGHT: f64 = 299_792_458.0;

/// Name and value of the options of one flag.
type Options<'a> = Vec<(&'a str, Option<&'a str>)>;

/// What the settings say of SERVICE, if anything.
pub(super) fn service(settings: &Settings, network: Network) -> anyhow::Result<Option<Service>> {
    let mut service = Service::default();
    for text in &settings.service {
        let (place, roles) = address(text).with_context(|| format!("--service {text}"))?;
        let known = service.addresses.entry(place).or_default();
        *known = known.with(roles);
    }
    for text in &settings.alternate {
        service.alternates.insert(cgeid(text, network).with_context(|| format!("--alternate {text}"))?);
    }
    for text in &settings.pref64 {
        let net = text.parse().with_context(|| format!("--pref64 {text}: not an IPv6 prefix"))?;
        let Some(prefix) = Pref64::new(net).filter(|prefix| prefix.net() == net) else {
            bail!(
                "--pref64 {text}: has 32, 40, 48, 56, 64 or 96 bits, of which the ninth octet and all others are zero"
            );
        };
        service.pref64.insert(prefix);
    }
    if let Some(name) = &settings.ptr {
        service.ptr = Some(name.parse().with_context(|| format!("--ptr {name}"))?);
    }
    Ok((service != Service::default()).then_some(service))
}

/// What the settings say of TOPOLOGY, if anything. `last` is what was told of the position before.
pub(super) fn topology(
    settings: &Settings,
    network: Network,
    last: Option<&Position>,
) -> anyhow::Result<Option<Topology>> {
    let mut topology = Topology::default();
    for text in &settings.neighbour {
        let (one, quality) = neighbour(text, network).with_context(|| format!("--neighbour {text}"))?;
        if topology.neighbours.insert(one, quality).is_some() {
            bail!("--neighbour {text}: named twice with one medium");
        }
    }
    if let Some(text) = &settings.position {
        topology.geo = Some(geo(text, last).with_context(|| format!("--position {text}"))?);
    }
    for (index, text) in (1..).zip(&settings.terminal) {
        let (number, one) = terminal(text, index).with_context(|| format!("--terminal {text}"))?;
        if topology.terminals.insert(number, one).is_some() {
            bail!("--terminal {text}: a second one of number {number}");
        }
    }
    Ok((topology != Topology::default()).then_some(topology))
}

/// `ADDR[:PORT],ROLE,...`
fn address(text: &str) -> anyhow::Result<((IpAddr, u16), Roles)> {
    let (head, roles) = split(text);
    let place = match (head.parse::<SocketAddr>(), head.parse::<IpAddr>()) {
        (Ok(socket), _) => (socket.ip(), socket.port()),
        (_, Ok(address)) => (address, 0),
        _ => bail!("begins with ADDRESS or ADDRESS:PORT; IPv6 with a port in brackets"),
    };
    if place.0.is_unspecified() || place.0.is_multicast() {
        bail!("{} is nobody's address", place.0);
    }
    let words: Vec<&str> = Roles::NAMES.iter().map(|(word, _)| *word).collect();
    let mut all = Roles::default();
    for role in roles {
        match Roles::NAMES.iter().find(|(word, _)| (*word, None) == role) {
            Some((_, known)) => all = all.with(*known),
            None => bail!("{:?} is no role; there are {}", role.0, words.join(", ")),
        }
    }
    if all == Roles::default() {
        bail!("names no role: add one of {}", words.join(", "));
    }
    Ok((place, all))
}

/// `CGEID[,metric=N][,medium=M][,loss=PERCENT][,rate=KBIT]`
fn neighbour(text: &str, network: Network) -> anyhow::Result<(Neighbour, Quality)> {
    let (head, options) = split(text);
    let cn = cgeid(head, network)?;
    let (mut medium, mut quality) =
        (Medium::UNKNOWN, Quality { metric: METRIC, loss: Loss::default(), rate: Rate::default() });
    for (name, value) in options {
        let value = value.unwrap_or_default();
        match name {
            "metric" => quality.metric = value.parse().ok().filter(|metric| *metric < u16::MAX).context(METRICS)?,
            "medium" => medium = medium_of(value)?,
            "loss" => quality.loss = Loss(hundredths(value, 0.0, 100.0).context("loss is 0 to 100 percent")?),
            "rate" => quality.rate = Rate(value.parse().context("rate is a whole number of kbit/s")?),
            _ => bail!("{name:?} is not known; a neighbour has metric=N, medium=M, loss=PERCENT and rate=KBIT"),
        }
    }
    Ok((Neighbour { cn, medium }, quality))
}

const METRICS: &str = "metric is a number from 0 to 65534";

fn medium_of(word: &str) -> anyhow::Result<Medium> {
    match MEDIA.into_iter().find(|(known, _)| *known == word) {
        Some((_, medium)) => Ok(medium),
        None => bail!("{word:?} is no medium; there are {}", MEDIA.map(|(known, _)| known).join(", ")),
    }
}

/// `LAT,LON[,ALT]`: a place, told as it is.
pub(super) fn place(text: &str) -> anyhow::Result<Position> {
    let (position, options) = place_of(text)?;
    match options.first() {
        None => Ok(position),
        Some((name, _)) => bail!("{name:?} is more than latitude, longitude and altitude"),
    }
}

/// The numbers at the beginning, and what follows them.
fn place_of(text: &str) -> anyhow::Result<(Position, Options<'_>)> {
    let (head, options) = split(text);
    let numbers: Vec<f64> = std::iter::once(head)
        .chain(options.iter().take_while(|(_, value)| value.is_none()).map(|(number, _)| *number))
        .map_while(|number| number.trim().parse().ok())
        .collect();
    let (latitude, longitude, altitude) = match numbers[..] {
        [latitude, longitude] => (latitude, longitude, None),
        [latitude, longitude, altitude] => (latitude, longitude, Some(altitude)),
        _ => bail!("a place is LATITUDE,LONGITUDE in degrees, and perhaps ,ALTITUDE in metres"),
    };
    let position = Position::from_degrees(latitude, longitude, altitude);
    let position = position
        .context("latitude is from -90 to 90 degrees, longitude from -180 to 180, altitude less than 21,475 km")?;
    Ok((position, options.into_iter().skip(numbers.len() - 1).collect()))
}

/// `LAT,LON[,ALT][,blur=M][,error=M][,source=S]`
fn geo(text: &str, last: Option<&Position>) -> anyhow::Result<Geo> {
    let (position, options) = place_of(text)?;
    let (mut blur, mut error, mut source) = (DEFAULT_BLUR, Centimetres::default(), Source::CONFIGURED);
    for (name, value) in options {
        let value = value.unwrap_or_default();
        match (name, value) {
            ("blur", _) => blur = length(value).context("blur is a number of metres, 0 to tell the place as it is")?,
            ("error", _) => error = length(value).context("error is a number of metres")?,
            ("source", "gnss") => source = Source::GNSS,
            ("source", "configured") => source = Source::CONFIGURED,
            _ => bail!("{name:?} is not known; a position has blur=METRES, error=METRES and source=gnss or configured"),
        }
    }
    if blur == Centimetres(0) {
        return Ok(Geo { position, error, source });
    }
    let cell = last.map_or_else(|| Cell::of(&position, blur), |last| Cell::held(last, &position, blur));
    let error = Centimetres(cell.error().0.saturating_add(error.0));
    Ok(Geo { position: cell.centre(), error, source })
}

/// `LAT,LON,ALT,medium=M[,number=N][,error=M][,frequency=GHZ][,wavelength=NM][,azimuth=D][,elevation=D][,reach=D]`
fn terminal(text: &str, index: u8) -> anyhow::Result<(u8, Terminal)> {
    let (position, options) = place_of(text)?;
    if position.altitude().is_none() {
        bail!("an altitude is missing: a beam goes up or down too");
    }
    let (mut number, mut azimuth, mut elevation, mut reach) = (index, 0, 0, None);
    let mut terminal = Terminal {
        medium: Medium::UNKNOWN,
        position,
        error: Centimetres(0),
        frequency: 0,
        pointing: Pointing::ANYWHERE,
    };
    for (name, value) in options {
        let value = value.unwrap_or_default();
        match name {
            "number" => number = value.parse().context("number is from 0 to 255")?,
            "medium" => terminal.medium = medium_of(value)?,
            "error" => terminal.error = length(value).context("error is a number of metres")?,
            "frequency" => terminal.frequency = kilohertz(value, |gigahertz| gigahertz * 1e6)?,
            "wavelength" => terminal.frequency = kilohertz(value, |nanometres| LIGHT / nanometres * 1e6)?,
            "azimuth" => azimuth = hundredths(value, 0.0, 359.99).context("azimuth is 0 up to 359.99 degrees")?,
            "elevation" => elevation = hundredths(value, -90.0, 90.0).context("elevation is -90 to 90 degrees")?,
            "reach" => reach = Some(hundredths(value, 0.0, 180.0).context("reach is 0 to 180 degrees")?),
            _ => bail!(
                "{name:?} is not known; a terminal has medium, number, error, frequency (GHz) or wavelength (nm), azimuth, \
                 elevation and reach"
            ),
        }
    }
    if terminal.medium == Medium::UNKNOWN {
        bail!("medium is missing, such as medium=laser");
    }
    match reach {
        Some(reach) => terminal.pointing = Pointing::new(azimuth, elevation, reach).context("no such direction")?,
        None if azimuth != 0 || elevation != 0 => bail!("reach is missing: how far the terminal turns from there"),
        None => {}
    }
    Ok((number, terminal))
}

/// A number between two others, in hundredths.
fn hundredths<T: TryFrom<i32>>(text: &str, least: f64, most: f64) -> Option<T> {
    let number = text.parse::<f64>().ok().filter(|number| (least..=most).contains(number))?;
    // In the range, so far below the largest whole number.
    #[allow(clippy::cast_possible_truncation)]
    let whole = (number * 100.0).round() as i32;
    T::try_from(whole).ok()
}

/// Metres.
fn length(text: &str) -> Option<Centimetres> {
    let metres = text.parse::<f64>().ok().filter(|metres| (0.0..=f64::from(u32::MAX) / 100.0).contains(metres))?;
    // In the range of the type.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Some(Centimetres((metres * 100.0).round() as u32))
}

fn kilohertz(text: &str, convert: impl FnOnce(f64) -> f64) -> anyhow::Result<u64> {
    /// Above that it is not light any more.
    const MOST: f64 = 1e15;
    let number = text.parse::<f64>().ok().map(convert).filter(|kilohertz| (1.0..=MOST).contains(kilohertz));
    // In the range of the type.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    number.map(|kilohertz| kilohertz.round() as u64).context("frequency is a number of GHz, wavelength one of nm")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const A: &str = "000102030405060708090a0b";

    #[test]
    fn an_address_has_roles() {
        let read = |text| address(text);
        assert_eq!(read("192.0.2.1,boot").unwrap(), (([192, 0, 2, 1].into(), 0), Roles::BOOT));
        let (place, roles) = read("[2001:db8::1]:53,dns,relay").unwrap();
        assert_eq!(place, ("2001:db8::1".parse().unwrap(), 53));
        assert!(roles.has(Roles::DNS) && roles.has(Roles::RELAY) && !roles.has(Roles::BOOT));
        for bad in ["", "192.0.2.1", "192.0.2.1,", "192.0.2.1,king", "host,dns", "192.0.2.1:99999,dns", "::,dns"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_neighbour_has_a_quality() {
        let (one, quality) =
            neighbour(&format!("{A},medium=laser,metric=7,loss=0.25,rate=1000"), Network::LAB).unwrap();
        assert_eq!((one.medium, quality), (Medium::LASER, Quality { metric: 7, loss: Loss(25), rate: Rate(1000) }));
        assert_eq!(neighbour(A, Network::LAB).unwrap().1.metric, 96);
        for bad in
            ["metric=65535", "metric", "medium=air", "loss=101", "loss=-1", "loss=NaN", "rate=fast", "colour=red"]
        {
            assert!(neighbour(&format!("{A},{bad}"), Network::LAB).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_position_is_blurred_unless_its_owner_says_otherwise() {
        let exact = place("52.5200,-13.4050,34.5").unwrap();
        let blurred = geo("52.5200,-13.4050,34.5", None).unwrap();
        assert_eq!(blurred.position, Cell::of(&exact, DEFAULT_BLUR).centre());
        assert!(blurred.position != exact && blurred.position.altitude().is_none());
        assert!(blurred.error >= DEFAULT_BLUR, "{blurred:?}");
        let told = geo("52.5200,-13.4050,34.5,blur=0,error=2.5,source=gnss", None).unwrap();
        assert_eq!(told, Geo { position: exact, error: Centimetres(250), source: Source::GNSS });
        for bad in ["", "52", "52,x", "91,0", "0,181", "1,2,3,4", "1,2,blur=-1", "1,2,blur", "1,2,blur=NaN", "1,2,x=1"]
        {
            assert!(geo(bad, None).is_err(), "{bad}");
        }
        assert!(place("1,2,blur=0").is_err());
    }

    #[test]
    fn a_terminal_says_how_to_point_at_it() {
        let (number, one) =
            terminal("-1,2,3,medium=laser,wavelength=1550,azimuth=271.5,elevation=-0.4,reach=15", 4).unwrap();
        assert_eq!((number, one.frequency), (4, 193_414_489_032));
        assert_eq!((one.pointing.azimuth(), one.pointing.elevation(), one.pointing.reach()), (27_150, -40, 1500));
        let (number, one) = terminal("1,2,3,medium=radio,frequency=5.8,number=9", 1).unwrap();
        assert_eq!((number, one.frequency, one.pointing), (9, 5_800_000, Pointing::ANYWHERE));
        for bad in [
            "1,2,medium=laser",
            "1,2,3",
            "1,2,3,medium=laser,azimuth=5",
            "1,2,3,medium=laser,reach=181",
            "1,2,3,medium=laser,wavelength=0",
        ] {
            assert!(terminal(bad, 1).is_err(), "{bad}");
        }
    }
}
