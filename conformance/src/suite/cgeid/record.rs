// SPDX-License-Identifier: GPL-2.0-or-later
//! Records: what their signatures cover, under which keys and until when they hold. Our record codec is the judge.

use std::net::Ipv4Addr;
use std::time::SystemTime;

use cgeid::{Network, OperationalKey, SignatureAlgorithm};
use dht::Refusal;
use dht::publish::{self, Publication, Sequence};
use dht::record::{
    Body, Bundle, CertificateCache, Class, Mapping, Prefix, RecordKey, Rloc, RlocFlags, Section, Site, verify,
};
use wire::address::{EidPrefix, InstanceId};
use wire::record::Ttl;

use super::workshop::{Workshop, seconds};
use super::{Fault, Judgement, Probe};

/// What every signed record begins with.
const CONTEXT: &[u8] = b"IPv6MESH-record-v1\0";

pub(super) const PROBES: &[Probe] = &[
    Probe { id: "ID-008.1", about: "a record as published", judge: as_published },
    Probe {
        id: "ID-008.2",
        about: "another locator",
        judge: |shop| changed(shop, |section| section.body = mapping(9)),
    },
    Probe {
        id: "ID-008.3",
        about: "no locators any more",
        judge: |shop| changed(shop, |section| section.flags.withdrawn = true),
    },
    Probe {
        id: "ID-008.4",
        about: "a higher sequence",
        judge: |shop| changed(shop, |section| section.version.sequence += 1),
    },
    Probe {
        id: "ID-008.5",
        about: "a shorter lifetime",
        judge: |shop| changed(shop, |section| section.lifetime -= seconds(1)),
    },
    Probe { id: "ID-008.6", about: "another epoch", judge: |shop| changed(shop, |section| section.version.epoch += 1) },
    Probe {
        id: "ID-008.7",
        about: "one bit of the signature flipped",
        judge: |shop| changed(shop, |section| section.signature[0] ^= 1),
    },
    Probe { id: "ID-008.8", about: "under the key of another owner", judge: other_owner },
    Probe { id: "ID-008.9", about: "under the key of another network", judge: other_network },
    Probe {
        id: "ID-011.2",
        about: "an Ed25519 signature that says RSA",
        judge: |shop| changed(shop, |section| section.algorithm = SignatureAlgorithm::RsaPkcs1Sha512),
    },
    Probe { id: "ID-015.1", about: "the record of one instance under the key of another", judge: other_instance },
    Probe { id: "ID-015.2", about: "one owner speaks in two instances under one name", judge: two_instances },
    Probe { id: "ID-019.3", about: "a record after its lifetime", judge: expired },
    Probe { id: "ID-019.4", about: "a record signed ten minutes ahead", judge: ahead },
    Probe { id: "ID-020.1", about: "what is signed begins with the context text", judge: begins_with_context },
    Probe { id: "ID-020.2", about: "the signature of a certificate as that of a record", judge: certificate_signature },
    Probe { id: "ID-020.3", about: "a signature over the section without the context", judge: without_context },
];

fn broken(error: impl std::fmt::Display) -> Fault {
    Fault::Broken(error.to_string())
}

fn mapping(last: u8) -> Body {
    Body::Mapping(locator(last))
}

fn locator(last: u8) -> Mapping {
    let flags = RlocFlags { local: true, reachable: true, ..RlocFlags::default() };
    let address = Ipv4Addr::new(192, 0, 2, last).into();
    let rloc = Rloc { priority: 1, weight: 100, mpriority: 255, mweight: 0, flags, address, port: 0 };
    Mapping::new([rloc], Ttl(60))
}

fn signer(shop: &Workshop) -> Result<OperationalKey, Fault> {
    shop.ed25519.delegate(shop.now, 0).map_err(broken)
}

fn publish(shop: &Workshop, signer: &OperationalKey) -> Result<Publication, Fault> {
    publish::mapping(signer, Network::LAB, locator(1), shop.now, &mut Sequence::default()).map_err(broken)
}

fn read(key: &RecordKey, value: &[u8], now: SystemTime) -> Result<(), Refusal> {
    verify(Network::LAB, key, value, now, &mut CertificateCache::new()).map(drop)
}

fn must_refuse(read: Result<(), Refusal>) -> Judgement {
    match read {
        Ok(()) => Err(Fault::Broken("to be refused; taken".into())),
        Err(refusal) => Ok(format!("to be refused; refused: {refusal}")),
    }
}

fn as_published(shop: &Workshop) -> Judgement {
    for identity in [&shop.ed25519, &shop.rsa] {
        let publication = publish(shop, &identity.delegate(shop.now, 0).map_err(broken)?)?;
        read(&publication.key, &publication.value, shop.now).map_err(broken)?;
    }
    Ok("to be taken; taken from both kinds of identity".into())
}

/// The published MAPPING section, changed by somebody without the key.
fn changed(shop: &Workshop, change: impl FnOnce(&mut Section)) -> Judgement {
    let publication = publish(shop, &signer(shop)?)?;
    let value = edit(&publication.value, change)?;
    must_refuse(read(&publication.key, &value, shop.now))
}

