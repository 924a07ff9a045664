// SPDX-License-Identifier: GPL-2.0-or-later
//! EIDs with two mask-lens: Multicast Info and Source/Dest Keys (RFC 8060, sections 4.5 and 4.8).

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use wire::address::{Address, Eid, EidPrefix, InstanceId, Lcaf};

use super::nest::{self, Nested};
use super::{Kind, LabelError};
use crate::limits::{PAIR_STEPS, PAIRS_LOOKED_AT};

/// A source, and a group or destination of the same family, in an instance. In their order one stands before what it covers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pair {
    pub(super) destination: Destination,
    /// Always truncated.
    pub(super) source: IpNet,
}

/// The group or destination of a pair.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Destination {
    is_group: bool,
    prefix: EidPrefix,
}

impl Pair {
    /// The pair that an LCAF is; host bits are cleared. A Source/Dest Key is in the instance of an LCAF around it, Multicast Info in its own.
    ///
    /// # Errors
    /// Says why it is none.
    pub fn of(address: &Address) -> Result<Self, LabelError> {
        let Address::Lcaf(lcaf) = address else { return Err(LabelError::Other) };
        match lcaf.as_ref() {
            Lcaf::MulticastInfo { iid, source_mask_len, group_mask_len, source, group } => {
                let (source, group) = (net(source, *source_mask_len)?, net(group, *group_mask_len)?);
                Self::multicast(*iid, source, group).ok_or(LabelError::Pair)
            }
            Lcaf::SourceDestKey { .. } => Self::of_key(InstanceId(0), lcaf),
            Lcaf::InstanceId { iid, address: Address::Lcaf(inner), .. } => Self::of_key(*iid, inner),
            _ => Err(LabelError::Other),
        }
    }

    /// The same of what an instance's LCAF may have in it.
    fn of_key(iid: InstanceId, lcaf: &Lcaf) -> Result<Self, LabelError> {
        match lcaf {
            Lcaf::SourceDestKey { source_mask_len, dest_mask_len, source, dest } => {
                let (source, dest) = (net(source, *source_mask_len)?, net(dest, *dest_mask_len)?);
                Self::source_dest(iid, source, dest).ok_or(LabelError::Pair)
            }
            Lcaf::MulticastInfo { .. } => Err(LabelError::Pair),
            _ => Err(LabelError::Other),
        }
    }

    /// A source and a group of one family; `None` if it is no group. (*, G) is that of every source.
    pub fn multicast(iid: InstanceId, source: IpNet, group: IpNet) -> Option<Self> {
        is_group(&group).then(|| Self::new(true, iid, source, group)).flatten()
    }

    /// A source and a destination of one family.
    pub fn source_dest(iid: InstanceId, source: IpNet, dest: IpNet) -> Option<Self> {
        Self::new(false, iid, source, dest)
    }

    fn new(is_group: bool, iid: InstanceId, source: IpNet, destination: IpNet) -> Option<Self> {
        let prefix = EidPrefix { iid, net: destination.trunc() };
        let is_one_family = source.addr().is_ipv4() == destination.addr().is_ipv4();
        is_one_family.then(|| Self { destination: Destination { is_group, prefix }, source: source.trunc() })
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        if self.destination.is_group { Kind::Multicast } else { Kind::SourceDest }
    }

    /// The first source, and the first group or destination.
    #[must_use]
    pub fn host(self) -> Self {
        let Self { destination: Destination { is_group, prefix }, source } = self;
        let prefix = EidPrefix::host(prefix.iid, prefix.net.addr());
        Self { destination: Destination { is_group, prefix }, source: IpNet::from(source.addr()) }
    }

    /// Whether `other` lies inside (or equals) this one: both its prefixes do.
    pub fn covers(&self, other: &Self) -> bool {
        self.destination.covers(&other.destination) && self.source.contains(&other.source)
    }

    /// Whether something lies inside this and `other`.
    pub fn overlaps(&self, other: &Self) -> bool {
        let (one, two) = (&self.destination, &other.destination);
        (one.covers(two) || two.covers(one))
            && (self.source.contains(&other.source) || other.source.contains(&self.source))
    }

