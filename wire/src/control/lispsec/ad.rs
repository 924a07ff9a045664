// SPDX-License-Identifier: GPL-2.0-or-later
//! The authentication data, octets to values and back (RFC 9303, sections 6.1 and 6.2).

use super::{HmacAlgorithm, HmacId, KdfId, WrapId};
use crate::address::Eid;
use crate::error::{DecodeError, EncodeError, Problem};
use crate::reader::Reader;
use crate::writer::{Writer, to_u8, to_u16};

/// Authentication data of an ECM (RFC 9303, section 6.1).
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |  ECM AD Type  |   Unassigned  |        Requested HMAC ID      |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |              OTK Length       |     Key ID    | OTK Wrap. ID  |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |          One-Time-Key Preamble, One-Time-Key ...              |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                           EID-AD ...                          |
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EcmAd {
    /// The HMAC function that the ITR would like.
    pub requested_hmac: HmacId,
    /// The one-time key.
    pub otk: WrappedOtk,
    /// What the Map-Server vouches for; nothing yet on the way to it.
    pub eid_ad: EidAd,
}

/// A one-time key on its way (OTK-AD).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedOtk {
    /// Which of the shared secrets.
    pub key_id: u8,
    /// How it is wrapped.
    pub wrap: WrapId,
    /// Preamble and key: 24 octets of the ways that we know.
    pub octets: Vec<u8>,
}

/// EID authentication data, alike in ECM and Map-Reply.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |           EID-AD Length       |           KDF ID              |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// | Record Count  |E| Unassigned  |         EID HMAC ID           |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+\
/// |  Unassigned   | EID mask-len  |           EID-AFI             | |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+ Rec
/// |                          EID-Prefix ...                       | |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+/
/// |                           EID HMAC ...                        |
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EidAd {
    /// How the key of the ETR is derived from that of the ITR.
    pub kdf: KdfId,
    /// What the Map-Server filled in; `None` of an ITR, whose EID-AD ends with the KDF ID.
    pub granted: Option<Granted>,
}

/// What a Map-Server vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// E: some ETR of the EID-prefix does not do LISP-SEC.
    pub cant_sign: bool,
    /// The HMAC function.
    pub hmac_id: HmacId,
    /// The EID-prefixes that may be answered for.
    pub eids: Vec<Eid>,
    /// The HMAC, keyed with the one-time key of the ITR.
    pub hmac: Vec<u8>,
}

/// Authentication data of a Map-Reply (RFC 9303, section 6.2).
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |  MR AD Type   |                Unassigned                     |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                           EID-AD ...                          |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |         PKT-AD Length         |         PKT HMAC ID           |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                           PKT HMAC ...                        |
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapReplyAd {
    /// What the Map-Server vouches for.
    pub eid_ad: EidAd,
    /// The HMAC function of the message.
    pub pkt_hmac_id: HmacId,
    /// The HMAC of the message, keyed with the one-time key of the ETR.
    pub pkt_hmac: Vec<u8>,
}

/// ECM AD Type and MR AD Type of LISP-SEC (RFC 9303, sections 8.1 and 8.2).
const LISP_SEC: u8 = 1;
/// E: the ETR cannot sign.
const CANT_SIGN: u8 = 0x80;
/// Octets of a wrapped 128-bit key: a preamble of 64 bits, and the key.
pub(super) const WRAPPED: usize = 24;
/// Octets of a length field and of what shares its word, both of which EID-AD Length and PKT-AD Length count.
const HEAD: usize = 4;

impl EcmAd {
    /// Decodes what [`Ecm::security`](crate::control::Ecm::security) keeps.
    ///
    /// # Errors
    /// Names the first field that is not as RFC 9303 says. A key of another length than its wrapping has, an HMAC of another
    /// length than its function has, and octets behind the last field are errors; numbers that are unknown are not.
    pub fn decode(octets: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(octets);
        let (requested_hmac, otk) = read_head(&mut reader)?;
        let eid_ad = EidAd::read(&mut reader)?;
        end("ECM AD", &reader)?;
        Ok(Self { requested_hmac, otk, eid_ad })
    }

