// SPDX-License-Identifier: GPL-2.0-or-later
//! The MTU of the way to each RLOC: that of the interface, unless a lower one was learned (RFC 9300, section 7.2).

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use wire::data::{MINIMUM_MTU, overhead};

use crate::limits;

/// Path MTUs, in octets.
#[derive(Debug)]
pub(super) struct PathMtus {
    default: usize,
    learned: HashMap<IpAddr, (usize, Instant)>,
}

impl PathMtus {
    pub(super) fn new(default: usize) -> Self {
        Self { default, learned: HashMap::new() }
    }

    /// The longest inner packet that fits: S of RFC 9300, section 7.1.
    pub(super) fn room(&self, now: Instant, rloc: IpAddr) -> usize {
        self.mtu(now, rloc).saturating_sub(overhead(rloc))
    }

    fn mtu(&self, now: Instant, rloc: IpAddr) -> usize {
        let learned = if self.learned.is_empty() { None } else { self.learned.get(&rloc) };
        match learned {
            Some((mtu, until)) if *until > now => *mtu,
            _ => self.default,
        }
    }

    /// Believes a lower MTU for a while, but none below what the family guarantees. Whether that changed anything.
    pub(super) fn learn(&mut self, now: Instant, rloc: IpAddr, mtu: usize) -> bool {
        let smallest = match rloc {
            IpAddr::V4(_) => limits::SMALLEST_PATH_MTU_V4,
            IpAddr::V6(_) => MINIMUM_MTU,
        };
        let mtu = mtu.max(smallest);
        if mtu >= self.mtu(now, rloc) {
            return false;
        }
        if self.learned.len() >= limits::PATHS && !self.learned.contains_key(&rloc) {
            self.learned.retain(|_, (_, until)| *until > now);
            if self.learned.len() >= limits::PATHS {
                return false;
            }
        }
        self.learned.insert(rloc, (mtu, now + limits::PATH_MTU_TIME));
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    #[test]
    fn room_is_the_mtu_without_the_headers() {
        let (now, paths) = (Instant::now(), PathMtus::new(1500));
        assert_eq!(paths.room(now, [192, 0, 2, 1].into()), 1464);
        assert_eq!(paths.room(now, "2001:db8::1".parse().unwrap()), 1444);
    }

    #[test]
    fn a_lower_mtu_is_learned_bounded_and_forgotten() {
        let (now, mut paths) = (Instant::now(), PathMtus::new(1500));
        let (v4, v6) = ([192, 0, 2, 1].into(), "2001:db8::1".parse().unwrap());
        assert!(paths.learn(now, v4, 1400));
        assert_eq!(paths.room(now, v4), 1364);
        assert!(!paths.learn(now, v4, 1450), "a higher one is not news");
        assert!(paths.learn(now, v4, 68));
        assert_eq!(paths.room(now, v4), 576 - 36);
        assert!(paths.learn(now, v6, 1000));
        assert_eq!(paths.room(now, v6), 1280 - 56);
        assert!(!paths.learn(now, [192, 0, 2, 9].into(), 9000));
        assert_eq!(paths.room(now + Duration::from_secs(600), v4), 1464);
    }
}
