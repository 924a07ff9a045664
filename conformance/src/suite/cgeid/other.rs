// SPDX-License-Identifier: GPL-2.0-or-later
//! An issuer and verifier of others: which checks can be put to the commands of its target file, and what those do and say.
//!
//! A refusal says something only of a verifier that takes what is right: what it refuses counts when it has taken the certificate of the
//! same kind of key, or the container, as issued. The bound: a command that verifies gets [`VERIFY`], one that makes an identity
//! [`MAKE`], and no check begins after [`SUITE`].

use std::cell::{OnceCell, RefCell};
use std::net::Ipv6Addr;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use cgeid::{Cn, Identity, Network, PublicKey, container};

use super::workshop::{PASSWORD, Workshop};
use super::{Fault, Judgement, Probe, keys, pins, record, temporary};
use crate::exchange;
use crate::suite::bounded::{self, Trust};
use crate::target::template::Values;
use crate::target::{Asked, CgeidIssuer};

/// To say what a certificate is worth takes a program a second, on a busy machine and with a container to open some.
const VERIFY: Duration = Duration::from_secs(20);
/// An RSA key takes seconds, in some languages a minute.
const MAKE: Duration = Duration::from_secs(120);
/// After this no other check of the suite begins.
const SUITE: Duration = Duration::from_secs(300);
/// A command that hangs so many times in a row is not waited for any more.
const HANGS: u32 = 2;
/// Files that a command is given or makes, in the folder.
const PASSWORD_FILE: &str = "password";
/// The arc of RSA, 1.2.840.113549.1.1, as it stands in what has to do with an RSA key.
const RSA_ARC: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];

/// A command of `[cgeid-issuer]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    MakeEd25519,
    MakeRsa,
    /// Either of the two.
    Make,
    /// One of the two that writes a container.
    MakeContainer,
    Verify,
    /// The same in a network that the check names.
    VerifyIn,
    Open,
}

/// The checks that can be put to commands of others, by what they need.
const PUT_TO: &[(Verb, &[&str])] = &[
    (Verb::MakeRsa, &["ID-001.4"]),
    (Verb::MakeEd25519, &["ID-001.5"]),
    (Verb::Make, &["ID-005.6"]),
    (Verb::MakeContainer, &["ID-013.1", "ID-013.2", "ID-013.3"]),
    (Verb::VerifyIn, &["ID-001.3", "ID-004.9", "ID-006.2"]),
    (
        Verb::Verify,
        &[
            "ID-002.1",
            "ID-002.2",
            "ID-003.01",
            "ID-003.02",
            "ID-003.03",
            "ID-003.04",
            "ID-003.05",
            "ID-003.06",
            "ID-003.07",
            "ID-003.08",
            "ID-004.1",
            "ID-004.2",
            "ID-004.3",
            "ID-004.4",
            "ID-004.5",
            "ID-005.1",
            "ID-005.2",
            "ID-005.3",
            "ID-005.4",
            "ID-005.5",
            "ID-005.7",
            "ID-005.8",
            "ID-006.1",
            "ID-007.1",
            "ID-007.2",
            "ID-011.1",
            "ID-019.1",
            "ID-019.2",
        ],
    ),
    (
        Verb::Open,
        &["ID-012.1", "ID-012.2", "ID-012.3", "ID-012.4", "ID-012.5", "ID-012.6", "ID-012.7", "ID-012.8", "ID-012.9"],
    ),
];

/// The command that a check can be put to.
pub(super) fn verb(id: &str) -> Option<Verb> {
    PUT_TO.iter().find(|(_, ids)| ids.contains(&id)).map(|(verb, _)| *verb)
}

impl Verb {
    /// What it is called in target files.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::MakeEd25519 => "`make-ed25519`",
            Self::MakeRsa => "`make-rsa`",
            Self::Make => "`make-ed25519` or `make-rsa`",
            Self::MakeContainer => "`make-ed25519` or `make-rsa` with {container}",
            Self::Verify => "`verify`",
            Self::VerifyIn => "`verify` with {prefix}",
            Self::Open => "`open`",
        }
    }

    fn is_in(self, issuer: &CgeidIssuer) -> bool {
        let makes = [&issuer.make_ed25519, &issuer.make_rsa];
        let names = |asked: &Option<Asked>, place| asked.as_ref().is_some_and(|asked| asked.names(place));
        match self {
            Self::MakeEd25519 => issuer.make_ed25519.is_some(),
            Self::MakeRsa => issuer.make_rsa.is_some(),
            Self::Make => makes.into_iter().any(Option::is_some),
            Self::MakeContainer => makes.into_iter().any(|make| names(make, "container")),
            Self::Verify => issuer.verify.is_some(),
            Self::VerifyIn => names(&issuer.verify, "prefix"),
            Self::Open => issuer.open.is_some(),
        }
    }
}

