// SPDX-License-Identifier: GPL-2.0-or-later
//! One-time keys as they come from an ITR.

use wire::control::lispsec::{EcmAd, EidAd, Granted, HmacId, KdfId, OneTimeKey, WrapId, WrappedOtk};
use wire::control::{Ecm, Nonce};

use super::room::{ASKED, ITR, ITR_SECRET, Room, TUNNELLED, eids, named, site_secret, wrapped, wrapped_with};
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, must, should};
use crate::target::ItrKey;

const WRAPPING: &str = "9303 6.5";

pub(super) const PROBES: &[Probe<Room>] = &[
    must("LS-01.1", WRAPPING, "a key wrapped by AES-KEY-WRAP-128+HKDF-SHA256", aes),
    must("LS-01.2", WRAPPING, "a wrapped key with one octet changed, each of them in turn", changed),
    must("LS-01.3", WRAPPING, "a key wrapped with another secret", other_secret),
    must("LS-01.4", WRAPPING, "a key wrapped for another nonce", other_nonce),
    must("LS-01.5", WRAPPING, "an unencrypted key over a path that nothing protects", unencrypted),
    should("LS-01.6", WRAPPING, "the same is told to the operator", unencrypted_is_told),
    must("LS-01.7", "9303 6.5.1", "an unencrypted key over a path that is protected otherwise", tunnelled),
    must("LS-01.8", "9303 6.5.1", "an unencrypted key whose preamble is not zero", preamble),
    must("LS-01.9", "9303 8.4", "a key wrapped in a reserved and in an unknown way", unknown_wrap),
    must("LS-01.10", "9303 6.1", "the second secret of an ITR, by its Key ID", rotation),
    must("LS-01.11", "9303 6.1", "a Key ID that nobody has", unknown_key),
    must("LS-01.12", "9303 6.1", "an EID-AD that the ITR has filled in itself", filled),
    must("LS-01.13", "9303 6.1", "authentication data cut at each octet", cut),
    must("LS-01.14", WRAPPING, "a configuration with one secret for ITRs and a site", independent),
];

fn answered(room: &Room, at: std::net::Ipv4Addr, wrap: impl FnOnce(&OneTimeKey, Nonce) -> WrappedOtk) -> Judgement {
    let router = room.router(at)?;
    let verified = router.verified(&router.asking(101, room.host_of(1)?, ASKED, wrap)?)?;
    expect(eids(&verified) == [room.site_prefix(1)?], format!("both HMACs hold; {}", named(&verified)))
}

fn dropped(room: &Room, at: std::net::Ipv4Addr, wrap: impl FnOnce(&OneTimeKey, Nonce) -> WrappedOtk) -> Judgement {
    let router = room.router(at)?;
    let message = router.asking(102, room.host_of(1)?, ASKED, wrap)?.message;
    room.nothing_of(&router, &message)?;
    Ok("nothing came".into())
}

fn aes(room: &Room) -> Judgement {
    let keys = room.itr_keys()?;
    answered(room, ITR, |otk, nonce| wrapped(&keys, otk, nonce))
}

fn changed(room: &Room) -> Judgement {
    let keys = room.itr_keys()?;
    for at in 0..24 {
        dropped(room, ITR, |otk, nonce| {
            let mut wrapped = wrapped(&keys, otk, nonce);
            wrapped.octets[at] ^= 0x10;
            wrapped
        })
        .map_err(|fault| match fault {
            Fault::Broken(came) => broken(format!("octet {at}: {came}")),
            missing => missing,
        })?;
    }
    Ok("nothing came of 24".into())
}

fn other_secret(room: &Room) -> Judgement {
    let other = room.itr_keys()?.first().map(|key| ItrKey { secret: format!("not {}", key.secret), ..key.clone() });
    dropped(room, ITR, |otk, nonce| wrapped_with(other.as_ref(), otk, nonce))
}

