// SPDX-License-Identifier: GPL-2.0-or-later
//! Map-Requests made beforehand, and what a right answer to each is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use anyhow::Context as _;
use wire::address::{Address, EidPrefix, InstanceId};
use wire::control::{ControlMessage, Ecm, EidRequest, MapRequest, Nonce};

/// Octets of a nonce.
const NONCE: usize = 8;
/// Octets of the prefix of a site, a /48.
const PREFIX: usize = 6;
/// What the nonces of the bench begin with: the rest is the number of the question.
const NONCES: u64 = 0x6d61_7000_0000_0000;

/// The sites asked for, each a /48.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sites {
    /// Where they are.
    pub(super) within: Within,
    /// How many.
    pub(super) count: u32,
}

/// Where sites are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Within {
    /// One beside the other in the /32 with this second group; up to 65,536.
    Group(u16),
    /// In [`SCATTERED`], the way a hash scatters them.
    Scattered,
}

/// Where scattered sites are.
pub(super) const SCATTERED: &str = "2400::/16";
/// An odd number, so that no two sites fall together: 2^32 divided by the golden ratio.
const SCATTER: u32 = 0x9e37_79b1;
/// Of so many scattered sites the next one is asked for; a prime, so that all have their turn.
const STRIDE: usize = 7919;

impl Sites {
    /// Prefix of one.
    pub(super) fn prefix(self, number: u32) -> EidPrefix {
        let address = self.host(number, 0);
        EidPrefix::new(InstanceId(0), address.into(), 48)
            .unwrap_or_else(|| EidPrefix::host(InstanceId(0), address.into()))
    }

    /// All prefixes.
    pub(super) fn prefixes(self) -> impl Iterator<Item = EidPrefix> {
        (0..self.count).map(move |number| self.prefix(number))
    }

    /// Some host of one.
    pub(super) fn host(self, number: u32, host: u32) -> Ipv6Addr {
        let top = match self.within {
            Within::Group(group) => 0x2001 << 32 | u64::from(group) << 16 | u64::from(number & 0xffff),
            Within::Scattered => 0x2400 << 32 | u64::from(number.wrapping_mul(SCATTER)),
        };
        Ipv6Addr::from_bits(u128::from(top) << 80 | u128::from(host))
    }

    /// The site of a turn.
    fn of_turn(self, turn: usize) -> anyhow::Result<u32> {
        let stride = if self.within == Within::Scattered { STRIDE } else { 1 };
        Ok(u32::try_from(turn * stride % self.count as usize)?)
    }
}

/// One Map-Request.
#[derive(Debug)]
pub(super) struct Question {
    /// Who asks.
    pub(super) from: Ipv4Addr,
    /// The whole ECM.
    pub(super) bytes: Vec<u8>,
    /// Which site it is about.
    pub(super) site: u32,
}

/// Questions, by number, and what is known of their answers.
#[derive(Debug)]
pub(super) struct Questions {
    sites: Sites,
    all: Vec<Question>,
    /// The answers that were found right for each site, without type, nonce and flags: most come again octet for octet.
    known: Vec<Vec<u8>>,
}

impl Questions {
    /// Each of `clients` asks for a host of a site, then each for one of the next site; `count` in all.
    pub(super) fn new(sites: Sites, clients: &[Ipv4Addr], port: u16, count: usize) -> anyhow::Result<Self> {
        let mut all = Vec::with_capacity(count);
        for number in 0..u32::try_from(count)? {
            let client = clients[number as usize % clients.len()];
            let round = number as usize / clients.len();
            let site = sites.of_turn(round)?;
            let eid = sites.host(site, number + 1);
            let bytes = encode(nonce_of(number as usize), SocketAddr::new(client.into(), port), eid)?;
            all.push(Question { from: client, bytes, site });
        }
        Ok(Self { sites, all, known: vec![Vec::new(); sites.count as usize] })
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// One of them.
    pub(super) fn get(&self, number: usize) -> &Question {
        &self.all[number]
    }

    /// Whether a right answer has come for every site.
    pub(super) fn all_known(&self) -> bool {
        self.known.iter().all(|known| !known.is_empty())
    }

    /// Which question it answers, if it is any of these, and whether with a mapping for the EID that was asked for.
    pub(super) fn judge(&mut self, answer: &[u8]) -> Option<(usize, bool)> {
        let (nonce, rest) = answer.get(4..)?.split_first_chunk::<NONCE>()?;
        let number = usize::try_from(u64::from_be_bytes(*nonce) ^ NONCES).ok()?;
        let site = self.all.get(number)?.site;
        let known = &mut self.known[site as usize];
        if !known.is_empty() && answer[0] >> 4 == wire::control::MapReply::TYPE && known == rest {
            return Some((number, true));
        }
        let right = is_positive(answer, &self.sites.prefix(site));
        if right {
            *known = rest.to_vec();
        }
        Some((number, right))
    }
}

/// Where something lies in a message.
#[derive(Debug, Clone)]
pub(super) struct Field(Range<usize>);

impl Field {
    /// What a message has there.
    pub(super) fn of<'a>(&self, message: &'a [u8]) -> Option<&'a [u8]> {
        message.get(self.0.clone())
    }

    /// Puts as many octets there.
    pub(super) fn put(&self, message: &mut [u8], octets: &[u8]) {
        message[self.0.clone()].copy_from_slice(octets);
    }

    fn find(message: &[u8], octets: &[u8]) -> anyhow::Result<Self> {
        let at = message.windows(octets.len()).rposition(|part| part == octets).context("not in the message")?;
        Ok(Self(at..at + octets.len()))
    }
}

