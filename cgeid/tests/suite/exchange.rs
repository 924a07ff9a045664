// SPDX-License-Identifier: GPL-2.0-or-later
//! The forms in which people hand on a certificate: each gives it back, and each says what is wrong with a bad one.

use cgeid::exchange::{self, Form, Item, Part, dns, fingerprint, ndef, pem, text, vcard};
use cgeid::{ExchangeError, Identity, IdentityCertificate, LinkProof, Reason, Revocation, limits};
use proptest::prelude::*;

use crate::common::{ED25519, RSA, STRANGER, now};

type Encode = fn(&IdentityCertificate) -> Vec<u8>;
type Decode = fn(&[u8]) -> Result<Vec<u8>, ExchangeError>;

fn utf8(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Every form that carries the certificate without a picture.
const FORMS: [(Form, Encode, Decode); 6] = [
    (Form::Der, exchange::encode_der, exchange::decode_der),
    (Form::Pem, |certificate| pem::encode(certificate).into_bytes(), |bytes| pem::decode(utf8(bytes))),
    (Form::Text, |certificate| text::encode(certificate).into_bytes(), |bytes| text::decode(utf8(bytes))),
    (Form::Ndef, ndef::encode, ndef::decode),
    (Form::VCard, |certificate| vcard::encode(certificate).into_bytes(), |bytes| vcard::decode(utf8(bytes))),
    (
        Form::Dns,
        |certificate| dns::encode(certificate, "a.example.").unwrap().into_bytes(),
        |bytes| dns::decode(utf8(bytes)),
    ),
];

fn both() -> [&'static Identity; 2] {
    [&RSA, &ED25519]
}

/// The certificate that the octets are recognised as, if as one.
fn recognised(bytes: &[u8]) -> Result<Option<(Form, Vec<u8>)>, ExchangeError> {
    Ok(match exchange::recognise(bytes)? {
        Item::Public(parts) => match <[Part; 1]>::try_from(parts) {
            Ok([Part::Certificate { form, der }]) => Some((form, der)),
            _ => None,
        },
        _ => None,
    })
}

fn detail<T: std::fmt::Debug>(result: Result<T, ExchangeError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn every_form_gives_the_certificate_back_and_is_recognised() {
    for identity in both() {
        let der = identity.certificate().der();
        for (form, encode, decode) in FORMS {
            let bytes = encode(identity.certificate());
            assert_eq!(decode(&bytes).unwrap(), der, "{form}");
            assert_eq!(recognised(&bytes).unwrap(), Some((form, der.to_vec())));
        }
    }
}

#[test]
fn a_form_that_is_cut_anywhere_gives_nothing() {
    for (form, encode, _) in FORMS {
        let bytes = encode(ED25519.certificate());
        // White space at the end is no part of a text.
        let whole = bytes.trim_ascii_end().len();
        for length in 0..whole {
            let read = exchange::recognise(&bytes[..length]);
            assert!(read.is_err(), "{form} of {length} octets: {read:?}");
        }
    }
}

#[test]
fn what_is_none_of_the_forms_is_said_so() {
    for bytes in [&b""[..], b"hello", b"  \n", &[0; 40], b"{\"cn\": 1}", "\u{feff}é".as_bytes()] {
        assert_eq!(exchange::recognise(bytes).unwrap_err(), ExchangeError::Unknown, "{bytes:02x?}");
    }
    let long = vec![b'x'; limits::MAX_CONTAINER + 1];
    assert_eq!(exchange::recognise(&long).unwrap_err(), ExchangeError::TooLong { length: long.len() });
}

#[test]
fn signed_statements_and_chains_are_recognised_and_are_no_certificate() {
    let revocation = Revocation::issue(&ED25519, Reason::SUPERSEDED, now()).unwrap();
    let proof = LinkProof::issue(&ED25519, &STRANGER, "", now()).unwrap();
    for bytes in [revocation.encode(), revocation.to_pem().unwrap().into_bytes()] {
        let Item::Public(parts) = exchange::recognise(&bytes).unwrap() else { panic!() };
        assert!(matches!(&parts[..], [Part::Revocation(found)] if *found == revocation.encode()));
        assert!(detail(exchange::only_certificate(&parts)).starts_with("a revocation where a certificate"));
    }
    for bytes in [proof.encode(), proof.to_pem().unwrap().into_bytes()] {
        let Item::Public(parts) = exchange::recognise(&bytes).unwrap() else { panic!() };
        assert!(matches!(&parts[..], [Part::LinkProof(found)] if *found == proof.encode()));
        assert!(detail(exchange::only_certificate(&parts)).starts_with("a link proof where a certificate"));
    }
    let key = ED25519.delegate(now(), 0).unwrap();
    let chain = [crate::common::pem(key.certificate_der()), pem::encode(ED25519.certificate())].concat();
    let Item::Public(parts) = exchange::recognise(chain.as_bytes()).unwrap() else { panic!() };
    assert_eq!(parts.len(), 2);
    assert_eq!(exchange::only_certificate(&parts), Ok((Form::Pem, ED25519.certificate().der())));
}

#[test]
fn der_stands_alone() {
    let der = ED25519.certificate().der();
    let expected = der.len();
    assert_eq!(exchange::decode_der(&der[..100]), Err(ExchangeError::Cut { expected, found: 100 }));
    assert_eq!(exchange::decode_der(&[der, b"\n"].concat()), Err(ExchangeError::Trailing { length: 1 }));
    assert_eq!(exchange::decode_der(b"MII"), Err(ExchangeError::NotDer));
    // The same certificate with a length that BER has, and DER has not.
    let long = [&[0x30, 0x83, 0x00], &RSA.certificate().der()[2..]].concat();
    let endless = [&[0x30, 0x80], &der[4..], &[0, 0]].concat();
    for bytes in [long, endless] {
        assert!(detail(exchange::recognise(&bytes)).contains("is not DER"));
    }
}

#[test]
fn pem_may_have_prose_around_it_but_one_identity() {
    let (one, other) = (pem::encode(ED25519.certificate()), pem::encode(STRANGER.certificate()));
    let der = ED25519.certificate().der();
    assert_eq!(pem::decode(&format!("From a friend:\n\n{one}\nbye\n")).unwrap(), der);
    assert_eq!(pem::decode(&one.replace('\n', "\r\n")).unwrap(), der);
    assert_eq!(pem::decode(&format!("\u{feff}{one}")).unwrap(), der);
    let key = ED25519.delegate(now(), 0).unwrap();
    let operational = crate::common::pem(key.certificate_der());
    assert_eq!(pem::decode(&format!("{operational}{one}")).unwrap(), der);
    assert_eq!(
        pem::decode(&format!("{one}{other}")),
        Err(ExchangeError::Several { form: Form::Pem, what: "certificates" })
    );
    assert!(detail(pem::decode(&one[..300])).contains("cut within a CERTIFICATE"));
    assert!(detail(pem::decode(&one.replace("CERTIFICATE", "EC PRIVATE KEY"))).contains("EC PRIVATE KEY"));
    assert!(detail(pem::decode(&one.replace("MII", "M!I"))).contains("not a PEM"));
    assert!(detail(pem::decode(&one.repeat(33))).contains("more than 32"));
}

#[test]
fn the_text_of_a_code_has_one_spelling() {
    let text = text::encode(RSA.certificate());
    assert!(text.len() < 2100 && text.starts_with("CGEID1:"), "{}", text.len());
    let der = RSA.certificate().der();
    assert_eq!(text::decode(&format!("{text}\r\n")).unwrap(), der);
    assert_eq!(text::decode(&format!("QR-Code:{text}\n")).unwrap(), der);
    let half = text::decode(&text[..7 + 300]).unwrap_err();
    assert_eq!(half, ExchangeError::Cut { expected: der.len(), found: 200 });
    assert!(detail(text::decode(&text.to_lowercase())).contains("CGEID1:"));
    assert!(detail(text::decode(&text.replacen("CGEID1:", "CGEID1:é", 1))).contains("Base45"));
    // A last pair of digits above 255 has no octet: RFC 9285 wants it refused.
    assert!(detail(text::decode("CGEID1:::")).contains("Base45"));
    let twice = text::decode(&format!("{text}{text}"));
    assert_eq!(twice, Err(ExchangeError::Several { form: Form::Text, what: "certificates" }));
}

/// A record of the given flags and format.
fn record(flags: u8, kind: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[flags, kind.len() as u8], &length[..], kind, payload].concat()
}

#[test]
fn an_ndef_message_has_one_certificate_in_one_whole_record() {
    const MEDIA: &[u8] = b"application/pkix-cert";
    let der = ED25519.certificate().der();
    assert_eq!(ndef::encode(ED25519.certificate()), record(0xc2, MEDIA, der));
    assert_eq!(ndef::decode(&record(0xc2, b"Application/PKIX-Cert", der)).unwrap(), der);
    let uri = [&[0x91, 1, 4, b'U', 4][..], b"abc"].concat();
    assert_eq!(ndef::decode(&[uri.clone(), record(0x42, MEDIA, der)].concat()).unwrap(), der);

    let two = [record(0x82, MEDIA, der), record(0x42, MEDIA, der)].concat();
    assert_eq!(ndef::decode(&two), Err(ExchangeError::Several { form: Form::Ndef, what: "certificates" }));
    let refusals = [
        (record(0xe2, MEDIA, der), "chunks"),
        (record(0xc6, b"", der), "chunks"),
        (record(0xc7, MEDIA, der), "reserved"),
        (record(0xc0, MEDIA, der), "empty record"),
        (record(0xc4, MEDIA, der), "format 4"),
        (record(0xc2, b"text/plain", der), "no certificate"),
        (record(0x42, MEDIA, der), "begins the message"),
        ([record(0x82, MEDIA, der), record(0xc2, b"text/plain", b"")].concat(), "begins the message"),
        ([record(0xc2, MEDIA, der), vec![0]].concat(), "1 octets too many"),
        (record(0x82, MEDIA, der), "cut off"),
        (record(0xc2, MEDIA, &der[..99]), "cut off"),
        ([&[0xc2, 21, 0xff, 0xff, 0xff, 0xff], MEDIA, der].concat(), "cut off: 4294967295"),
        ([record(0x82, b"a/b", b""), record(0x02, b"a/b", b"").repeat(20)].concat(), "more than 16 records"),
    ];
    for (bytes, reason) in refusals {
        let error = detail(ndef::decode(&bytes));
        assert!(error.contains(reason), "{error}, not {reason}");
    }
}

#[test]
fn a_vcard_has_one_key_and_says_nothing_of_a_person() {
    let card = vcard::encode(ED25519.certificate());
    assert!(card.lines().all(|line| line.len() <= 75));
    let names: Vec<_> = card.lines().filter(|line| !line.starts_with(' ')).map(|line| &line[..3]).collect();
    assert_eq!(names, ["BEG", "VER", "FN:", "UID", "KEY", "END"]);
    assert!(card.contains(&format!("FN:{}\r\n", ED25519.address())));

    let der = ED25519.certificate().der();
    let edited = |from: &str, to: &str| {
        assert!(card.contains(from), "{from}");
        vcard::decode(&card.replacen(from, to, 1))
    };
    assert_eq!(vcard::decode(&card.replace("\r\n", "\n")).unwrap(), der);
    assert_eq!(edited("END:VCARD", "TEL;X=\"a:b;c\":1\r\nEND:vcard").unwrap(), der);
    assert_eq!(edited("KEY:", "item1.key;PREF=1:").unwrap(), der);
    assert_eq!(edited(";base64,", ";base64\\,").unwrap(), der);

    let key = card.split_once("KEY:").unwrap().1.split_once("END").unwrap().0;
    let two = edited("END:VCARD", &format!("KEY:{key}END:VCARD"));
    assert_eq!(two, Err(ExchangeError::Several { form: Form::VCard, what: "keys" }));
    let refusals = [
        (edited("VERSION:4.0", "VERSION:3.0"), "VERSION:4.0"),
        (edited("BEGIN:VCARD", "BEGIN:VEVENT"), "BEGIN:VCARD"),
        (edited("END:VCARD\r\n", ""), "no END:VCARD"),
        (edited("KEY:", "NOTE:"), "holds no certificate"),
        (edited("pkix-cert", "pgp-keys"), "application/pkix-cert"),
        (edited("KEY:data:application/pkix-cert;base64,", "KEY:https://example.org/"), "data: URI"),
        (edited("base64,M", "base64,!"), "Base64"),
        (edited("FN:", "FN\r\nX:"), "without a colon"),
        (vcard::decode(&card.repeat(2)), "one entry"),
    ];
    for (result, reason) in refusals {
        let error = detail(result);
        assert!(error.contains(reason), "{error}, not {reason}");
    }
}

#[test]
fn a_cert_record_is_read_however_it_is_printed() {
    let (rsa, small) = (RSA.certificate(), ED25519.certificate());
    let line = dns::encode(small, "host.example.").unwrap();
    // 15 is Ed25519, 10 is RSA with SHA-512 (RFC 8080, RFC 5702).
    assert!(line.starts_with("host.example. IN CERT PKIX ") && line.split(' ').nth(5) == Some("15"), "{line}");
    assert_eq!(dns::encode(rsa, "@").unwrap().split(' ').nth(5), Some("10"));
    let data = line.split(' ').nth(6).unwrap().trim();
    let (first, second) = data.split_at(56);
    for text in [
        format!("PKIX 0 0 {first} {second}\n"),
        format!("1 65535 RSASHA512 {data}"),
        format!(
            "; <<>> DiG\n;; ANSWER SECTION:\nh.example.\t60\tIN\tCERT\tPKIX 0 0 {first} {second}\n;; Query time: 1"
        ),
        format!("$ORIGIN example.\n$TTL 60\nh cert 1 0 0 ( {first}\n    {second} ) ; a comment"),
    ] {
        assert_eq!(dns::decode(&text).unwrap(), small.der(), "{text}");
        assert_eq!(recognised(text.as_bytes()).unwrap(), Some((Form::Dns, small.der().to_vec())), "{text}");
    }
    let several = Err(ExchangeError::Several { form: Form::Dns, what: "CERT records" });
    assert_eq!(dns::decode(&line.repeat(2)), several);
    assert_eq!(dns::decode(&format!("PKIX 0 0 {data}\nPKIX 0 0 {data}\n")), several);
    for (text, reason) in [
        (line.replace("PKIX", "PGP"), "type PGP"),
        (line.replace("PKIX", "PKIX -"), "key tag"),
        ("h IN CERT PKIX 0".to_owned(), "a type, a key tag"),
        (line.replace(first, ""), "certificate"),
        (line.replace(data, "MII"), "Base64"),
    ] {
        let error = detail(dns::decode(&text));
        assert!(error.contains(reason), "{error}, not {reason}");
    }
    for owner in ["", "a b", "a..b", "a;b", "a\nb", "\"", &"x".repeat(64)] {
        assert!(detail(dns::encode(small, owner)).contains("--owner"), "{owner}");
    }
}

#[test]
fn the_key_tag_is_that_of_a_dnskey() {
    // The first example key of RFC 8080 6.1 has the tag 3613 with flags 257, so 3612 with those of any zone key.
    let identity = Identity::from_seed(b"82260384628080122645190204142262", cgeid::Network::LAB, now()).unwrap();
    let line = dns::encode(identity.certificate(), "h").unwrap();
    assert_eq!(line.split(' ').nth(4), Some("3612"));
}

#[test]
fn a_fingerprint_is_128_digits() {
    let line = fingerprint::encode(ED25519.certificate());
    let expected = ED25519.certificate().fingerprint();
    let digits = line.trim().strip_prefix("CGEID1-SHA512:").unwrap();
    for text in [&line, digits, &digits.to_uppercase(), &format!(" {line} ")] {
        assert_eq!(fingerprint::decode(text).unwrap(), *expected);
        let item = exchange::recognise(text.as_bytes()).unwrap();
        assert!(matches!(item, Item::Fingerprint(found) if *found == *expected));
    }
    assert!(detail(fingerprint::decode(&line[..100])).contains("this one 86"));
    assert!(detail(fingerprint::decode(&line.replace("SHA512:", "SHA512:g")[..142])).contains("digit 1 is none"));
}

#[cfg(feature = "shell")]
mod pictures {
    use super::*;
    use cgeid::exchange::picture;

    #[test]
    fn a_picture_gives_its_text_back() {
        for identity in both() {
            let text = text::encode(identity.certificate());
            let png = picture::encode_png(&text).unwrap();
            assert!(matches!(exchange::recognise(&png), Ok(Item::Picture)));
            assert_eq!(picture::decode_png(&png).unwrap(), text);
            let svg = picture::encode_svg(&text).unwrap();
            let expected = Some((Form::Picture, identity.certificate().der().to_vec()));
            assert_eq!(recognised(svg.as_bytes()).unwrap(), expected);
            let screen = picture::encode_terminal(&text).unwrap();
            let width = screen.lines().next().unwrap().chars().count();
            assert!(screen.lines().all(|line| line.chars().count() == width));
            assert_eq!(screen.lines().count(), width.div_ceil(2));
            assert!(width <= 133, "{width} columns");
        }
        assert!(detail(picture::encode_png(&"A".repeat(4297))).contains("QR picture"));
    }

    #[test]
    fn a_picture_that_is_cut_or_empty_or_vast_is_refused() {
        let png = picture::encode_png(&text::encode(ED25519.certificate())).unwrap();
        for length in [0, 8, 30, png.len() / 2] {
            assert!(detail(picture::decode_png(&png[..length])).contains("PNG"), "{length}");
        }
        let picture = |width: u32, height: u32, rows: &[u8]| {
            let mut out = Vec::new();
            let mut encoder = png::Encoder::new(&mut out, width, height);
            encoder.set_color(png::ColorType::Grayscale);
            encoder.write_header().unwrap().write_image_data(rows).unwrap();
            out
        };
        let white = picture(100, 100, &[255; 10_000]);
        assert!(detail(picture::decode_png(&white)).contains("no QR code"));
        let wide = picture(5000, 1, &[255; 5000]);
        assert!(detail(picture::decode_png(&wide)).contains("5000 x 1"));
        let foreign = "<svg xmlns=\"http://www.w3.org/2000/svg\"/>";
        assert!(detail(exchange::recognise(foreign.as_bytes())).contains("another program"));
        let vast = vec![0; limits::MAX_PICTURE + 1];
        assert_eq!(picture::decode_png(&vast), Err(ExchangeError::TooLong { length: vast.len() }));
    }

    #[test]
    fn a_picture_full_of_corner_marks_is_refused_at_once() {
        const SIDE: usize = 1600;
        // Marks of 7 x 7 modules, three of white between them.
        let is_dark = |x: usize, y: usize| {
            let (x, y) = (x / 3 % 10, y / 3 % 10);
            x < 7 && y < 7 && x.abs_diff(3).max(y.abs_diff(3)) != 2
        };
        let pixels: Vec<u8> = (0..SIDE * SIDE).map(|at| if is_dark(at % SIDE, at / SIDE) { 0 } else { 255 }).collect();
        let mut png = Vec::new();
        let mut encoder = png::Encoder::new(&mut png, SIDE as u32, SIDE as u32);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
        assert!(detail(picture::decode_png(&png)).contains("corner marks"));
    }

    #[test]
    fn the_largest_code_has_few_corner_marks() {
        let text = "A".repeat(4296);
        assert_eq!(picture::decode_png(&picture::encode_png(&text).unwrap()).unwrap(), text);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn noisy_pictures_do_not_panic(seed in any::<u64>(), noise in 0u8..100, side in 1usize..200) {
            let mut state = seed;
            let mut byte = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            };
            let rows: Vec<u8> = (0..side * side).map(|at| {
                let base = if (at % side / 4 + at / side / 4) % 3 == 0 { 0 } else { 255 };
                if byte() < noise { byte() } else { base }
            }).collect();
            let mut out = Vec::new();
            let mut encoder = png::Encoder::new(&mut out, side as u32, side as u32);
            encoder.set_color(png::ColorType::Grayscale);
            encoder.write_header().unwrap().write_image_data(&rows).unwrap();
            let _ = picture::decode_png(&out);
        }

        #[test]
        fn pictures_with_spots_do_not_panic(spots in proptest::collection::vec((any::<u32>(), any::<u8>()), 0..400)) {
            let png = picture::encode_png("CGEID1:SOME TEXT").unwrap();
            let mut decoder = png::Decoder::new(std::io::Cursor::new(&png));
            decoder.set_transformations(png::Transformations::normalize_to_color8());
            let mut reader = decoder.read_info().unwrap();
            let mut grey = vec![0; reader.output_buffer_size().unwrap()];
            let frame = reader.next_frame(&mut grey).unwrap();
            for (at, value) in spots {
                let at = at as usize % grey.len();
                grey[at..].iter_mut().take(20).for_each(|pixel| *pixel = value);
            }
            let mut out = Vec::new();
            let mut encoder = png::Encoder::new(&mut out, frame.width, frame.height);
            encoder.set_color(png::ColorType::Grayscale);
            encoder.write_header().unwrap().write_image_data(&grey).unwrap();
            let _ = picture::decode_png(&out);
        }

        #[test]
        fn changed_png_files_do_not_panic(edits in proptest::collection::vec((any::<u32>(), any::<u8>()), 0..4)) {
            let mut png = picture::encode_png("CGEID1:SOME TEXT").unwrap();
            for (at, value) in edits {
                let at = at as usize % png.len();
                png[at] = value;
            }
            let _ = picture::decode_png(&png);
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = exchange::recognise(&bytes);
        let _ = ndef::decode(&bytes);
        let _ = exchange::decode_der(&bytes);
    }

    #[test]
    fn arbitrary_texts_do_not_panic(head in "(-----BEGIN |CGEID1:|BEGIN:VCARD\n|h CERT PKIX |<svg><desc>|CGEID1-SHA512:)?",
                                    tail in "(?s).{0,200}") {
        let text = format!("{head}{tail}");
        let _ = exchange::recognise(text.as_bytes());
        let _ = (pem::decode(&text), text::decode(&text), vcard::decode(&text), dns::decode(&text));
        let _ = fingerprint::decode(&text);
    }

    #[test]
    fn changed_forms_do_not_panic_and_give_nothing_else(which in 0..FORMS.len(), at in any::<u32>(), value in any::<u8>()) {
        let (_, encode, _) = FORMS[which];
        let mut bytes = encode(ED25519.certificate());
        let at = at as usize % bytes.len();
        bytes[at] = value;
        if let Ok(Some((_, der))) = recognised(&bytes)
            && let Ok(certificate) = IdentityCertificate::verify(&der, cgeid::Network::LAB, now())
        {
            prop_assert_eq!(&certificate, ED25519.certificate());
        }
    }

    #[test]
    fn any_identity_comes_back_in_any_form(seed in any::<[u8; 32]>()) {
        prop_assume!(seed != [0; 32]);
        let identity = Identity::from_seed(&seed, cgeid::Network::LAB, now()).unwrap();
        for (_, encode, decode) in FORMS {
            let decoded = decode(&encode(identity.certificate())).unwrap();
            prop_assert_eq!(&decoded[..], identity.certificate().der());
        }
        let line = fingerprint::encode(identity.certificate());
        prop_assert_eq!(fingerprint::decode(&line).unwrap(), *identity.certificate().fingerprint());
    }
}