/// Why a check cannot be put to this issuer; nothing if it can.
fn lacking(probe: &Probe, issuer: &CgeidIssuer) -> Option<String> {
    let is_of = |part: &[Probe]| part.iter().any(|other| other.id == probe.id);
    match verb(probe.id) {
        Some(verb) if verb.is_in(issuer) => None,
        Some(verb) => Some(format!("the target file gives no {} in [cgeid-issuer]", verb.name())),
        None if [keys::PROBES, record::PROBES, pins::PROBES, temporary::PROBES].into_iter().any(is_of) => {
            Some("it is put to the libraries of this implementation".into())
        }
        None => Some(
            "it is put to a library or a verb of this implementation, for which [cgeid-issuer] has no command".into(),
        ),
    }
}

/// The kinds of keys of identities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Ed25519,
    Rsa,
}

/// What a program of others said of a file.
pub(super) struct Said {
    output: Output,
    network: Network,
    /// Why its refusals say nothing.
    untrusted: Option<String>,
}

/// An issuer and verifier of others, and what is known of it.
pub(super) struct Other {
    issuer: &'static CgeidIssuer,
    trust: Trust,
    hung: RefCell<u32>,
    begun: Instant,
    /// Whether it takes certificates as issued, of Ed25519 and of RSA, and a container.
    takes: [OnceCell<Result<(), Fault>>; 3],
    /// The identities that it made.
    made: [OnceCell<Result<Made, Fault>>; 2],
}

/// An identity that it made: files in the folder, in PEM.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) certificate: String,
    /// The container that both were in.
    pub(super) container: Option<String>,
}

impl Other {
    pub(super) fn new(issuer: &'static CgeidIssuer) -> Self {
        let (trust, hung, begun) = (Trust::default(), RefCell::default(), Instant::now());
        Self { issuer, trust, hung, begun, takes: Default::default(), made: Default::default() }
    }

    /// Whether a check can be put to it, now.
    pub(super) fn fits(&self, probe: &Probe) -> Result<(), Fault> {
        match lacking(probe, self.issuer) {
            Some(why) => Err(Fault::Unfit(why)),
            None if self.begun.elapsed() > SUITE => {
                Err(Fault::Unfit(format!("not judged: the {} s of the suite are over", SUITE.as_secs())))
            }
            None => Ok(()),
        }
    }

    /// What it says of a certificate in a network; the file is there.
    pub(super) fn verify(&self, shop: &Workshop, name: &str, network: Network) -> Result<Said, Fault> {
        let der = shop.get(name)?;
        let kind = if der.windows(RSA_ARC.len()).any(|window| window == RSA_ARC) { Kind::Rsa } else { Kind::Ed25519 };
        let output = self.verified(shop, name, network)?;
        let control = || match kind {
            Kind::Ed25519 => self.control(0, || self.takes(shop, &shop.ed25519)),
            Kind::Rsa => self.control(1, || self.takes(shop, &shop.rsa)),
        };
        Ok(Said { network, untrusted: if output.status.success() { None } else { control() }, output })
    }

    fn verified(&self, shop: &Workshop, name: &str, network: Network) -> Result<Output, Fault> {
        self.run(shop, VERIFY, self.issuer.verify.as_ref(), &[("certificate", name)], network)
    }

    fn takes(&self, shop: &Workshop, identity: &Identity) -> Result<(), Fault> {
        shop.put("as-issued.der", identity.certificate().der())?;
        let output = self.verified(shop, "as-issued.der", Network::LAB)?;
        Said { output, network: Network::LAB, untrusted: None }.names(identity.cn()).map(drop)
    }

    /// What it says of a container that is there, opened with the password in a file.
    pub(super) fn open(&self, shop: &Workshop, name: &str, password: Option<&str>) -> Result<Said, Fault> {
        let output = self.opened(shop, name, password.unwrap_or(PASSWORD_FILE))?;
        let control = || {
            self.control(2, || {
                let bytes = container::save_identity(&shop.ed25519, PASSWORD).map_err(broken)?;
                shop.put("as-written.p12", &bytes)?;
                let output = self.opened(shop, "as-written.p12", PASSWORD_FILE)?;
                Said { output, network: Network::LAB, untrusted: None }.names(shop.ed25519.cn()).map(drop)
            })
        };
        let untrusted = if output.status.success() { None } else { control() };
        Ok(Said { network: Network::LAB, untrusted, output })
    }

    fn opened(&self, shop: &Workshop, name: &str, password: &str) -> Result<Output, Fault> {
        let files = [("container", name), ("password-file", password)];
        self.run(shop, VERIFY, self.issuer.open.as_ref(), &files, Network::LAB)
    }

