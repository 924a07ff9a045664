// SPDX-License-Identifier: GPL-2.0-or-later
//! The rules of a network against what a peer presents. Cheap checks come first, signatures last.

use std::time::SystemTime;

use cgeid::puzzle::zero_bits;
use cgeid::{CertificateError, Cn, IdentityCertificate, Network, OperationalCertificate, OperationalKey, PuzzleBits};

use super::message::{Kind, Millis, Presentation};
use super::network_key::NetworkKey;
use crate::error::Malformed;
use crate::limits;
use crate::record::CertificateCache;
use crate::store::Standing;

/// What a network asks of its nodes; the same for all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Its prefix.
    pub network: Network,
    /// The puzzle that an operational key must solve.
    pub puzzle: PuzzleBits,
    /// The key of a closed network; an open one has none.
    pub key: Option<NetworkKey>,
}

/// The certificates of a node, DER.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    /// The identity certificate.
    pub identity: Box<[u8]>,
    /// The operational certificate.
    pub operational: Box<[u8]>,
}

impl Credentials {
    /// Those of a key.
    pub fn of(key: &OperationalKey) -> Self {
        Self { identity: key.identity_certificate_der().into(), operational: key.certificate_der().into() }
    }
}

/// The two ends of a connection, each by the octets of its peer ID, which the transport has proven.
#[derive(Debug, Clone, Copy)]
pub struct Ends<'a> {
    /// Who presents itself.
    pub from: &'a [u8],
    /// To whom.
    pub to: &'a [u8],
}

/// A server that was admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Whose node it is.
    pub cn: Cn,
    /// The epoch of its key.
    pub epoch: u32,
    /// When its certificates end.
    pub until: SystemTime,
}

/// What a peer was admitted as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admitted {
    /// A place in the hash table.
    Server(Member),
    /// Somebody who only asks.
    Client,
}

/// Why a peer is not admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It belongs to another network.
    #[error("a node of the network {0}")]
    OtherNetwork(Network),
    /// The network is closed, and it does not know its key.
    #[error("does not know the key of this closed network")]
    NetworkKey,
    /// Its certificates do not hold.
    #[error("certificate: {0}")]
    Certificate(CertificateError),
    /// Its certificates hold by its clock and not by ours.
    #[error("certificate: {0}, by the clock of this side")]
    Dates(CertificateError),
    /// The operational certificate is for another key than that of the connection.
    #[error("the operational certificate is not that of the node's key")]
    OtherKey,
    /// The key does not solve the puzzle.
    #[error("the node's key has {found} zero bits of the {asked} that the network asks for")]
    Puzzle {
        /// Zero bits of the key.
        found: PuzzleBits,
        /// Zero bits that are asked for.
        asked: PuzzleBits,
    },
    /// The identity was revoked.
    #[error("the identity {0} is revoked")]
    Revoked(Cn),
    /// The owner has replaced the key.
    #[error("the key of epoch {found} was replaced by one of epoch {known}")]
    Superseded {
        /// Epoch of the key.
        found: u32,
        /// Epoch that is known.
        known: u32,
    },
    /// The epoch is not that of this month or the last: the work for it was done at another time.
    #[error("the key's epoch {found} is not of this month or the last")]
    Epoch {
        /// Epoch of the key.
        found: u32,
    },
    /// What it says is not a presentation.
    #[error("presentation: {0}")]
    Malformed(Malformed),
    /// It presents itself again and again.
    #[error("too many presentations on one connection")]
    TooOften,
}

impl Refused {
    /// The number by which the peer is told.
    pub fn code(&self) -> u8 {
        match self {
            Self::OtherNetwork(_) => 1,
            Self::NetworkKey => 2,
            Self::Certificate(_) => 3,
            Self::Dates(_) => 4,
            Self::OtherKey => 5,
            Self::Puzzle { .. } => 6,
            Self::Revoked(_) => 7,
            Self::Superseded { .. } => 8,
            Self::TooOften => 9,
            Self::Epoch { .. } => 10,
            Self::Malformed(_) => 11,
        }
    }

    /// The name under which it is counted.
    pub fn name(&self) -> &'static str {
        name(self.code())
    }
}

/// The name of a code, also of one that a peer sends.
pub fn name(code: u8) -> &'static str {
    match code {
        0 => "welcome",
        1 => "other-network",
        2 => "network-key",
        3 => "certificate",
        4 => "dates",
        5 => "other-key",
        6 => "puzzle",
        7 => "revoked",
        8 => "superseded",
        9 => "too-often",
        10 => "epoch",
        11 => "malformed",
        _ => "unknown",
    }
}

/// How one side presents itself to the other.
pub fn present(
    rules: &Rules,
    kind: Kind,
    credentials: Option<Credentials>,
    ends: Ends<'_>,
    now: SystemTime,
) -> Presentation {
    let mac = rules.key.as_ref().map(|key| key.mac(rules.network, ends.from, ends.to));
    Presentation { kind, network: rules.network, time: Millis::of(now), mac, credentials }
}