    /// Significant bits of the group or destination, and of the source.
    pub fn length(&self) -> (u8, u8) {
        (self.destination.prefix.net.prefix_len(), self.source.prefix_len())
    }

    /// As an EID. RFC 8060 gives the mask-len of the record no meaning here: it is the sum of both, as far as it can count.
    pub fn eid(&self) -> Eid {
        let Destination { is_group, prefix: EidPrefix { iid, net } } = self.destination;
        let (source_mask_len, mask_len) = (self.source.prefix_len(), net.prefix_len());
        let (source, destination) = (Address::from(self.source.addr()), Address::from(net.addr()));
        let lcaf = if is_group {
            Lcaf::MulticastInfo { iid, source_mask_len, group_mask_len: mask_len, source, group: destination }
        } else {
            Lcaf::SourceDestKey { source_mask_len, dest_mask_len: mask_len, source, dest: destination }
        };
        let is_whole = is_group || iid == InstanceId(0);
        let lcaf = if is_whole { lcaf } else { Lcaf::InstanceId { iid, iid_mask_len: 0, address: lcaf.into() } };
        Eid { address: lcaf.into(), mask_len: source_mask_len.saturating_add(mask_len) }
    }
}

impl Nested for Destination {
    fn covers(&self, other: &Self) -> bool {
        self.is_group == other.is_group && self.prefix.covers(&other.prefix)
    }

    fn shorter(&self) -> Option<Self> {
        Some(Self { prefix: self.prefix.shorter()?, ..*self })
    }

    fn around(&self, other: &Self) -> Option<Self> {
        if self.is_group != other.is_group {
            return None;
        }
        Some(Self { prefix: self.prefix.around(&other.prefix)?, ..*self })
    }
}

/// In the order the first and the last of all prefixes.
const FIRST: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0));
const LAST: IpNet = IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from_bits(u128::MAX), 128));

/// All multicast addresses.
const GROUPS_V4: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4);
const GROUPS_V6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8);

/// Multicast addresses, or the broadcast address of a link: RFC 8060, section 4.5, has either.
fn is_group(net: &IpNet) -> bool {
    match net {
        IpNet::V4(net) => GROUPS_V4.contains(net) || *net == Ipv4Net::from(Ipv4Addr::BROADCAST),
        IpNet::V6(net) => GROUPS_V6.contains(net),
    }
}

/// AFI 0 is no prefix: that of all sources is written with the AFI of the group (RFC 8378, section 8).
fn net(address: &Address, mask_len: u8) -> Result<IpNet, LabelError> {
    address.ip().and_then(|address| IpNet::new(address, mask_len).ok()).ok_or(LabelError::Pair)
}

/// `(192.0.2.1/32, 232.1.1.1/32)`, `10.1.0.0/24 -> 10.2.0.0/24`, all sources as `*`; in another instance with `[5]` in front.
impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Destination { is_group, prefix: EidPrefix { iid, net } } = self.destination;
        let source = if self.source.prefix_len() == 0 { "*".to_owned() } else { self.source.to_string() };
        if iid != InstanceId(0) {
            write!(f, "[{iid}]")?;
        }
        if is_group { write!(f, "({source}, {net})") } else { write!(f, "{source} -> {net}") }
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Pairs in their order, with the longest match by the group or destination first, and by the source then: the order in which multicast is
/// looked up. RFC 8060 gives none.
#[derive(Debug, Clone)]
pub(super) struct PairTable<T> {
    pub(super) map: BTreeMap<Pair, T>,
}

impl<T> Default for PairTable<T> {
    fn default() -> Self {
        Self { map: BTreeMap::new() }
    }
}