    /// Why it does not take what is right; nothing if it does. It is asked once.
    fn control(&self, at: usize, ask: impl FnOnce() -> Result<(), Fault>) -> Option<String> {
        match self.takes[at].get_or_init(ask) {
            Ok(()) => None,
            Err(Fault::Broken(why) | Fault::Missing(why) | Fault::Unfit(why)) => Some(why.clone()),
        }
    }

    /// The identity that it makes of this kind, made once: its private key belongs to its certificate.
    pub(super) fn made(&self, shop: &Workshop, kind: Kind) -> Result<&Made, Fault> {
        let made = self.made[kind as usize].get_or_init(|| self.make(shop, kind));
        made.as_ref().map_err(Clone::clone)
    }

    /// The kinds that it makes, those in a container alone if that is asked for.
    pub(super) fn kinds(&self, in_container: bool) -> Vec<Kind> {
        let all = [(Kind::Ed25519, &self.issuer.make_ed25519), (Kind::Rsa, &self.issuer.make_rsa)];
        let is_wanted = |make: &Option<Asked>| make.as_ref().is_some_and(|it| !in_container || it.names("container"));
        all.into_iter().filter(|(_, make)| is_wanted(make)).map(|(kind, _)| kind).collect()
    }

    fn make(&self, shop: &Workshop, kind: Kind) -> Result<Made, Fault> {
        let (name, asked) = match kind {
            Kind::Ed25519 => ("made-ed25519", self.issuer.make_ed25519.as_ref()),
            Kind::Rsa => ("made-rsa", self.issuer.make_rsa.as_ref()),
        };
        let [key, certificate, container] = ["key", "crt", "p12"].map(|kind| format!("{name}.{kind}"));
        let files = [("key", &*key), ("certificate", &*certificate), ("container", &*container)];
        let output = self.run(shop, MAKE, asked, &files, Network::LAB)?;
        if !output.status.success() {
            return Err(broken(format!("expected: an identity; it ended with {}: {}", output.status, told(&output))));
        }
        let pem = format!("{name}.pem");
        let is_in_container = shop.folder().join(&container).exists();
        if is_in_container {
            let from = format!("pkcs12 -in {container} -passin file:{PASSWORD_FILE}");
            shop.openssl(&format!("{from} -nokeys -clcerts -out {certificate}"))?;
            shop.openssl(&format!("{from} -nocerts -nodes -out {key}"))?;
        }
        // openssl tells PEM and DER apart.
        shop.openssl(&format!("x509 -in {certificate} -out {pem}"))?;
        let of_certificate = shop.openssl(&format!("x509 -in {pem} -noout -pubkey"))?;
        let of_key = shop.openssl(&format!("pkey -in {key} -passin file:{PASSWORD_FILE} -pubout"))?;
        if of_certificate != of_key {
            return Err(broken("expected: the certificate of the private key; it is another key's"));
        }
        Ok(Made { certificate: pem, container: is_in_container.then_some(container) })
    }

    /// The name that openssl derives from the key in an identity that it made, which its certificate must have, of this kind of key.
    pub(super) fn derives(&self, shop: &Workshop, kind: Kind) -> Judgement {
        let pem = &self.made(shop, kind)?.certificate;
        let (public, spki) = (format!("{pem}.pub"), format!("{pem}.spki"));
        shop.openssl(&format!("x509 -in {pem} -pubkey -noout -out {public}"))?;
        shop.openssl(&format!("pkey -pubin -in {public} -pubout -outform DER -out {spki}"))?;
        let key = PublicKey::from_spki(&shop.get(&spki)?).map_err(broken)?;
        if key.ed25519().is_some() != (kind == Kind::Ed25519) {
            return Err(broken(format!("expected: a key of kind {kind:?}; it made another")));
        }
        let digest = shop.openssl(&format!("dgst -sha512 -binary {spki}"))?;
        let derived: String = digest.iter().take(Cn::LENGTH).map(|octet| format!("{octet:02x}")).collect();
        let subject = shop.openssl(&format!("x509 -in {pem} -noout -subject -nameopt RFC2253"))?;
        let subject = String::from_utf8_lossy(&subject).trim().to_owned();
        if subject != format!("subject=CN={derived}") {
            return Err(broken(format!("expected: CN={derived}, from its key; came: {subject}")));
        }
        Ok(format!("it made a certificate of {derived}, and openssl derives that from its key"))
    }