fn other_nonce(room: &Room) -> Judgement {
    let keys = room.itr_keys()?;
    dropped(room, ITR, |otk, nonce| wrapped(&keys, otk, Nonce(nonce.0 + 1)))
}

fn unencrypted(room: &Room) -> Judgement {
    dropped(room, ITR, |otk, _| otk.unencrypted())
}

fn unencrypted_is_told(room: &Room) -> Judgement {
    let before = room.counted("sec-unencrypted")?;
    unencrypted(room)?;
    let after = room.counted("sec-unencrypted")?;
    expect(after == before + 1, format!("counted {} times", after - before))
}

fn tunnelled(room: &Room) -> Judgement {
    answered(room, TUNNELLED, |otk, _| otk.unencrypted())
}

fn preamble(room: &Room) -> Judgement {
    dropped(room, TUNNELLED, |otk, _| {
        let mut null = otk.unencrypted();
        null.octets[7] = 1;
        null
    })
}

fn unknown_wrap(room: &Room) -> Judgement {
    let keys = room.itr_keys()?;
    for wrap in [0, 3, 255] {
        dropped(room, ITR, |otk, nonce| WrappedOtk { wrap: WrapId(wrap), ..wrapped(&keys, otk, nonce) })?;
    }
    Ok("nothing came of 0, 3 and 255".into())
}

fn rotation(room: &Room) -> Judgement {
    let keys = room.itr_keys()?;
    answered(room, ITR, |otk, nonce| wrapped_with(keys.get(1), otk, nonce))
}

fn unknown_key(room: &Room) -> Judgement {
    let keys = room.itr_keys()?;
    let key_id = (9..).find(|id| keys.iter().all(|key| key.key_id != *id)).unwrap_or_default();
    dropped(room, ITR, |otk, nonce| WrappedOtk { key_id, ..wrapped(&keys, otk, nonce) })
}

fn filled(room: &Room) -> Judgement {
    let router = room.router(ITR)?;
    let asking = room.protected(&router, 103, room.host_of(1)?)?;
    let ecm = Ecm::decode(&asking.message).map_err(broken)?;
    let eids = vec![room.site_prefix(1)?.into()];
    let keys = room.itr_keys()?;
    let granted = Granted { cant_sign: false, hmac_id: HmacId(2), eids, hmac: vec![0; 16] };
    let eid_ad = EidAd { kdf: KdfId(2), granted: Some(granted) };
    let ad = EcmAd { requested_hmac: HmacId(2), otk: wrapped(&keys, &asking.otk, asking.nonce), eid_ad };
    let message = Ecm { security: Some(ad.encode().map_err(broken)?), ..ecm }.encode().map_err(broken)?;
    room.nothing_of(&router, &message)?;
    Ok("nothing came".into())
}

fn cut(room: &Room) -> Judgement {
    let router = room.router(ITR)?;
    let message = room.protected(&router, 104, room.host_of(1)?)?.message;
    for at in 0..message.len() {
        room.nothing_of(&router, &message[..at])?;
    }
    Ok(format!("nothing came of {}", message.len()))
}

fn independent(room: &Room) -> Judgement {
    let site = format!(
        "[[site]]\nname = \"a\"\neid-prefix = [\"10.0.0.0/8\"]\nkey = [{{ key-id = 1, secret = \"{}\" }}]\n",
        site_secret(1)
    );
    let itrs = |secret: &str| {
        format!("[[lisp-sec]]\nname = \"itrs\"\npeers = [\"192.0.2.0/24\"]\nkey = [{{ secret = \"{secret}\" }}]\n")
    };
    let (apart, told) = room.check(&format!("{site}{}", itrs(ITR_SECRET)))?;
    if apart != Some(0) {
        return Err(broken(format!("two secrets: it ended with {apart:?}: {told}")));
    }
    let (same, told) = room.check(&format!("{site}{}", itrs(&site_secret(1))))?;
    expect(same.is_some_and(|code| code != 0), format!("it ended with {same:?}: {told}"))
}