/// Where nonce and EID-prefix lie.
#[derive(Debug, Clone)]
pub(super) struct Fields {
    /// The nonce.
    pub(super) nonce: Field,
    /// The first 48 bits of the EID.
    pub(super) prefix: Field,
}

/// A question and its answer, as an example for others.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    /// Of the question.
    pub(super) request: Fields,
    /// Of the answer.
    pub(super) reply: Fields,
    /// The answer.
    pub(super) bytes: Vec<u8>,
}

impl Sample {
    /// What is learned from an answer to a question.
    pub(super) fn new(request: &[u8], bytes: Vec<u8>, sites: Sites, site: u32) -> anyhow::Result<Self> {
        let IpAddr::V6(address) = sites.prefix(site).net.addr() else { anyhow::bail!("no IPv6 site") };
        let fields = |message: &[u8], nonce: &[u8]| -> anyhow::Result<Fields> {
            let prefix = Field::find(message, &address.octets()[..PREFIX])?;
            Ok(Fields { nonce: Field::find(message, nonce)?, prefix })
        };
        let nonce = bytes.get(4..4 + NONCE).context("a short answer")?.to_vec();
        Ok(Self { request: fields(request, &nonce)?, reply: fields(&bytes, &nonce)?, bytes })
    }
}

/// The ECM that asks for an EID.
pub(super) fn encode(nonce: Nonce, client: SocketAddr, eid: Ipv6Addr) -> anyhow::Result<Vec<u8>> {
    let request = MapRequest {
        nonce,
        source_eid: Address::None,
        itr_rlocs: vec![client.ip().into()],
        records: vec![EidRequest { notify: false, eid: EidPrefix::host(InstanceId(0), eid.into()).into() }],
        ..MapRequest::default()
    };
    let inner = match client {
        SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        v6 => v6,
    };
    let to = SocketAddr::new(eid.into(), wire::CONTROL_PORT);
    Ok(Ecm::wrap(inner, to, ControlMessage::MapRequest(request).encode()?).encode()?)
}

fn nonce_of(number: usize) -> Nonce {
    Nonce(NONCES | number as u64)
}

/// Whether it is a Map-Reply with locators for this prefix, and with nothing else.
pub(super) fn is_positive(answer: &[u8], prefix: &EidPrefix) -> bool {
    let Ok(ControlMessage::MapReply(reply)) = ControlMessage::decode(answer) else { return false };
    let [record] = &reply.records[..] else { return false };
    record.eid.ip_prefix().as_ref() == Some(prefix) && !record.locators.is_empty()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::super::register::record;
    use super::*;
    use wire::control::MapReply;
    use wire::record::MappingRecord;

    const SITES: Sites = Sites { within: Within::Group(0xdb8), count: 2 };

    #[test]
    fn scattered_sites_are_all_different_and_in_the_prefix_that_is_named_for_them() {
        let sites = Sites { within: Within::Scattered, count: 10_000 };
        let all: std::collections::BTreeSet<EidPrefix> = sites.prefixes().collect();
        assert_eq!(all.len(), 10_000);
        let around = EidPrefix { iid: InstanceId(0), net: SCATTERED.parse().unwrap() };
        assert!(all.iter().all(|prefix| around.covers(prefix) && prefix.net.prefix_len() == 48));
        let asked: std::collections::BTreeSet<u32> = (0..10_000).map(|turn| sites.of_turn(turn).unwrap()).collect();
        assert_eq!(asked.len(), 10_000);
    }

    fn reply(nonce: Nonce, records: Vec<MappingRecord>) -> Vec<u8> {
        ControlMessage::MapReply(MapReply { nonce, records, ..MapReply::default() }).encode().unwrap()
    }

    #[test]
    fn only_a_mapping_of_the_site_that_was_asked_for_is_right() {
        let client = [Ipv4Addr::new(192, 0, 2, 2)];
        let mut questions = Questions::new(SITES, &client, 4000, 4).unwrap();
        let right = reply(nonce_of(1), vec![record(SITES.prefix(1))]);
        for _ in 0..2 {
            assert_eq!(questions.judge(&right), Some((1, true)), "also the second time, when it is known");
        }
        assert_eq!(questions.judge(&reply(nonce_of(1), vec![record(SITES.prefix(0))])), Some((1, false)));
        let negative = MappingRecord { locators: vec![], ..record(SITES.prefix(1)) };
        assert_eq!(questions.judge(&reply(nonce_of(1), vec![negative])), Some((1, false)));
        assert_eq!(questions.judge(&reply(nonce_of(4), vec![record(SITES.prefix(0))])), None, "nobody asked");
        assert_eq!(questions.judge(&reply(Nonce(7), vec![record(SITES.prefix(0))])), None);
        assert_eq!(questions.judge(&questions.get(1).bytes.clone()), None);
    }

    #[test]
    fn an_answer_made_after_a_sample_is_right_for_another_question() {
        let client = [Ipv4Addr::new(192, 0, 2, 2)];
        let mut questions = Questions::new(SITES, &client, 4000, 4).unwrap();
        let answer = reply(nonce_of(0), vec![record(SITES.prefix(0))]);
        let sample = Sample::new(&questions.get(0).bytes, answer, SITES, 0).unwrap();
        let other = questions.get(3).bytes.clone();
        let mut bytes = sample.bytes.clone();
        sample.reply.nonce.put(&mut bytes, sample.request.nonce.of(&other).unwrap());
        sample.reply.prefix.put(&mut bytes, sample.request.prefix.of(&other).unwrap());
        assert_eq!(questions.judge(&bytes), Some((3, true)));
    }
}
