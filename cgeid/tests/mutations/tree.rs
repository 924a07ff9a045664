// SPDX-License-Identifier: GPL-2.0-or-later
//! DER as a tree, to be written back wrongly: wrong tags, wrong lengths, elements that are missing, doubled, exchanged
//! or taken from elsewhere. The lengths around a change fit it, unless the length itself is the change.

use rand::RngExt;
use rand::rngs::StdRng;

/// One element. Octet strings that hold whole elements are opened too: extensions and PKCS#12 hide theirs there.
#[derive(Clone)]
struct Element {
    tag: u8,
    length: Length,
    body: Body,
}

#[derive(Clone)]
enum Body {
    Octets(Vec<u8>),
    Elements(Vec<Element>),
}

/// How the length is written.
#[derive(Clone)]
enum Length {
    /// As DER asks for.
    Shortest,
    /// With this many octets more than it needs: BER allows that.
    Padded(usize),
    /// `80 ... 00 00`, BER as well.
    Indefinite,
    /// This number of octets more than there are.
    Wrong(isize),
}

/// Changes `original` in one to three ways; `donor` is another file of the kind, to take parts from. The text names
/// the changes.
pub(crate) fn mutate(random: &mut StdRng, original: &[u8], donor: &[u8]) -> (String, Vec<u8>) {
    let mut bytes = original.to_vec();
    let mut names = Vec::new();
    let changes = [1, 1, 1, 1, 1, 1, 2, 2, 3][random.random_range(0..9)];
    // A change may change nothing: two equal elements exchanged, a part replaced by the same. And a splice may be the
    // donor whole, which means what it says.
    while names.len() < changes || bytes == original || bytes == donor {
        let name = if random.random_bool(0.4) { None } else { change_tree(random, &mut bytes, donor) };
        names.push(name.unwrap_or_else(|| change_octets(random, &mut bytes, donor)));
    }
    (names.join(", "), bytes)
}

/// A change that knows nothing of the structure.
fn change_octets(random: &mut StdRng, bytes: &mut Vec<u8>, donor: &[u8]) -> String {
    if bytes.is_empty() {
        bytes.push(random.random());
        return "an octet out of nothing".to_owned();
    }
    let at = random.random_range(0..bytes.len());
    match random.random_range(0..8) {
        0 | 1 => {
            let bit = random.random_range(0..8);
            bytes[at] ^= 1 << bit;
            format!("bit {bit} of octet {at} flipped")
        }
        2 => {
            bytes[at] = [0x00, 0x01, 0x7f, 0x80, 0x81, 0x82, 0xff, random.random()][random.random_range(0..8)];
            format!("octet {at} set to {:02x}", bytes[at])
        }
        3 => {
            bytes.truncate(at);
            format!("cut off at {at}")
        }
        4 => {
            let more: Vec<u8> = (0..random.random_range(1..20)).map(|_| random.random()).collect();
            bytes.extend(&more);
            format!("{} octets appended", more.len())
        }
        5 => {
            bytes.insert(at, random.random());
            format!("an octet inserted at {at}")
        }
        6 => {
            bytes.remove(at);
            format!("octet {at} removed")
        }
        _ => {
            let from = at.min(donor.len());
            bytes.truncate(at);
            bytes.extend(&donor[from..]);
            format!("spliced with another file at {at}")
        }
    }
}

/// A change of the structure; `None` where there is none to change.
fn change_tree(random: &mut StdRng, bytes: &mut Vec<u8>, donor: &[u8]) -> Option<String> {
    let mut roots = parse(bytes)?;
    let count = roots.iter().map(Element::count).sum::<usize>();
    let mut index = random.random_range(0..count.max(1));
    let chosen = index;
    let element = roots.iter_mut().find_map(|root| root.nth(&mut index))?;
    let name = match random.random_range(0..10) {
        0 => element.retag(random),
        1 => element.lie_about_length(random),
        2 | 3 => element.change_body(random),
        4 => {
            *element = part_of(random, donor)?;
            "replaced by a part of another file"
        }
        5 => element.say_it_otherwise(random),
        _ => element.change_children(random)?,
    };
    *bytes = encoded(&roots);
    Some(format!("element {chosen}: {name}"))
}

/// Any element of a file.
fn part_of(random: &mut StdRng, file: &[u8]) -> Option<Element> {
    let mut roots = parse(file)?;
    let count = roots.iter().map(Element::count).sum::<usize>();
    let mut index = random.random_range(0..count.max(1));
    roots.iter_mut().find_map(|root| root.nth(&mut index)).cloned()
}

/// The elements that `bytes` consists of, if it consists of some, each with its length written as DER asks for.
fn parse(mut bytes: &[u8]) -> Option<Vec<Element>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (header, length) = match *bytes.get(1)? {
            short @ 0..=0x7f => (2, usize::from(short)),
            0x81 => (3, usize::from(*bytes.get(2)?)),
            0x82 => (4, usize::from(*bytes.get(2)?) << 8 | usize::from(*bytes.get(3)?)),
            _ => return None,
        };
        let (tag, octets) = (bytes[0], bytes.get(header..header + length)?);
        let opened = if tag & 0x20 != 0 || tag == 0x04 { parse(octets) } else { None };
        let body = opened.filter(|inner| !inner.is_empty()).map_or(Body::Octets(octets.to_vec()), Body::Elements);
        // What is inside has been compared where it was parsed.
        if self::length(length, 0) != bytes[1..header] {
            return None;
        }
        found.push(Element { tag, length: Length::Shortest, body });
        bytes = &bytes[header + length..];
    }
    Some(found)
}

