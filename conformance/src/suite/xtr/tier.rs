// SPDX-License-Identifier: GPL-2.0-or-later
//! The router that is judged, each time with the settings that checks need: ours in each of its tiers, or the one of a target file.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};

use super::inbox::lock;
use super::rig::Rig;
use crate::suite::probe::Fault;
use crate::target::{self, Started, TunnelRouter};

/// What is judged.
#[derive(Debug, Clone, Copy)]
pub(in crate::suite) enum Router {
    /// The program `lisp-xtr` in this tier.
    Ours(&'static str),
    /// That of a target file.
    Theirs(&'static Started),
}

/// What a router is told beside its site, its locators and its map system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    Plain,
    Strict,
    Unchecked,
    Trusted,
}

impl Setting {
    /// The instance of its site.
    pub(super) fn iid(self) -> u32 {
        if self == Self::Strict { Tier::INSTANCE } else { 0 }
    }

    /// What ours is told.
    pub(super) fn arguments(self) -> Vec<&'static str> {
        match self {
            Self::Plain => Tier::GPE_PEERS.iter().flat_map(|peer| ["--gpe-peer", peer]).collect(),
            Self::Strict => vec!["--source-check", "strict", "--pitr", Tier::PITR],
            Self::Unchecked => vec!["--source-check", "off", "--trusted-peer", Tier::TRUSTED],
            Self::Trusted => {
                let peers = ["--trusted-peer", "100.64.0.0/16", "--trusted-peer", "2001:db8:a:1::/64"];
                let uses = ["--echo-nonce", "on", "--locator-status-bits", "on", "--map-version", "7"];
                [&peers[..], &uses].concat()
            }
        }
    }

    /// What the file of a target says of it.
    pub(super) fn of(self, router: &Started) -> &str {
        match self {
            Self::Plain => "",
            Self::Strict => &router.strict,
            Self::Unchecked => &router.unchecked,
            Self::Trusted => &router.trusted,
        }
    }
}

/// How often a router of a target file is started: one that ends by itself is started again for the next check. Each start takes some
/// seconds.
const LIVES: usize = 32;

/// The rigs of a setting, one after the other.
#[derive(Default)]
struct Place {
    rigs: [OnceLock<Result<Rig, Fault>>; LIVES],
    life: AtomicUsize,
}

/// A router, with its rigs; each is built when the first check needs it.
pub(in crate::suite) struct Tier {
    router: Router,
    plain: Place,
    strict: Place,
    unchecked: Place,
    trusted: Place,
    vectors: Mutex<()>,
}

impl Tier {
    fn new(router: Router) -> Self {
        Self {
            router,
            plain: Place::default(),
            strict: Place::default(),
            unchecked: Place::default(),
            trusted: Place::default(),
            vectors: Mutex::new(()),
        }
    }

    /// The vectors are all between the same hosts: one check at a time sends them.
    pub(in crate::suite) fn alone(&self) -> MutexGuard<'_, ()> {
        lock(&self.vectors)
    }

    /// Whether packets cross the kernel one by one.
    pub(in crate::suite) fn is_zero(&self) -> bool {
        matches!(self.router, Router::Ours("0"))
    }

    /// The tier of ours; of others there is none.
    pub(in crate::suite) fn number(&self) -> Option<&'static str> {
        if let Router::Ours(number) = self.router { Some(number) } else { None }
    }

    /// A rig whose router runs. Ours has one life: that it ends is a fault of all that comes behind.
    fn open<'a>(&self, place: &'a Place, setting: Setting) -> Result<&'a Rig, Fault> {
        loop {
            let life = place.life.load(Ordering::Relaxed);
            let open = || Rig::open(self.router, setting);
            let rig = place.rigs[life].get_or_init(open).as_ref().map_err(Clone::clone)?;
            let Err(ended) = rig.dut.runs() else { return Ok(rig) };
            if self.number().is_some() || life + 1 == LIVES {
                return Err(ended);
            }
            // Whoever sees it first begins the next life.
            let _ = place.life.compare_exchange(life, life + 1, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// As it is by default, with one peer that takes LISP-GPE: [`Self::GPE_PEERS`].
    pub(in crate::suite) fn rig(&self) -> Result<&Rig, Fault> {
        self.open(&self.plain, Setting::Plain)
    }

    /// In an instance, with sources checked strictly and a PITR: [`Self::PITR`].
    pub(in crate::suite) fn strict(&self) -> Result<&Rig, Fault> {
        self.open(&self.strict, Setting::Strict)
    }

    /// With sources not checked, and a trusted peer with which nothing is used: [`Self::TRUSTED`]. A target that checks none is as it is.
    pub(in crate::suite) fn unchecked(&self) -> Result<&Rig, Fault> {
        let is_plain = matches!(self.router, Router::Theirs(router) if router.unchecked.is_empty());
        if is_plain { self.rig() } else { self.open(&self.unchecked, Setting::Unchecked) }
    }

    /// All others are trusted peers, with which nonces, locator-status-bits and map-versions are used.
    pub(in crate::suite) fn trusted(&self) -> Result<&Rig, Fault> {
        self.open(&self.trusted, Setting::Trusted)
    }

    /// Peers that take LISP-GPE, of each family.
    pub(in crate::suite) const GPE_PEERS: [&'static str; 2] = ["100.64.0.77", "2001:db8:a:1::77"];
    /// The instance of the strict one: that of vector D01.
    pub(in crate::suite) const INSTANCE: u32 = 0x00ab_cdef;
    /// A trusted peer.
    pub(in crate::suite) const TRUSTED: &'static str = "100.64.0.78";
    /// A PITR.
    pub(in crate::suite) const PITR: &'static str = "100.64.0.80";
}

/// What is judged, with nothing started yet: both tiers of ours, or the router of the target.
pub(in crate::suite) fn open_tiers() -> Vec<(&'static str, Tier)> {
    let target = target::judged();
    match &target.tunnel_router {
        Some(TunnelRouter::Started(router)) => vec![(target.name.as_str(), Tier::new(Router::Theirs(router)))],
        _ => vec![("tier 0", Tier::new(Router::Ours("0"))), ("tier 1", Tier::new(Router::Ours("1")))],
    }
}