impl<T> PairTable<T> {
    /// The pairs that cover this one, itself included, the best match first.
    pub(super) fn covering(&self, sought: Pair) -> impl Iterator<Item = (Pair, &T)> + '_ {
        self.destinations(sought.destination)
            .flat_map(move |destination| self.sources(destination, sought.source, || true))
    }

    /// The same of those that lie inside `within`, as far as `steps` go: both mask-lens together allow of thousands. None are left when it
    /// ended before it was through.
    pub(super) fn covering_within<'a>(
        &'a self,
        within: Pair,
        sought: Pair,
        steps: &'a Cell<u32>,
    ) -> impl Iterator<Item = (Pair, &'a T)> {
        let go = || steps.get().checked_sub(1).inspect(|left| steps.set(*left)).is_some();
        let destinations = self.destinations(sought.destination);
        let inside = destinations.take_while(move |destination| go() && within.destination.covers(destination));
        let pairs = inside.flat_map(move |destination| self.sources(destination, sought.source, go));
        pairs.filter(move |(pair, _)| within.source.contains(&pair.source))
    }

    /// The pairs with this destination whose source covers this one, the longest first, while `go` says so at each step.
    fn sources(
        &self,
        destination: Destination,
        sought: IpNet,
        go: impl Fn() -> bool,
    ) -> impl Iterator<Item = (Pair, &T)> {
        let before = move |source: &IpNet| {
            let (last, _) = self.map.range(..=Pair { destination, source: *source }).next_back().filter(|_| go())?;
            Some(last.source).filter(|_| last.destination == destination)
        };
        let known = move |source| self.map.get_key_value(&Pair { destination, source });
        nest::covering(sought, before).filter_map(known).map(|(pair, value)| (*pair, value))
    }

    /// The groups or destinations of pairs that cover this one, itself included, the longest first.
    fn destinations(&self, sought: Destination) -> impl Iterator<Item = Destination> + '_ {
        let before = |destination: &Destination| {
            let end = Pair { destination: *destination, source: LAST };
            self.map.range(..=end).next_back().map(|(last, _)| last.destination)
        };
        nest::covering(sought, before)
    }

    /// Whether this pair is the best match, or covered by it, wherever it covers something: no other overlaps it but what covers it. Of very
    /// many whose groups or destinations are inside its own not all are looked at: then it is not.
    fn is_alone(&self, pair: &Pair) -> bool {
        let Pair { destination, source } = *pair;
        let beside = self.destinations(destination).filter(|outer| *outer != destination).any(|outer| {
            let start = Pair { destination: outer, source };
            let end = Pair { destination: outer, source: end_of(&source) };
            self.map.range(start..=end).any(|(other, _)| other.source != source)
        });
        let (start, end) = (Pair { source: FIRST, ..*pair }, Pair { destination: destination.end(), source: LAST });
        let mut inside = self.map.range(start..=end).map(|(other, _)| other);
        let mut looked_at = inside.by_ref().take(PAIRS_LOOKED_AT);
        !beside && looked_at.all(|other| !other.overlaps(pair) || other.covers(pair)) && inside.next().is_none()
    }

    /// A part of `within` that contains `sought` and overlaps no pair that does not cover it: `within` whole, or `sought` alone. `None` if
    /// a pair strictly inside `within` covers `sought`, or `within` does not, or that takes too long to see.
    pub(super) fn hole(&self, within: &Pair, sought: &Pair) -> Option<Pair> {
        let steps = Cell::new(PAIR_STEPS);
        // `within` itself is behind all that is inside it.
        let is_inside = self.covering_within(*within, *sought, &steps).next().is_some_and(|(best, _)| best != *within);
        if !within.covers(sought) || is_inside || steps.get() == 0 {
            return None;
        }
        Some(if self.is_alone(within) { *within } else { *sought })
    }
}

/// The last of all that lie inside a prefix.
fn end_of(net: &IpNet) -> IpNet {
    IpNet::from(net.broadcast())
}

