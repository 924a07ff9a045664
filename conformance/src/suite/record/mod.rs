// SPDX-License-Identifier: GPL-2.0-or-later
//! Suite `record`: every class of record and each of its elements, once good and once for each way in which it may be bad.
//!
//! The record codec and verifier are judged, in this process. What is bad is signed by its owner all the same, so that nothing
//! but the one thing is wrong with it.

mod bodies;
mod form;
mod mutations;
mod pages;
mod signed;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dht::Refusal;
use dht::publish::{Publication, Statement};
use dht::record::{
    Centimetres, CertificateCache, Geo, Loss, Medium, Neighbour, Pointing, Quality, Rate, RecordKey, Roles, Service,
    Source, Terminal, Topology, Verified, verify,
};

use super::Listed;
use super::person::{LAB, Person, Raw, prefix, site};
use super::probe::{self, Fault, Judgement, Probe, broken};
use crate::check::Check;

/// Two people and one moment.
pub(super) struct Desk {
    now: SystemTime,
    one: Person,
    two: Person,
}

fn probes() -> Vec<&'static Probe<Desk>> {
    [form::PROBES, signed::PROBES, bodies::PROBES, pages::PROBES, mutations::PROBES].into_iter().flatten().collect()
}

pub(super) fn list() -> anyhow::Result<Vec<Listed>> {
    Ok(probe::list(&probes()))
}

pub(super) fn run(wanted: &dyn Fn(&str) -> bool) -> anyhow::Result<Vec<Check>> {
    probe::run("record", &probes(), wanted, || Desk::open().map_err(|fault| anyhow::anyhow!("{fault:?}")))
}

pub(super) fn explain(id: &str) -> anyhow::Result<Option<String>> {
    Ok(probe::explain(&probes(), id))
}

/// What a publication is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Mapping,
    Topology,
    Service,
    Prefix,
    Index,
    Revocation,
}

impl Kind {
    const ALL: [Self; 6] = [Self::Mapping, Self::Topology, Self::Service, Self::Prefix, Self::Index, Self::Revocation];
}

impl Desk {
    fn open() -> Result<Self, Fault> {
        // In the middle of an operational key's time, so that certificates hold a little later and earlier.
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        Ok(Self { now, one: Person::of_seed(1, now)?, two: Person::of_seed(2, now)? })
    }

    fn publication(&self, kind: Kind) -> Result<Publication, Fault> {
        let (one, now) = (&self.one, self.now);
        match kind {
            Kind::Mapping => one.mapping(now, 1),
            Kind::Topology => one.node(now, vec![Statement::topology(self.topology()?)]),
            Kind::Service => one.node(now, vec![Statement::service(self.service()?)]),
            Kind::Prefix => one.prefix(now, prefix("2001:db8:a::/48")?, 1),
            Kind::Index => {
                one.page(now, prefix("2001:db8::/32")?, vec![site(prefix("2001:db8:a::/48")?, &[&self.two], 56)])
            }
            Kind::Revocation => one.revocation(now),
        }
    }

    fn topology(&self) -> Result<Topology, Fault> {
        let position = dht::geo::Position::new(525_200_080, 134_049_540, Some(3457)).ok_or_else(|| broken("place"))?;
        let neighbour = Neighbour { cn: self.two.key.cn(), medium: Medium::RADIO };
        let quality = Quality { metric: 256, loss: Loss(50), rate: Rate(54_000) };
        let pointing = Pointing::new(27_150, 40, 1500).ok_or_else(|| broken("direction"))?;
        let terminal =
            Terminal { medium: Medium::LASER, position, error: Centimetres(5), frequency: 193_000_000_000, pointing };
        Ok(Topology {
            neighbours: [(neighbour, quality)].into(),
            geo: Some(Geo { position, error: Centimetres(30_000), source: Source::GNSS }),
            terminals: [(1, terminal)].into(),
            unknown: Vec::new(),
        })
    }

    fn service(&self) -> Result<Service, Fault> {
        let net = "2001:db8:64::/96".parse().map_err(broken)?;
        let pref64 = dht::record::Pref64::new(net).ok_or_else(|| broken("NAT64"))?;
        let name = dht::record::HostName::from_wire(b"\x04host\x07example\x00").map_err(broken)?;
        Ok(Service {
            addresses: [(([192, 0, 2, 1].into(), 43420), Roles::BOOT.with(Roles::DNS))].into(),
            alternates: [self.two.key.cn()].into(),
            pref64: [pref64].into(),
            ptr: Some(name),
            unknown: Vec::new(),
        })
    }

    fn verify(&self, key: &RecordKey, value: &[u8], now: SystemTime) -> Result<Verified, Refusal> {
        crate::exchange::given("value", value);
        verify(LAB, key, value, now, &mut CertificateCache::new())
    }

    /// The kind's section changed as told and signed again: to be taken.
    fn takes(&self, kind: Kind, edit: impl FnOnce(&mut Raw)) -> Judgement {
        let publication = self.publication(kind)?;
        let value = self.one.changed(&publication, |sections| sections.last_mut().into_iter().for_each(once(edit)))?;
        match self.verify(&publication.key, &value, self.now) {
            Ok(verified) => {
                Ok(format!("to be taken; taken, {} octets", verified.bundle.encode().map_or(0, |v| v.len())))
            }
            Err(refusal) => Err(broken(format!("to be taken; refused: {refusal}"))),
        }
    }

    /// The kind's section changed as told and signed again: to be refused under this name, in words with these in them.
    fn refuses(&self, kind: Kind, name: &str, words: &str, edit: impl FnOnce(&mut Raw)) -> Judgement {
        self.refuses_value(kind, name, words, |sections| sections.last_mut().into_iter().for_each(once(edit)))
    }

    /// The same of the whole value.
    fn refuses_value(&self, kind: Kind, name: &str, words: &str, edit: impl FnOnce(&mut Vec<Raw>)) -> Judgement {
        let publication = self.publication(kind)?;
        let value = self.one.changed(&publication, edit)?;
        self.refused(&publication.key, &value, self.now, name, words)
    }

    /// These octets: to be refused under this name, in words with these in them.
    fn refused(&self, key: &RecordKey, value: &[u8], now: SystemTime, name: &str, words: &str) -> Judgement {
        match self.verify(key, value, now) {
            Err(refusal) if refusal.name() == name && refusal.to_string().contains(words) => {
                Ok(format!("to be refused as {name}; refused: {refusal}"))
            }
            Err(refusal) => Err(broken(format!("to be refused as {name} ({words}); refused: {refusal}"))),
            Ok(_) => Err(broken(format!("to be refused as {name} ({words}); taken"))),
        }
    }
}

/// A closure that is called at most once, for a loop over an option.
fn once<T>(edit: impl FnOnce(&mut T)) -> impl FnMut(&mut T) {
    let mut edit = Some(edit);
    move |value| {
        if let Some(edit) = edit.take() {
            edit(value);
        }
    }
}
