// SPDX-License-Identifier: GPL-2.0-or-later
//! Bytes that are no message, or not one for a map system (RFC 9301, section 5.1; RFC 9304; RFC 9306).

use std::collections::BTreeMap;

use wire::address::{Eid, Lcaf};
use wire::control::EidRequest;

use super::{RLOC, leads_to, message, registered};
use crate::suite::mapsys::{Came, Room, Xtr, record, request, sealed};
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, missing, must};
use crate::vectors;

const ANYTHING: &str = "9301 5.1";

pub(super) const PROBES: &[Probe<Room>] = &[
    must("LI-005.1", ANYTHING, "an AFI that nobody knows, of EID and ITR-RLOC", unknown_afi),
    must("LI-007.1", "9306 3", "an EID that is an LCAF of a type that nobody knows", unknown_lcaf),
    must("LI-009.1", ANYTHING, "every message type that is not defined, or not for a map system", other_types),
    must("LI-010.1", "9304 3", "shared extension messages of every sub-type", shared_extensions),
    must("LI-012.1", "9301 5, LOCAL", "every malformed vector of the control plane, as it is", |room| {
        vectors(room, false)
    }),
    must("LI-012.2", "9301 5, LOCAL", "every malformed vector of the control plane, inside an ECM", |room| {
        vectors(room, true)
    }),
    must("LI-012.3", "9301 5, LOCAL", "a Map-Register and a Map-Request, cut after each octet", cut),
    must("LI-014.1", "9301 5, LOCAL", "an EID mask length above that of its family", mask_too_long),
];

fn unknown_afi(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let question = request(room.nonce(), &[site.host(2)], &[xtr.address.ip()]).encode().map_err(broken)?;
    // The EID's AFI is 18 octets before the end, that of the first ITR-RLOC behind 12 octets and a Source-EID of AFI 0.
    let with = |at: usize| {
        let mut bytes = question.clone();
        bytes[at..at + 2].copy_from_slice(&0x7777_u16.to_be_bytes());
        xtr.wrapped(bytes)
    };
    room.are_ignored(&xtr, [with(question.len() - 18)?, with(14)?])?;
    Ok("dropped, both".into())
}

fn unknown_lcaf(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let mut question = request(room.nonce(), &[site.host(2)], &[xtr.address.ip()]);
    for kind in [200, 254] {
        let lcaf = Lcaf::Opaque { flags: 0, kind, rsvd2: 0, body: vec![0; 8].into() };
        question.records.push(EidRequest { notify: false, eid: Eid { address: lcaf.into(), mask_len: 32 } });
        question.records.swap_remove(0);
        room.is_ignored(&xtr, &xtr.ecm(&question)?)?;
    }
    Ok("dropped, each".into())
}

/// A message of a type, its other octets zero.
fn of_type(kind: u8) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[0] = kind << 4;
    bytes
}

fn other_types(room: &Room) -> Judgement {
    let xtr = room.xtr()?;
    room.are_ignored(&xtr, [0, 2, 4, 6, 7, 9, 10, 11, 12, 13, 14].map(of_type))?;
    Ok("dropped, each".into())
}

fn shared_extensions(room: &Room) -> Judgement {
    let xtr = room.xtr()?;
    let message = |sub_type: u16| {
        let [high, low] = sub_type.to_be_bytes();
        let mut bytes = of_type(15);
        bytes[0] |= high & 0x0f;
        bytes[1] = low;
        bytes
    };
    room.are_ignored(&xtr, (0..4096).step_by(13).map(message))?;
    Ok("dropped, each of 316".into())
}

/// Nothing may come that is more than three times what was sent, nothing may be stored, and the map system goes on.
fn vectors(room: &Room, inside: bool) -> Judgement {
    let file = vectors::shipped().map_err(missing)?;
    let malformed: Vec<_> = file.vectors.iter().filter(|vector| vector.id.starts_with('M')).collect();
    let mut answered = BTreeMap::new();
    for vector in &malformed {
        let xtr = room.xtr()?;
        let bytes = match inside {
            false => vector.lisp.clone(),
            // An ECM has no place in another, and our encoder refuses it.
            true => match xtr.wrapped(vector.lisp.clone()) {
                Ok(bytes) => bytes,
                Err(_) => continue,
            },
        };
        let came = answers(room, &xtr, &bytes).map_err(|fault| match fault {
            Fault::Broken(came) => broken(format!("{}: {came}", vector.id)),
            other => other,
        })?;
        let octets: usize = came.iter().map(|came| came.bytes.len()).sum();
        if octets > 3 * bytes.len() {
            return Err(broken(format!("{}: {octets} octets came for {}", vector.id, bytes.len())));
        }
        if octets > 0 {
            answered.insert(vector.id.clone(), octets);
        }
    }
    expect(answered.is_empty(), format!("{} sent; answered: {answered:?}; the map system goes on", malformed.len()))
}

fn answers(room: &Room, xtr: &Xtr, bytes: &[u8]) -> Result<Vec<Came>, Fault> {
    xtr.send(room.common()?.first()?, bytes)?;
    room.works()?;
    xtr.hear_all(std::time::Duration::from_millis(5))
}

fn cut(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let register = sealed(&message(room.nonce(), vec![record(site.prefix, &[RLOC])]), &site.key())?;
    let question = request(room.nonce(), &[site.host(2)], &[xtr.address.ip()]);
    let (whole, ecm) = (question.encode().map_err(broken)?, xtr.ecm(&question)?);
    let registers = (0..register.len()).map(|length| register[..length].to_vec());
    let ecms = (0..ecm.len()).map(|length| ecm[..length].to_vec());
    room.are_ignored(&xtr, registers.chain(ecms))?;
    let questions = (0..whole.len()).map(|length| xtr.wrapped(whole[..length].to_vec()));
    room.are_ignored(&xtr, questions.collect::<Result<Vec<_>, _>>()?)?;
    leads_to(room, &site, &[RLOC])?;
    Ok(format!("dropped, each of {}", register.len() + ecm.len() + whole.len()))
}

fn mask_too_long(room: &Room) -> Judgement {
    let (site, xtr) = registered(room)?;
    let mut question = request(room.nonce(), &[site.host(2)], &[xtr.address.ip()]).encode().map_err(broken)?;
    // The record begins 20 octets before the end: reserved, mask length, AFI, address.
    let at = question.len() - 19;
    question[at] = 129;
    room.is_ignored(&xtr, &xtr.wrapped(question)?)?;
    Ok("dropped".into())
}