/// Judges what a peer presents. `standing` tells what the store knows of an identity.
///
/// # Errors
/// The first rule that is broken.
pub fn judge(
    rules: &Rules,
    ends: Ends<'_>,
    presented: &Presentation,
    now: SystemTime,
    cache: &mut CertificateCache,
    standing: impl FnOnce(Cn) -> Standing,
) -> Result<Admitted, Refused> {
    if presented.network != rules.network {
        return Err(Refused::OtherNetwork(presented.network));
    }
    if let Some(key) = &rules.key {
        let holds = |mac| key.holds(rules.network, ends.from, ends.to, mac);
        if !presented.mac.as_ref().is_some_and(holds) {
            return Err(Refused::NetworkKey);
        }
    }
    let (Kind::Server, Some(credentials)) = (presented.kind, &presented.credentials) else {
        return Ok(Admitted::Client);
    };
    let (identity, operational) = match chain(rules.network, credentials, now, cache) {
        Ok(chain) => chain,
        Err(error) => return Err(undated(rules, ends, presented, credentials, error, (cache, standing))),
    };
    check_key(rules, ends, &operational)?;
    let cn = identity.cn();
    check_epoch(cn, operational.epoch(), now)?;
    check_standing(cn, operational.epoch(), standing(cn))?;
    let until = operational.not_after().min(identity.not_after());
    Ok(Admitted::Server(Member { cn, epoch: operational.epoch(), until }))
}

/// What the store knows against a member: that its identity is revoked, or its key replaced.
///
/// A key of an earlier month stays until its certificate ends, some days into the next: a key that is
/// signed ahead may come to a daemon days after the turn. Within a month a higher number means that the lower key
/// was given up or stolen.
///
/// # Errors
/// [`Refused::Revoked`], [`Refused::Superseded`].
pub fn check_standing(cn: Cn, found: u32, standing: Standing) -> Result<(), Refused> {
    if standing.is_revoked {
        return Err(Refused::Revoked(cn));
    }
    let month = |epoch: u32| epoch / cgeid::epoch::REVISIONS;
    match standing.epoch {
        Some(known) if known > found && month(known) == month(found) => Err(Refused::Superseded { found, known }),
        _ => Ok(()),
    }
}

fn chain(
    network: Network,
    credentials: &Credentials,
    now: SystemTime,
    cache: &mut CertificateCache,
) -> Result<(IdentityCertificate, OperationalCertificate), CertificateError> {
    let identity = cache.identity(network, &credentials.identity, Some(now))?;
    let operational = cache.operational(&identity, &credentials.operational, now)?;
    Ok((identity, operational))
}

/// The operational key is that of the connection, and solves the puzzle.
fn check_key(rules: &Rules, ends: Ends<'_>, operational: &OperationalCertificate) -> Result<(), Refused> {
    let key = operational.key();
    if key.ed25519().is_none_or(|key| node_key(ends.from) != Some(key)) {
        return Err(Refused::OtherKey);
    }
    let found = zero_bits(key, operational.epoch());
    if found < rules.puzzle {
        return Err(Refused::Puzzle { found, asked: rules.puzzle });
    }
    Ok(())
}

/// An owner can date certificates as it likes: without this, a key that was mined once would be good for ever.
fn check_epoch(cn: Cn, found: u32, now: SystemTime) -> Result<(), Refused> {
    // Clocks may differ at the turn of the month.
    let latest = cgeid::epoch::period(cn, now + limits::CLOCK_SKEW);
    let earliest = cgeid::epoch::period(cn, now).saturating_sub(1);
    if (earliest..=latest).contains(&(found / cgeid::epoch::REVISIONS)) {
        Ok(())
    } else {
        Err(Refused::Epoch { found })
    }
}

/// Whether certificates that do not hold now do so by the peer's own clock: then one of the two clocks is wrong.
fn undated(
    rules: &Rules,
    ends: Ends<'_>,
    presented: &Presentation,
    credentials: &Credentials,
    error: CertificateError,
    (cache, standing): (&mut CertificateCache, impl FnOnce(Cn) -> Standing),
) -> Refused {
    let is_date = matches!(error, CertificateError::Expired { .. } | CertificateError::NotYetValid { .. });
    let by_its_clock = presented.time.time().filter(|_| is_date);
    let Some(time) = by_its_clock else { return Refused::Certificate(error) };
    // A key that was mined once must not have a say about the time for ever, nor one of a revoked identity.
    let holds = chain(rules.network, credentials, time, cache).is_ok_and(|(identity, operational)| {
        let (cn, epoch) = (identity.cn(), operational.epoch());
        check_key(rules, ends, &operational).is_ok()
            && check_epoch(cn, epoch, time).is_ok()
            && check_standing(cn, epoch, standing(cn)).is_ok()
    });
    if holds { Refused::Dates(error) } else { Refused::Certificate(error) }
}

/// The Ed25519 key in a peer ID: the identity multihash of the key's protobuf, as libp2p has it for keys so short.
pub fn node_key(peer_id: &[u8]) -> Option<[u8; 32]> {
    const PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];
    peer_id.strip_prefix(&PREFIX)?.try_into().ok()
}

/// The peer ID of an Ed25519 key.
pub fn node_id(key: &[u8; 32]) -> [u8; 38] {
    let mut id = [0; 38];
    id[..6].copy_from_slice(&[0x00, 0x24, 0x08, 0x01, 0x12, 0x20]);
    id[6..].copy_from_slice(key);
    id
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_work_for_a_key_is_of_this_month_or_the_last() {
        let cn: Cn = "0f2c8a3454a468b75f32e76a".parse().unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let epoch = |period: u32| cgeid::epoch::epoch(period, 3);
        let month = cgeid::epoch::period(cn, now);
        for (period, holds) in [(month - 2, false), (month - 1, true), (month, true), (month + 1, false)] {
            assert_eq!(check_epoch(cn, epoch(period), now).is_ok(), holds, "{period}, now is {month}");
        }
        let turn = cgeid::epoch::period_start(cn, month + 1).unwrap();
        assert!(check_epoch(cn, epoch(month + 1), turn - Duration::from_secs(60)).is_ok(), "its clock may be ahead");
    }
}
