// SPDX-License-Identifier: GPL-2.0-or-later
//! Our own RLOCs: which of them packets leave from. As a rule that is the preferred one of the family; where probing has found that
//! a locator of others is reached from another one, and not from that, it is the other one.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::limits;
use crate::map_cache::InterfaceMtus;

/// Our RLOCs.
#[derive(Debug, Clone)]
pub(super) struct OwnRlocs {
    /// The preferred one of each family first.
    all: Vec<IpAddr>,
    pub(super) v4: Option<Ipv4Addr>,
    pub(super) v6: Option<Ipv6Addr>,
    /// Those that packets leave from though another one is, or was, preferred. Their numbers begin at 1; the place of one that we have no
    /// longer is free for another.
    others: Vec<Option<IpAddr>>,
    /// Of their interfaces, octets, as far as they have one.
    mtus: BTreeMap<IpAddr, u16>,
}

/// Only locators of a family that we have an RLOC of are chosen. Should another one be chosen all the same no header fits, and the packet
/// is counted as one that could not be sent.
const NONE_OF_V4: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
const NONE_OF_V6: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

impl Default for OwnRlocs {
    fn default() -> Self {
        let (all, others) = (Vec::new(), Vec::new());
        Self { all, v4: None, v6: None, others, mtus: BTreeMap::new() }
    }
}

impl OwnRlocs {
    /// Replaces the list. The numbers of those that are no longer in it, which nothing may go by from now on: others get them.
    #[must_use]
    pub(super) fn set(&mut self, all: Vec<IpAddr>) -> Vec<u8> {
        self.v4 = all.iter().find_map(|rloc| if let IpAddr::V4(rloc) = rloc { Some(*rloc) } else { None });
        self.v6 = all.iter().find_map(|rloc| if let IpAddr::V6(rloc) = rloc { Some(*rloc) } else { None });
        let mut gone = Vec::new();
        for (index, place) in self.others.iter_mut().enumerate() {
            if place.take_if(|rloc| !all.contains(rloc)).is_some() {
                gone.push(number_of(index));
            }
        }
        self.all = all;
        gone
    }

    /// Takes the MTUs of their interfaces.
    pub(super) fn set_mtus(&mut self, mtus: BTreeMap<IpAddr, u16>) {
        self.mtus = mtus;
    }

