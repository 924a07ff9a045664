// SPDX-License-Identifier: GPL-2.0-or-later
//! One-time keys as they come from an ITR.

use wire::control::Ecm;
use wire::control::auth::Secret;
use wire::control::lispsec::{EcmAd, EidAd, Granted, HmacId, KdfId, OneTimeKey, WrapId, WrappedOtk};

use super::room::{
    ASKED, ITR, ITR_SECRET, NEXT_SECRET, Room, TUNNELLED, eids, host_of, named, site_prefix, site_secret, wrapped,
};
use crate::suite::probe::{Fault, Judgement, Probe, broken, expect, must, should};

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

fn answered(
    room: &Room,
    at: std::net::Ipv4Addr,
    wrap: impl FnOnce(&OneTimeKey, wire::control::Nonce) -> WrappedOtk,
) -> Judgement {
    let router = room.router(at)?;
    let verified = router.verified(&router.asking(101, host_of(1), ASKED, wrap)?)?;
    expect(eids(&verified) == [site_prefix(1)], format!("both HMACs hold; {}", named(&verified)))
}

fn dropped(
    room: &Room,
    at: std::net::Ipv4Addr,
    wrap: impl FnOnce(&OneTimeKey, wire::control::Nonce) -> WrappedOtk,
) -> Judgement {
    let router = room.router(at)?;
    router.nothing_of(&router.asking(102, host_of(1), ASKED, wrap)?.message)?;
    Ok("nothing came".into())
}

fn aes(room: &Room) -> Judgement {
    answered(room, ITR, wrapped)
}

fn changed(room: &Room) -> Judgement {
    for at in 0..24 {
        dropped(room, ITR, |otk, nonce| {
            let mut wrapped = wrapped(otk, nonce);
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
    dropped(room, ITR, |otk, nonce| otk.wrap(3, &Secret::new(NEXT_SECRET), nonce))
}

fn other_nonce(room: &Room) -> Judgement {
    dropped(room, ITR, |otk, nonce| otk.wrap(3, &Secret::new(ITR_SECRET), wire::control::Nonce(nonce.0 + 1)))
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
    for wrap in [0, 3, 255] {
        dropped(room, ITR, |otk, nonce| WrappedOtk { wrap: WrapId(wrap), ..wrapped(otk, nonce) })?;
    }
    Ok("nothing came of 0, 3 and 255".into())
}

fn rotation(room: &Room) -> Judgement {
    answered(room, ITR, |otk, nonce| otk.wrap(4, &Secret::new(NEXT_SECRET), nonce))
}

fn unknown_key(room: &Room) -> Judgement {
    dropped(room, ITR, |otk, nonce| WrappedOtk { key_id: 9, ..wrapped(otk, nonce) })
}

fn filled(room: &Room) -> Judgement {
    let router = room.router(ITR)?;
    let asking = router.protected(103, host_of(1))?;
    let ecm = Ecm::decode(&asking.message).map_err(broken)?;
    let eids = vec![site_prefix(1).into()];
    let granted = Granted { cant_sign: false, hmac_id: HmacId(2), eids, hmac: vec![0; 16] };
    let eid_ad = EidAd { kdf: KdfId(2), granted: Some(granted) };
    let ad = EcmAd { requested_hmac: HmacId(2), otk: wrapped(&asking.otk, asking.nonce), eid_ad };
    let message = Ecm { security: Some(ad.encode().map_err(broken)?), ..ecm }.encode().map_err(broken)?;
    router.nothing_of(&message)?;
    Ok("nothing came".into())
}

fn cut(room: &Room) -> Judgement {
    let router = room.router(ITR)?;
    let message = router.protected(104, host_of(1))?.message;
    for at in 0..message.len() {
        router.nothing_of(&message[..at])?;
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