impl Destination {
    /// The last of all that lie inside.
    fn end(self) -> Self {
        Self { prefix: EidPrefix { net: end_of(&self.prefix.net), ..self.prefix }, ..self }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::register::label::Label;
    use crate::register::label::table::LabelTable;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// Of few bits, so that pairs nest and cross: 8 sources, 8 groups, of both families, kinds and instances beside each other.
    fn pair() -> impl Strategy<Value = Pair> {
        let realm = (any::<bool>(), 0..2u32, any::<bool>());
        (realm, 0..8u8, 0..=4u8, 0..8u8, 0..=4u8).prop_map(|(realm, source, source_len, group, group_len)| {
            of(realm, (source, source_len), (group, group_len))
        })
    }

    type Realm = (bool, u32, bool);

    /// The first three bits, and how many of them count; 4 for the whole address.
    fn of((is_group, iid, is_v6): Realm, source: (u8, u8), group: (u8, u8)) -> Pair {
        let net = |first: u8, (bits, len): (u8, u8), before: u8| {
            let len = if len > 3 { if is_v6 { 128 } else { 32 } } else { len + before };
            if is_v6 {
                let address = Ipv6Addr::new(u16::from_be_bytes([first, bits << 5]), 0, 0, 0, 0, 0, 0, 0);
                IpNet::new(address.into(), len).unwrap().trunc()
            } else {
                IpNet::new(Ipv4Addr::new(first, bits << 5, 0, 0).into(), len).unwrap().trunc()
            }
        };
        let first = if is_v6 { 0xff } else { 239 };
        Pair::new(is_group, InstanceId(iid), net(10, source, 8), net(first, group, 8)).unwrap()
    }

    fn table(known: &[Pair]) -> LabelTable<()> {
        let mut table = LabelTable::default();
        known.iter().for_each(|pair| *table.entry(Label::Pair(*pair), || ()) = ());
        table
    }

    /// The best match by a walk through all.
    fn best(known: &[Pair], sought: &Pair) -> Option<Pair> {
        known.iter().copied().filter(|pair| pair.covers(sought)).max_by_key(Pair::length)
    }

    proptest! {
        #[test]
        fn the_best_match_has_the_longest_group_and_then_the_longest_source(sought in pair(), known in vec(pair(), 0..24)) {
            let table = table(&known);
            let mut covering: Vec<_> = known.iter().copied().filter(|pair| pair.covers(&sought)).collect();
            covering.sort_by_key(|pair| std::cmp::Reverse(pair.length()));
            covering.dedup();
            let found: Vec<_> = table.covering(&Label::Pair(sought)).map(|(label, ())| label).collect();
            prop_assert_eq!(found, covering.into_iter().map(Label::Pair).collect::<Vec<_>>());
        }

        #[test]
        fn wherever_a_hole_is_looked_into_the_same_pair_is_the_best_match(
            realm: Realm, source in 0..8u8, group in 0..8u8, known in vec(pair(), 0..16)
        ) {
            let (table, sought) = (table(&known), of(realm, (source, 4), (group, 4)));
            let Some(within) = best(&known, &sought) else { return Ok(()) };
            let hole = table.hole(&Label::Pair(within), &Label::Pair(sought));
            let Some(Label::Pair(hole)) = hole else { return Err(TestCaseError::fail("no hole in the best match")) };
            prop_assert!(hole.covers(&sought) && within.covers(&hole));
            for (source, group) in (0..8).flat_map(|source| (0..8).map(move |group| (source, group))) {
                let host = of(realm, (source, 4), (group, 4));
                prop_assert!(!hole.covers(&host) || best(&known, &host) == Some(within), "{} {} {:?}", hole, host, known);
            }
            let others: Vec<_> = known.iter().filter(|other| other.overlaps(&within) && !other.covers(&within)).collect();
            prop_assert_eq!(hole == within, others.is_empty() || within == sought, "{:?}", others);
        }

        #[test]
        fn none_is_passed_over_in_a_walk_by_parts(known in vec(pair(), 0..24)) {
            let table = table(&known);
            let all: Vec<_> = table.iter().map(|(label, ())| label).collect();
            let expected: std::collections::BTreeSet<_> = known.into_iter().map(Label::Pair).collect();
            prop_assert_eq!(&all, &expected.into_iter().collect::<Vec<_>>());
            let mut walked: Vec<Label> = Vec::new();
            while let Some((next, ())) = table.after(walked.last()).next() {
                walked.push(next);
            }
            prop_assert_eq!(walked, all);
        }

        #[test]
        fn a_pair_is_an_eid_and_is_read_as_the_same(pair in pair()) {
            prop_assert_eq!(Pair::of(&pair.eid().address), Ok(pair));
        }
    }

    #[test]
    fn where_many_pairs_are_inside_the_answer_is_about_what_was_asked() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let of = |source: &str, group: &str| Pair::multicast(InstanceId(0), net(source), net(group)).unwrap();
        let within = of("10.0.0.0/8", "239.0.0.0/8");
        let beside = (0..PAIRS_LOOKED_AT).map(|n| of("20.0.0.0/8", &format!("239.0.0.{n}/32")));
        let mut known: Vec<_> = beside.collect();
        let hole = |known: &[Pair]| {
            let sought = Label::Pair(of("10.0.0.1/32", "239.1.1.1/32"));
            table(known).hole(&Label::Pair(within), &sought).map(|hole| hole == Label::Pair(within))
        };
        known.pop();
        known.push(within);
        assert_eq!(hole(&known), Some(true));
        known.push(of("20.0.0.0/8", "239.1.0.0/16"));
        assert_eq!(hole(&known), Some(false), "beyond what is looked at");
    }

