// SPDX-License-Identifier: GPL-2.0-or-later
//! Locators that are ours no longer, while their addresses are: packets and probes are taken there for a while, until those who send there have
//! asked again. Each ITR hears of one EID-prefix in three seconds (RFC 9301, section 6.1).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::map_cache::Update;

/// How long after the last ITR was told of the change: it asks, and is answered, in this time.
const TIME: Duration = Duration::from_secs(10);
/// How long at most: invented ITRs could be told for ever.
const LONGEST: Duration = Duration::from_secs(60);
/// How many, the newest ones.
const MOST: usize = 32;

/// Those of this node.
#[derive(Debug, Default)]
pub struct Former(Vec<Locator>);

/// One of them.
#[derive(Debug)]
struct Locator {
    address: IpAddr,
    since: Instant,
    until: Instant,
}

impl Former {
    /// The locators were `before`, and are `after`; `is_here` says whether an address is usable still, `is_telling` whether ITRs are still
    /// told of changes. Whether others are former ones than were.
    pub(super) fn follow(
        &mut self,
        now: Instant,
        (before, after): (&[IpAddr], &[IpAddr]),
        is_telling: bool,
        is_here: impl Fn(IpAddr) -> bool,
    ) -> bool {
        let known = self.addresses();
        for address in before.iter().copied().filter(|address| !after.contains(address)) {
            self.0.retain(|former| former.address != address);
            self.0.push(Locator { address, since: now, until: now + TIME });
        }
        for former in self.0.iter_mut().filter(|_| is_telling) {
            former.until = (now + TIME).min(former.since + LONGEST);
        }
        // One that is a locator again stays until its time is over, so that no packet is lost between.
        self.0.retain(|former| former.until > now && is_here(former.address));
        let excess = self.0.len().saturating_sub(MOST);
        self.0.drain(..excess);
        self.addresses() != known
    }

    /// Their addresses.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        self.0.iter().map(|former| former.address).collect()
    }
}

/// Where a packet thread takes packets.
#[derive(Debug, Default)]
pub(super) struct TakenAt {
    rlocs: Vec<IpAddr>,
    former: Vec<IpAddr>,
}

impl TakenAt {
    /// All addresses, if control says something of them.
    pub(super) fn follow(&mut self, update: &Update) -> Option<Vec<IpAddr>> {
        match update {
            Update::LocalRlocs(rlocs) => self.rlocs.clone_from(rlocs),
            Update::FormerRlocs(former) => self.former.clone_from(former),
            _ => return None,
        }
        let former = self.former.iter().filter(|former| !self.rlocs.contains(former));
        Some(self.rlocs.iter().chain(former).copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn a_locator_that_was_given_up_is_one_for_a_while_if_its_address_is_here() {
        let (mut former, now) = (Former::default(), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        assert!(!former.follow(now, (&[ip(1)], &[ip(1)]), false, |_| true));
        assert!(former.follow(now, (&[ip(1), ip(2)], &[ip(3)]), false, |address| address != ip(2)));
        assert_eq!(former.addresses(), [ip(1)], "the other address has left the machine");
        assert!(former.follow(after(5), (&[ip(3)], &[ip(1)]), false, |_| true));
        assert_eq!(former.addresses(), [ip(1), ip(3)]);
        assert!(former.follow(after(10), (&[ip(1)], &[ip(1)]), false, |_| true));
        assert_eq!(former.addresses(), [ip(3)]);
        assert!(former.follow(after(15), (&[ip(1)], &[ip(1)]), false, |_| true) && former.addresses().is_empty());
        for last in 0..100 {
            former.follow(now, (&[ip(last)], &[]), false, |_| true);
        }
        assert_eq!((former.addresses().len(), former.addresses().last()), (MOST, Some(&ip(99))));
    }

    #[test]
    fn a_former_locator_stays_until_ten_seconds_after_the_last_itr_was_told_and_no_longer_than_a_minute() {
        let now = Instant::now();
        for (told_for, ends) in [(0, 10), (24, 34), (49, 59), (3600, 60)] {
            let mut former = Former::default();
            former.follow(now, (&[ip(1)], &[ip(3)]), false, |_| true);
            let mut stays = (1..100_u64).take_while(|second| {
                let now = now + Duration::from_secs(*second);
                former.follow(now, (&[ip(3)], &[ip(3)]), *second <= told_for, |_| true);
                !former.addresses().is_empty()
            });
            assert_eq!(stays.by_ref().last(), Some(ends - 1), "told for {told_for} s");
        }
    }

    #[test]
    fn packets_are_taken_at_both_whichever_is_said_first() {
        let mut taken = TakenAt::default();
        let mut follow = |update: Update| taken.follow(&update);
        assert_eq!(follow(Update::LocalRlocs(vec![ip(1)])), Some(vec![ip(1)]));
        assert_eq!(follow(Update::FormerRlocs(vec![ip(1)])), Some(vec![ip(1)]));
        assert_eq!(follow(Update::LocalRlocs(vec![ip(2)])), Some(vec![ip(2), ip(1)]));
        assert_eq!(follow(Update::FormerRlocs(vec![])), Some(vec![ip(2)]));
        assert_eq!(follow(Update::LocalEids(vec![])), None);
    }
}