fn edit(value: &[u8], change: impl FnOnce(&mut Section)) -> Result<Vec<u8>, Fault> {
    let mut sections = Bundle::decode(value).map_err(broken)?.into_sections();
    let mapping = sections.iter_mut().find(|section| section.class() == Class::Mapping);
    change(mapping.ok_or_else(|| broken("no MAPPING section"))?);
    Bundle::new(sections).map_err(broken)?.encode().map_err(broken)
}

fn other_owner(shop: &Workshop) -> Judgement {
    let publication = publish(shop, &signer(shop)?)?;
    must_refuse(read(&RecordKey::node(Network::LAB, shop.stranger.cn()), &publication.value, shop.now))
}

fn other_network(shop: &Workshop) -> Judgement {
    let publication = publish(shop, &signer(shop)?)?;
    let elsewhere = Network([0x20, 0x01, 0x0d, 0xb8]);
    let key = RecordKey::node(elsewhere, shop.ed25519.cn());
    must_refuse(read(&key, &publication.value, shop.now))?;
    // A reader of that network refuses it as well.
    must_refuse(verify(elsewhere, &key, &publication.value, shop.now, &mut CertificateCache::new()).map(drop))
}

fn in_instance(shop: &Workshop, signer: &OperationalKey, iid: u32) -> Result<Publication, Fault> {
    let net = "2001:db8:a::/48".parse().map_err(broken)?;
    let prefix = EidPrefix { iid: InstanceId(iid), net };
    let site = Site { proxy: true, site_id: 7, xtr_ids: [[9; 16]].into() };
    let body = Prefix { prefix, mapping: locator(1), site, map_servers: [Ipv4Addr::new(192, 0, 2, 53).into()].into() };
    publish::prefix(signer, Network::LAB, body, shop.now, &mut Sequence::default()).map_err(broken)
}

fn other_instance(shop: &Workshop) -> Judgement {
    let signer = signer(shop)?;
    let (five, six) = (in_instance(shop, &signer, 5)?, in_instance(shop, &signer, 6)?);
    must_refuse(read(&six.key, &five.value, shop.now))
}

fn two_instances(shop: &Workshop) -> Judgement {
    let signer = signer(shop)?;
    for iid in [5, 6] {
        let publication = in_instance(shop, &signer, iid)?;
        if publication.key.writer != shop.ed25519.cn() {
            return Err(broken("the name depends on the instance"));
        }
        read(&publication.key, &publication.value, shop.now).map_err(broken)?;
    }
    Ok(format!("to be taken; both taken from {}", signer.cn()))
}

fn expired(shop: &Workshop) -> Judgement {
    let publication = publish(shop, &signer(shop)?)?;
    read(&publication.key, &publication.value, shop.now + seconds(3500)).map_err(broken)?;
    must_refuse(read(&publication.key, &publication.value, shop.now + seconds(3700)))
}

fn ahead(shop: &Workshop) -> Judgement {
    let publication = publish(shop, &signer(shop)?)?;
    read(&publication.key, &publication.value, shop.now - seconds(60)).map_err(broken)?;
    must_refuse(read(&publication.key, &publication.value, shop.now - seconds(600)))
}

fn signed_bytes(publication: &Publication) -> Result<Vec<u8>, Fault> {
    let bundle = Bundle::decode(&publication.value).map_err(broken)?;
    let section = bundle.section(Class::Mapping).ok_or_else(|| broken("no MAPPING section"))?;
    section.signed_bytes(&publication.key).map_err(broken)
}

fn begins_with_context(shop: &Workshop) -> Judgement {
    let signed = signed_bytes(&publish(shop, &signer(shop)?)?)?;
    let context = String::from_utf8_lossy(CONTEXT).trim_end_matches('\0').to_owned();
    if signed.starts_with(CONTEXT) { Ok(context) } else { Err(broken(format!("not {context}"))) }
}

fn certificate_signature(shop: &Workshop) -> Judgement {
    let signer = signer(shop)?;
    let publication = publish(shop, &signer)?;
    let signature = &signer.identity_certificate_der()[signer.identity_certificate_der().len() - 64..];
    let value = edit(&publication.value, |section| {
        section.flags.by_identity = true;
        section.signature = signature.into();
    })?;
    must_refuse(read(&publication.key, &value, shop.now))
}

fn without_context(shop: &Workshop) -> Judgement {
    let signer = signer(shop)?;
    let publication = publish(shop, &signer)?;
    let signed = signed_bytes(&publication)?;
    let bare = signer.sign(&signed[CONTEXT.len()..]);
    let value = edit(&publication.value, |section| section.signature = bare.into())?;
    // The same signer with the context is taken, so that it is the context that matters.
    let whole = edit(&publication.value, |section| section.signature = signer.sign(&signed).into())?;
    read(&publication.key, &whole, shop.now).map_err(broken)?;
    must_refuse(read(&publication.key, &value, shop.now))
}