    #[test]
    fn what_is_no_pair_of_prefixes_of_one_family_is_none() {
        let address = |text: &str| text.parse::<std::net::IpAddr>().map_or(Address::None, Address::from);
        let multicast = |source: &str, source_mask_len, group: &str, group_mask_len| {
            let (iid, source, group) = (InstanceId(5), address(source), address(group));
            Lcaf::MulticastInfo { iid, source_mask_len, group_mask_len, source, group }
        };
        let within = |address: Lcaf| Lcaf::InstanceId { iid: InstanceId(5), iid_mask_len: 0, address: address.into() };
        let key = |source: &str, dest: &str| {
            let (source, dest) = (address(source), address(dest));
            Lcaf::SourceDestKey { source_mask_len: 0, dest_mask_len: 0, source, dest }
        };
        let of = |lcaf: &Lcaf| Pair::of(&lcaf.clone().into());
        for good in [
            multicast("192.0.2.1", 32, "232.1.1.1", 32),
            multicast("0.0.0.0", 0, "224.0.0.0", 4),
            multicast("0.0.0.0", 0, "255.255.255.255", 32),
            multicast("::", 0, "ff00::", 8),
            key("0.0.0.0", "0.0.0.0"),
            within(key("::", "::")),
        ] {
            assert!(of(&good).is_ok(), "{good}");
        }
        for bad in [
            multicast("192.0.2.1", 33, "232.1.1.1", 32),
            multicast("192.0.2.1", 32, "232.1.1.1", 33),
            multicast("192.0.2.1", 32, "ff3e::1", 128),
            multicast("none", 0, "232.1.1.1", 32),
            multicast("192.0.2.1", 32, "none", 0),
            multicast("192.0.2.1", 32, "224.0.0.0", 3),
            multicast("192.0.2.1", 32, "10.0.0.1", 32),
            multicast("::", 0, "fe00::", 7),
            key("none", "none"),
            key("::", "0.0.0.0"),
            within(multicast("192.0.2.1", 32, "232.1.1.1", 32)),
        ] {
            assert_eq!(of(&bad), Err(LabelError::Pair), "{bad}");
        }
        for other in [Lcaf::Null, within(within(key("::", "::"))), within(Lcaf::Null)] {
            assert_eq!(of(&other), Err(LabelError::Other), "{other}");
        }
    }

    #[test]
    fn a_pair_is_shown_with_its_instance_and_without_host_bits() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let pair = Pair::multicast(InstanceId(5), net("192.0.2.9/24"), net("232.1.1.1/32")).unwrap();
        assert_eq!(pair.to_string(), "[5](192.0.2.0/24, 232.1.1.1/32)");
        let all = Pair::multicast(InstanceId(0), net("::/0"), net("ff3e::/32")).unwrap();
        assert_eq!(all.to_string(), "(*, ff3e::/32)");
        let key = Pair::source_dest(InstanceId(5), net("10.1.0.0/24"), net("10.2.0.0/24")).unwrap();
        assert_eq!(key.to_string(), "[5]10.1.0.0/24 -> 10.2.0.0/24");
    }
}