    /// Encodes to what an ECM keeps.
    ///
    /// # Errors
    /// When a count or a length exceeds its field, or a key or HMAC has not the length of its kind.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        self.with_eid_ad(&self.eid_ad.encode()?)
    }

    /// The same with another EID-AD, whose octets were sealed by [`seal_eid_ad`](super::seal_eid_ad).
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn with_eid_ad(&self, eid_ad: &[u8]) -> Result<Vec<u8>, EncodeError> {
        let WrappedOtk { key_id, wrap, octets } = &self.otk;
        if let Some(length) = wrapped_length(*wrap).filter(|length| *length != octets.len()) {
            return Err(EncodeError { field: "One-Time-Key", count: octets.len(), limit: length });
        }
        let mut writer = Writer::new();
        writer.put(&[LISP_SEC, 0]);
        writer.u16(self.requested_hmac.0);
        writer.u16(to_u16("OTK Length", octets.len())?);
        writer.put(&[*key_id, wrap.0]);
        writer.put(octets);
        writer.put(eid_ad);
        Ok(writer.finish())
    }
}

/// The EID-AD of an ECM's authentication data as it stands there, for the ETR to copy (RFC 9303, section 6.8).
///
/// # Errors
/// When there is none where it should be.
pub fn eid_ad_octets(ecm_ad: &[u8]) -> Result<&[u8], DecodeError> {
    let mut reader = Reader::new(ecm_ad);
    read_head(&mut reader)?;
    Ok(reader.peek())
}

/// What is in front of the EID-AD of an ECM.
fn read_head(reader: &mut Reader<'_>) -> Result<(HmacId, WrappedOtk), DecodeError> {
    read_type("ECM AD Type", reader)?;
    reader.u8("Unassigned")?;
    let requested_hmac = HmacId(reader.u16("Requested HMAC ID")?);
    let length = usize::from(reader.u16("OTK Length")?);
    let [key_id, wrap] = reader.array("Key ID")?;
    let wrap = WrapId(wrap);
    if wrapped_length(wrap).is_some_and(|right| right != length) {
        return Err(reader.error_behind("OTK Length", HEAD, Problem::Length(length)));
    }
    let octets = reader.take("One-Time-Key", length)?.to_vec();
    Ok((requested_hmac, WrappedOtk { key_id, wrap, octets }))
}

impl EidAd {
    /// An EID-AD that says nothing yet, as ITRs and Map-Resolvers send it.
    pub fn unfilled(kdf: KdfId) -> Self {
        Self { kdf, granted: None }
    }

    /// Decodes an EID-AD and nothing behind it.
    ///
    /// # Errors
    /// As [`EcmAd::decode`].
    pub fn decode(octets: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(octets);
        let eid_ad = Self::read(&mut reader)?;
        end("EID-AD", &reader)?;
        Ok(eid_ad)
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (kdf, mut body) = read_counted("EID-AD Length", reader)?;
        let kdf = KdfId(kdf);
        if body.is_empty() {
            return Ok(Self::unfilled(kdf));
        }
        let [count, flags] = body.array("Record Count")?;
        let hmac_id = HmacId(body.u16("EID HMAC ID")?);
        let mut eids = Vec::new();
        for _ in 0..count {
            body.u8("Unassigned")?;
            let mask_len = body.u8("EID mask-len")?;
            eids.push(Eid::read(&mut body, mask_len)?);
        }
        let hmac = read_hmac("EID HMAC", hmac_id, &mut body)?;
        Ok(Self { kdf, granted: Some(Granted { cant_sign: flags & CANT_SIGN != 0, hmac_id, eids, hmac }) })
    }

    /// Encodes with the HMAC that stands in it; [`seal_eid_ad`](super::seal_eid_ad) computes one.
    ///
    /// # Errors
    /// As [`EcmAd::encode`].
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut writer = Writer::new();
        if let Some(Granted { cant_sign, hmac_id, eids, hmac }) = &self.granted {
            writer.put(&[to_u8("Record Count", eids.len())?, if *cant_sign { CANT_SIGN } else { 0 }]);
            writer.u16(hmac_id.0);
            for eid in eids {
                writer.put(&[0, eid.mask_len]);
                eid.write(&mut writer)?;
            }
            check_hmac("EID HMAC", *hmac_id, hmac)?;
            writer.put(hmac);
        }
        counted("EID-AD Length", self.kdf.0, &writer.finish())
    }
}