/// These, one after the other.
fn encoded(elements: &[Element]) -> Vec<u8> {
    elements.iter().map(Element::encode).collect::<Vec<_>>().concat()
}

impl Element {
    /// Itself and all inside it.
    fn count(&self) -> usize {
        match &self.body {
            Body::Octets(_) => 1,
            Body::Elements(inner) => 1 + inner.iter().map(Element::count).sum::<usize>(),
        }
    }

    /// The element of this index in the order in which they are written.
    fn nth(&mut self, index: &mut usize) -> Option<&mut Element> {
        if *index == 0 {
            return Some(self);
        }
        *index -= 1;
        match &mut self.body {
            Body::Octets(_) => None,
            Body::Elements(inner) => inner.iter_mut().find_map(|element| element.nth(index)),
        }
    }

    fn retag(&mut self, random: &mut StdRng) -> &'static str {
        // BOOLEAN to UTCTime and GeneralizedTime, context tags, SET for SEQUENCE, and anything.
        const TAGS: [u8; 16] = [1, 2, 3, 4, 5, 6, 0x0c, 0x13, 0x16, 0x17, 0x18, 0x1e, 0x30, 0x31, 0xa0, 0xa3];
        self.tag = if random.random_bool(0.8) { TAGS[random.random_range(0..TAGS.len())] } else { random.random() };
        "another tag"
    }

    fn lie_about_length(&mut self, random: &mut StdRng) -> &'static str {
        self.length = match random.random_range(0..4) {
            0 => Length::Indefinite,
            1 => Length::Wrong([-2, -1, 1, 2, 127, 128, 65_535][random.random_range(0..7)]),
            _ => Length::Padded(random.random_range(1..4)),
        };
        "another length"
    }

    /// The same value in a form that BER allows and DER does not: the other kind of time, a default written out, a zero
    /// before a number.
    fn say_it_otherwise(&mut self, random: &mut StdRng) -> &'static str {
        const UTC_TIME: u8 = 0x17;
        const GENERALIZED_TIME: u8 = 0x18;
        match &mut self.body {
            Body::Elements(inner) => {
                let default = Element { tag: 0x01, length: Length::Shortest, body: Body::Octets(vec![0]) };
                inner.insert(random.random_range(0..=inner.len()), default);
            }
            Body::Octets(octets) if self.tag == UTC_TIME => {
                self.tag = GENERALIZED_TIME;
                octets.splice(0..0, *b"20");
            }
            Body::Octets(octets) if self.tag == GENERALIZED_TIME => {
                self.tag = UTC_TIME;
                octets.drain(..octets.len().min(2));
            }
            Body::Octets(octets) => octets.insert(0, 0),
        }
        "said otherwise"
    }

    fn change_body(&mut self, random: &mut StdRng) -> &'static str {
        let Body::Octets(octets) = &mut self.body else {
            self.body = Body::Elements(Vec::new());
            return "emptied";
        };
        if octets.is_empty() {
            octets.push(random.random());
            return "filled";
        }
        let at = random.random_range(0..octets.len());
        match random.random_range(0..6) {
            0 => octets.clear(),
            1 => octets.insert(0, [0x00, 0xff, 0x80][random.random_range(0..3)]),
            2 => octets.push(random.random()),
            3 => octets.truncate(at),
            // One digit, or one letter's case: what stays a valid text, number or date.
            4 => octets[at] = octets[at] & 0xf0 | random.random_range(0..10),
            _ => octets[at] ^= 1 << random.random_range(0..8),
        }
        "other contents"
    }

    fn change_children(&mut self, random: &mut StdRng) -> Option<&'static str> {
        let Body::Elements(inner) = &mut self.body else { return None };
        if inner.is_empty() {
            return None;
        }
        let (at, other) = (random.random_range(0..inner.len()), random.random_range(0..inner.len()));
        Some(match random.random_range(0..4) {
            0 => {
                inner.remove(at);
                "a part removed"
            }
            1 => {
                let part = inner[at].clone();
                inner.insert(other, part);
                "a part doubled"
            }
            _ => {
                inner.swap(at, other);
                "two parts exchanged"
            }
        })
    }

    fn encode(&self) -> Vec<u8> {
        let body = match &self.body {
            Body::Octets(octets) => octets.clone(),
            Body::Elements(inner) => encoded(inner),
        };
        let mut out = vec![self.tag];
        match self.length {
            Length::Shortest => out.extend(length(body.len(), 0)),
            Length::Padded(zeros) => out.extend(length(body.len(), zeros)),
            Length::Wrong(more) => out.extend(length(body.len().saturating_add_signed(more), 0)),
            Length::Indefinite => {
                out.push(0x80);
                return [out, body, vec![0, 0]].concat();
            }
        }
        out.extend(body);
        out
    }
}

fn length(length: usize, zeros: usize) -> Vec<u8> {
    if length < 0x80 && zeros == 0 {
        return vec![length as u8];
    }
    let digits: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|&digit| digit == 0).collect();
    [vec![0x80 | (digits.len() + zeros) as u8], vec![0; zeros], digits].concat()
}

#[test]
fn a_tree_that_nobody_changed_is_written_as_it_was() {
    let der = crate::common::RSA.certificate().der();
    let tree = parse(der).unwrap();
    assert_eq!(encoded(&tree), der);
    assert!(tree.iter().map(Element::count).sum::<usize>() > 50);
}
