// SPDX-License-Identifier: GPL-2.0-or-later
//! Real messages with mistakes in them: every vector and every captured control packet, mutated from a fixed seed.

use wire::control::auth::{self, Accept, Algorithm, AuthKey, Secret};

/// Mutants of each message: with some 420 messages a few seconds without optimisation.
const MUTANTS: usize = 250;
/// Changes in one mutant, at most.
const CHANGES: usize = 3;

#[test]
fn mutated_messages_are_decoded_or_refused() {
    let mut random = SplitMix(0x6c69_7370);
    let (mut decoded, mut refused) = (0u32, 0u32);
    for seed in messages() {
        for _ in 0..MUTANTS {
            let mut mutant = seed.clone();
            for _ in 0..=random.below(CHANGES) {
                mutate(&mut mutant, &mut random);
            }
            if crate::support::exercise(&mutant) { decoded += 1 } else { refused += 1 }
        }
    }
    // Mutants that are all refused, or none, would test one half of the codec only.
    assert!(decoded > 1000 && refused > 1000, "{decoded} decoded, {refused} refused");
}

#[test]
fn no_octet_of_a_tagged_message_can_be_changed() {
    let registers =
        crate::support::captured().into_iter().filter(|packet| packet.is_control() && packet.payload[0] >> 4 == 3);
    let payload = registers.map(|packet| packet.payload).next().unwrap();
    let key = || AuthKey { id: 0, algorithm: Algorithm::HmacSha1, secret: Secret::new("secretkey") };
    assert_eq!(auth::verify(&payload, &key(), Accept::INTEROP), Ok(()));
    for at in 0..payload.len() {
        let mut changed = payload.clone();
        changed[at] ^= 0x01;
        assert!(auth::verify(&changed, &key(), Accept::INTEROP).is_err(), "octet {at}");
    }
}

fn messages() -> Vec<Vec<u8>> {
    let vectors =
        crate::support::vectors().vectors.into_iter().filter(|vector| !vector.is_data()).map(|vector| vector.lisp());
    let captured = crate::support::captured()
        .into_iter()
        .filter(crate::support::Datagram::is_control)
        .map(|packet| packet.payload);
    vectors.chain(captured).collect()
}

/// One change: a bit, an octet, a word that may be a length or an AFI, a cut, a repetition or an insertion.
fn mutate(bytes: &mut Vec<u8>, random: &mut SplitMix) {
    const INTERESTING: [u16; 8] = [0, 1, 2, 17, 16387, 16389, 0x00ff, 0xffff];
    if bytes.is_empty() {
        bytes.push(0x10);
    }
    let at = random.below(bytes.len());
    match random.below(6) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.octet(),
        2 => {
            let word = INTERESTING[random.below(INTERESTING.len())].to_be_bytes();
            let end = bytes.len().min(at + 2);
            bytes[at..end].copy_from_slice(&word[..end - at]);
        }
        3 => bytes.truncate(at),
        4 => {
            let end = at + random.below(bytes.len() - at + 1);
            let repeated = bytes[at..end].to_vec();
            bytes.splice(at..at, repeated);
        }
        _ => bytes.insert(at, random.octet()),
    }
}

/// SplitMix64: a generator that gives the same mutants everywhere.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }

    fn octet(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }
}