    /// openssl takes the self-signatures of the identities that it made, and so does its own `verify`, if it has that.
    pub(super) fn is_signed(&self, shop: &Workshop) -> Judgement {
        let kinds = self.kinds(false);
        for kind in &kinds {
            let pem = &self.made(shop, *kind)?.certificate;
            shop.openssl(&format!("verify -x509_strict -check_ss_sig -CAfile {pem} {pem}"))?;
            let der = format!("{pem}.der");
            shop.openssl(&format!("x509 -in {pem} -outform DER -out {der}"))?;
            if self.issuer.verify.is_some() {
                let output = self.verified(shop, &der, Network::LAB)?;
                if !output.status.success() {
                    return Err(broken(format!("it refuses the certificate that it made: {}", told(&output))));
                }
            }
        }
        Ok(format!("identities that it made of {kinds:?}"))
    }

    fn run(
        &self,
        shop: &Workshop,
        time: Duration,
        asked: Option<&Asked>,
        files: &[(&'static str, &str)],
        network: Network,
    ) -> Result<Output, Fault> {
        let asked = asked.ok_or_else(|| Fault::Unfit("the target file has no command for it".into()))?;
        if *self.hung.borrow() >= HANGS {
            return Err(Fault::Unfit(format!("not judged: its commands were not over in time {HANGS} times in a row")));
        }
        let mut values = Values::from([
            ("prefix", network.to_string()),
            ("password-file", PASSWORD_FILE.to_owned()),
            ("folder", shop.folder().display().to_string()),
        ]);
        values.extend(files.iter().map(|(place, name)| (*place, (*name).to_owned())));
        std::fs::write(shop.folder().join(PASSWORD_FILE), format!("{PASSWORD}\n")).map_err(missing)?;
        let command = asked.command(shop.folder(), &values).map_err(missing)?;
        let program = Path::new(command.get_program()).to_owned();
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect();
        let absent = |error| missing(format!("{} does not run: {error}", program.display()));
        let begun = Instant::now();
        let output = self.trust.lent(|| bounded::output_within(time, command, absent));
        let has_hung = output.is_err() && begun.elapsed() >= time;
        self.hung.replace_with(|hung| if has_hung { *hung + 1 } else { 0 });
        let output = output?;
        exchange::ran_to(&program, &arguments.iter().map(String::as_str).collect::<Vec<_>>(), &output);
        Ok(output)
    }
}

impl Said {
    /// It was to take the file as that of `cn`, and did: it ended with 0 and printed the name or the address.
    pub(super) fn names(&self, cn: Cn) -> Judgement {
        let text = String::from_utf8_lossy(&self.output.stdout).to_lowercase();
        let address = cn.address(self.network);
        let is_part = |each: char| !(each.is_ascii_hexdigit() || each == ':');
        let is_named =
            text.split(is_part).any(|word| word == cn.to_string() || word.parse() == Ok::<Ipv6Addr, _>(address));
        match self.output.status.success() {
            true if is_named => Ok(format!("to be taken; taken as {cn}")),
            true => {
                Err(broken(format!("expected: {cn} or {address}; it ended with 0 and printed {}", told(&self.output))))
            }
            false => Err(broken(format!(
                "expected: taken as {cn}; it ended with {}: {}",
                self.output.status,
                told(&self.output)
            ))),
        }
    }

    /// It was to refuse the file, and did, as one that takes what is right.
    pub(super) fn refuses(&self) -> Judgement {
        match (self.output.status.code(), &self.untrusted) {
            (Some(0), _) => Err(broken(format!("expected: refused; it was taken: {}", told(&self.output)))),
            (None, _) => Err(broken(format!("expected: refused; it ended with {}", self.output.status))),
            (Some(_), Some(why)) => {
                Err(Fault::Unfit(format!("not judged: it refuses this, and also what is right ({why})")))
            }
            (Some(code), None) => Ok(format!("to be refused; refused with {code}: {}", told(&self.output))),
        }
    }
}

/// The beginning of what a program said, to people first.
fn told(output: &Output) -> String {
    /// Characters that are told.
    const MOST: usize = 200;
    let all = [&output.stderr[..], &output.stdout].concat();
    let text: String = String::from_utf8_lossy(&all).trim().chars().take(MOST).collect();
    if text.is_empty() { "nothing".into() } else { text.replace('\n', " / ") }
}

fn broken(why: impl std::fmt::Display) -> Fault {
    Fault::Broken(why.to_string())
}

fn missing(why: impl std::fmt::Display) -> Fault {
    Fault::Missing(why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::cgeid::probes;

    #[test]
    fn what_is_put_to_others_are_checks_of_the_suite_each_once() {
        let mut ids: Vec<_> = PUT_TO.iter().flat_map(|(_, ids)| *ids).collect();
        assert!(ids.iter().all(|id| probes().iter().any(|probe| probe.id == **id)));
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }
}