impl MapReplyAd {
    /// Decodes what [`MapReply::security`](crate::control::MapReply::security) keeps.
    ///
    /// # Errors
    /// As [`EcmAd::decode`].
    pub fn decode(octets: &[u8]) -> Result<Self, DecodeError> {
        Self::read(octets).map(|(ad, _)| ad)
    }

    /// The values, and the octets of the EID-AD.
    pub(super) fn read(octets: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        let mut reader = Reader::new(octets);
        read_type("MR AD Type", &mut reader)?;
        reader.take("Unassigned", HEAD - 1)?;
        let start = reader.clone();
        let eid_ad = EidAd::read(&mut reader)?;
        let eid_ad_octets = start.until(&reader);
        let (id, mut body) = read_counted("PKT-AD Length", &mut reader)?;
        let pkt_hmac_id = HmacId(id);
        let pkt_hmac = read_hmac("PKT HMAC", pkt_hmac_id, &mut body)?;
        end("MR AD", &reader)?;
        Ok((Self { eid_ad, pkt_hmac_id, pkt_hmac }, eid_ad_octets))
    }

    /// Encodes with the HMACs that stand in it; [`seal_reply`](super::seal_reply) computes them.
    ///
    /// # Errors
    /// As [`EcmAd::encode`].
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        check_hmac("PKT HMAC", self.pkt_hmac_id, &self.pkt_hmac)?;
        reply_ad(&self.eid_ad.encode()?, self.pkt_hmac_id, &self.pkt_hmac)
    }
}

/// The authentication data of a Map-Reply around the octets of an EID-AD.
pub(super) fn reply_ad(eid_ad: &[u8], pkt_hmac_id: HmacId, pkt_hmac: &[u8]) -> Result<Vec<u8>, EncodeError> {
    let pkt_ad = counted("PKT-AD Length", pkt_hmac_id.0, pkt_hmac)?;
    Ok([&[LISP_SEC, 0, 0, 0], eid_ad, &pkt_ad].concat())
}

/// A length that counts its own word, the 16 bits that share that word, and the octets behind them.
fn read_counted<'a>(field: &'static str, reader: &mut Reader<'a>) -> Result<(u16, Reader<'a>), DecodeError> {
    let length = usize::from(reader.u16(field)?);
    let id = reader.u16("identifier")?;
    let rest = length.checked_sub(HEAD).ok_or_else(|| reader.error_behind(field, HEAD, Problem::Length(length)))?;
    Ok((id, reader.sub(field, rest)?))
}

fn counted(field: &'static str, id: u16, body: &[u8]) -> Result<Vec<u8>, EncodeError> {
    let mut writer = Writer::new();
    writer.u16(to_u16(field, HEAD + body.len())?);
    writer.u16(id);
    writer.put(body);
    Ok(writer.finish())
}

/// All that is left of its part: as much as the function has, if we know the function.
fn read_hmac(field: &'static str, id: HmacId, body: &mut Reader<'_>) -> Result<Vec<u8>, DecodeError> {
    let length = body.remaining();
    if HmacAlgorithm::from_id(id).is_some_and(|known| known.length() != length) {
        return Err(body.error(field, Problem::Length(length)));
    }
    Ok(body.rest().to_vec())
}

fn check_hmac(field: &'static str, id: HmacId, hmac: &[u8]) -> Result<(), EncodeError> {
    match HmacAlgorithm::from_id(id) {
        Some(known) if known.length() != hmac.len() => {
            Err(EncodeError { field, count: hmac.len(), limit: known.length() })
        }
        _ => Ok(()),
    }
}

fn wrapped_length(wrap: WrapId) -> Option<usize> {
    [WrapId::NULL, WrapId::AES_HKDF_SHA256].contains(&wrap).then_some(WRAPPED)
}

fn read_type(field: &'static str, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    let kind = reader.u8(field)?;
    if kind == LISP_SEC { Ok(()) } else { Err(reader.error_behind(field, 1, Problem::Value(kind.into()))) }
}

fn end(field: &'static str, reader: &Reader<'_>) -> Result<(), DecodeError> {
    if reader.is_empty() { Ok(()) } else { Err(reader.error(field, Problem::Length(reader.remaining()))) }
}
