// SPDX-License-Identifier: GPL-2.0-or-later
//! What is said at the beginning of a connection, by either side.
//!
//! ```text
//! presentation: kind 1 | prefix 4 | time 8 | maclen 1 | mac | idlen 2 | identity certificate | oplen 2 | operational certificate
//! answer:       code 1 | time 8
//! ```
//! Integers in network byte order; times in milliseconds since 1970. A server has both certificates, a client may have none. The
//! solution of the puzzle is the operational key itself with the epoch in its certificate, so it has no field.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cgeid::Network;

use super::judge::Credentials;
use super::network_key::{MAC, Mac};
use crate::error::Malformed;
use crate::limits;
use crate::record::Reader;

/// What a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Stores for others, and wants into their routing tables.
    Server,
    /// Only asks and puts.
    Client,
}

/// How one side presents itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presentation {
    /// What it is.
    pub kind: Kind,
    /// The network that it belongs to.
    pub network: Network,
    /// Its clock, in milliseconds since 1970.
    pub time: Millis,
    /// What proves that it knows the key of a closed network.
    pub mac: Option<Mac>,
    /// Its certificates; a server has some.
    pub credentials: Option<Credentials>,
}

/// A time in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl Millis {
    /// A time before 1970 counts as 1970.
    pub fn of(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// The time, unless the clock has no such one.
    pub fn time(self) -> Option<SystemTime> {
        UNIX_EPOCH.checked_add(Duration::from_millis(self.0))
    }
}

impl Presentation {
    /// Its octets.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![match self.kind {
            Kind::Server => 1,
            Kind::Client => 2,
        }];
        out.extend_from_slice(&self.network.0);
        out.extend_from_slice(&self.time.0.to_be_bytes());
        let mac = self.mac.as_ref().map_or(&[][..], |mac| &mac.0);
        out.push(u8::try_from(mac.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(mac);
        let none = Credentials::default();
        let credentials = self.credentials.as_ref().unwrap_or(&none);
        for certificate in [&credentials.identity, &credentials.operational] {
            // One that is longer than its length can say is cut there, and refused by whoever reads it.
            let length = u16::try_from(certificate.len()).unwrap_or(u16::MAX);
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(&certificate[..usize::from(length)]);
        }
        out
    }

    /// Reads one; only the octets that [`Presentation::encode`] gives are taken.
    ///
    /// # Errors
    /// The field that is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > limits::PRESENTATION {
            return Err(Malformed::Length("presentation", bytes.len()));
        }
        let mut reader = Reader(bytes);
        let kind = match reader.u8("kind")? {
            1 => Kind::Server,
            2 => Kind::Client,
            other => return Err(Malformed::Value("kind", other.into())),
        };
        let network = Network(reader.array("prefix")?);
        let time = Millis(reader.u64("time")?);
        let mac = match usize::from(reader.u8("mac")?) {
            0 => None,
            MAC => Some(Mac(reader.array("mac")?)),
            other => return Err(Malformed::Length("mac", other)),
        };
        let identity = certificate(&mut reader, "identity certificate")?;
        let operational = certificate(&mut reader, "operational certificate")?;
        reader.finish("presentation")?;
        let credentials = match (identity.is_empty(), operational.is_empty()) {
            (true, true) => None,
            (false, false) => Some(Credentials { identity, operational }),
            (true, false) => return Err(Malformed::Missing("identity certificate")),
            (false, true) => return Err(Malformed::Missing("operational certificate")),
        };
        if kind == Kind::Server && credentials.is_none() {
            return Err(Malformed::Missing("certificates of a server"));
        }
        Ok(Self { kind, network, time, mac, credentials })
    }
}

fn certificate(reader: &mut Reader<'_>, field: &'static str) -> Result<Box<[u8]>, Malformed> {
    let length = usize::from(reader.u16(field)?);
    if length > limits::PRESENTED_CERTIFICATE {
        return Err(Malformed::Length(field, length));
    }
    reader.take(field, length).map(Into::into)
}

/// What the other side has to say to a presentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// [`Answer::WELCOME`], or the code of a [`super::Refused`].
    pub code: u8,
    /// The clock of who answers.
    pub time: Millis,
}

impl Answer {
    /// Admitted as what it says it is.
    pub const WELCOME: u8 = 0;
    /// Octets of an answer.
    pub const SIZE: usize = 9;

    /// Its octets.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.code];
        out.extend_from_slice(&self.time.0.to_be_bytes());
        out
    }

    /// Reads one.
    ///
    /// # Errors
    /// When it is shorter or longer.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        let answer = Self { code: reader.u8("code")?, time: Millis(reader.u64("time")?) };
        reader.finish("answer")?;
        Ok(answer)
    }
}