    /// What the interfaces take that packets leave by.
    pub(super) fn interface_mtus(&self) -> InterfaceMtus {
        let of = |rloc: Option<IpAddr>| rloc.and_then(|rloc| self.mtus.get(&rloc).copied()).unwrap_or(u16::MAX);
        InterfaceMtus {
            v4: of(self.v4.map(IpAddr::V4)),
            v6: of(self.v6.map(IpAddr::V6)),
            others: self.others.iter().map(|rloc| of(*rloc)).collect(),
            all: self.mtus.clone(),
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> &[IpAddr] {
        &self.all
    }

    /// The number of the one that packets to `destination` are to leave from; 0 if that is the preferred one, or none of ours.
    pub(super) fn number(&mut self, destination: IpAddr, source: IpAddr) -> u8 {
        let is_other = source != self.preferred(destination)
            && source.is_ipv4() == destination.is_ipv4()
            && self.all.contains(&source);
        if !is_other {
            return 0;
        }
        let place_of = |wanted: Option<IpAddr>| self.others.iter().position(|rloc| *rloc == wanted);
        let index = match place_of(Some(source)).or_else(|| place_of(None)) {
            Some(index) => index,
            None if self.others.len() < limits::OTHER_RLOCS => {
                self.others.push(None);
                self.others.len() - 1
            }
            None => return 0,
        };
        self.others[index] = Some(source);
        number_of(index)
    }

    /// The one that packets to an ordinary locator leave from. It is put together for each family by itself, since a whole `IpAddr` is
    /// copied in two pieces across which the address is read then, for which the processor waits.
    #[inline(always)]
    pub(super) fn preferred(&self, destination: IpAddr) -> IpAddr {
        match destination {
            IpAddr::V4(_) => self.v4.map_or(NONE_OF_V4, IpAddr::V4),
            IpAddr::V6(_) => self.v6.map_or(NONE_OF_V6, IpAddr::V6),
        }
    }

    /// The one that packets to `destination` leave from.
    pub(super) fn towards(&self, destination: IpAddr, number: u8) -> IpAddr {
        self.other(number).unwrap_or_else(|| self.preferred(destination))
    }

    /// This one, as long as we have it.
    pub(super) fn one_of(&self, destination: IpAddr, source: IpAddr) -> IpAddr {
        let is_there = source.is_ipv4() == destination.is_ipv4() && self.all.contains(&source);
        if is_there { source } else { self.preferred(destination) }
    }

    fn other(&self, number: u8) -> Option<IpAddr> {
        *self.others.get(usize::from(number).checked_sub(1)?)?
    }
}

fn number_of(index: usize) -> u8 {
    u8::try_from(index + 1).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn packets_leave_from_the_preferred_one_unless_another_one_is_said_to_be_the_way() {
        let [first, second, v6, far] =
            ["192.0.2.1", "192.0.2.2", "2001:db8::1", "198.51.100.1"].map(|t| t.parse().unwrap());
        let mut own = OwnRlocs::default();
        assert!(own.towards(far, 0).is_ipv6() && own.towards(v6, 0).is_ipv4(), "no header fits");
        assert!(own.set(vec![first, v6, second]).is_empty());
        assert_eq!((own.number(far, first), own.number(far, v6), own.number(far, far)), (0, 0, 0));
        let number = own.number(far, second);
        assert_eq!((own.towards(far, number), own.towards(far, 0)), (second, first));
        assert_eq!((own.set(vec![first]), own.towards(far, number)), (vec![number], first), "it is gone");
        assert!(own.set(vec![first, second]).is_empty());
        assert_eq!(own.towards(far, number), first, "until control says it again");
        let number = own.number(far, second);
        assert_eq!(own.towards(far, number), second);
    }

    #[test]
    fn of_more_than_find_room_those_that_are_gone_make_it() {
        let [first, far] = ["192.0.2.1", "198.51.100.1"].map(|t| t.parse().unwrap());
        let other = |number: usize| IpAddr::V4([203, 0, 113, u8::try_from(number).unwrap()].into());
        let mut own = OwnRlocs::default();
        let all: Vec<IpAddr> = std::iter::once(first).chain((0..=limits::OTHER_RLOCS).map(other)).collect();
        assert!(own.set(all.clone()).is_empty());
        let numbers: Vec<u8> = all[1..].iter().map(|source| own.number(far, *source)).collect();
        assert_eq!(numbers, (1..=32).chain([0]).collect::<Vec<u8>>(), "the last one finds no room");
        assert_eq!(own.set([&all[..5], &all[6..]].concat()), [5]);
        assert_eq!((own.number(far, other(32)), own.number(far, other(3))), (5, 4));
        assert_eq!(own.towards(far, 5), other(32));
    }

    #[test]
    fn each_has_the_mtu_of_its_interface_and_what_has_none_takes_anything() {
        let [first, second, v6, far] =
            ["192.0.2.1", "192.0.2.2", "2001:db8::1", "198.51.100.1"].map(|t| t.parse().unwrap());
        let mut own = OwnRlocs::default();
        assert!(own.set(vec![first, v6, second]).is_empty());
        own.number(far, second);
        let mtus = |own: &OwnRlocs| {
            let mtus = own.interface_mtus();
            (mtus.v4, mtus.v6, mtus.others)
        };
        assert_eq!(mtus(&own), (u16::MAX, u16::MAX, vec![u16::MAX]));
        own.set_mtus([(first, 1400), (second, 9000), (v6, 1300)].into());
        assert_eq!(mtus(&own), (1400, 1300, vec![9000]));
        assert_eq!(own.set(vec![first, v6]), [1]);
        assert_eq!(mtus(&own), (1400, 1300, vec![u16::MAX]), "nothing goes by a number that is free");
    }
}
