// SPDX-License-Identifier: GPL-2.0-or-later
//! Where the suite makes its files, and the programs that it gives them to.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use cgeid::{Cn, Identity, Network, container};
use serde_json::Value;
use tempfile::TempDir;

use super::other::{Kind, Made, Other, Said};
use super::{Fault, Judgement, Probe};
use crate::der::{elements, inside, tlv};
use crate::exchange;
use crate::suite::bounded::{self, Trust};
use crate::target;

/// A key for suites and tests alone: making one takes seconds. It protects nothing.
const RSA_KEY: &[u8] = include_bytes!("../../../../cgeid/tests/data/rsa4096-test-key.pk8");

/// Password of all containers.
pub(super) const PASSWORD: &str = "conformance";

/// A program that is not over by then hangs: the longest makes an RSA key, which takes a minute where it is not optimised.
const HANGS: Duration = Duration::from_secs(180);

/// Names another program to judge.
const VARIABLE: &str = "CONFORMANCE_CGEID";

/// A folder, three identities whose certificates are valid now, and the program that is judged.
pub(super) struct Workshop {
    folder: TempDir,
    pub(super) program: PathBuf,
    pub(super) now: SystemTime,
    pub(super) rsa: Identity,
    pub(super) ed25519: Identity,
    pub(super) stranger: Identity,
    trust: Trust,
    /// The target, if it is not ours.
    other: Option<Other>,
}

/// How the program ended.
pub(super) struct Shown {
    code: Option<i32>,
    /// Standard output.
    pub(super) text: String,
    message: String,
    /// What a program of others said.
    said: Option<Said>,
}

impl Workshop {
    /// Makes the identities anew, for the program asks the machine's clock.
    pub(super) fn open() -> anyhow::Result<Workshop> {
        let now = SystemTime::now();
        Ok(Workshop {
            folder: tempfile::tempdir().context("a folder for the files of suite cgeid")?,
            program: program()?,
            now,
            rsa: Identity::from_pkcs8(RSA_KEY, Network::LAB, now)?,
            ed25519: Identity::from_seed(&[7; 32], Network::LAB, now)?,
            stranger: Identity::from_seed(&[8; 32], Network::LAB, now)?,
            trust: Trust::default(),
            other: target::judged().cgeid_issuer.as_ref().map(Other::new),
        })
    }

    /// Whether a check can be put to the target.
    pub(super) fn fits(&self, probe: &Probe) -> Result<(), Fault> {
        self.other.as_ref().map_or(Ok(()), |other| other.fits(probe))
    }

    /// The issuer and verifier of others, if that is the target.
    pub(super) fn other(&self) -> Option<&Other> {
        self.other.as_ref()
    }

    /// The first identity that an issuer of others makes in a container.
    pub(super) fn made_by(&self, other: &Other) -> Result<Made, Fault> {
        let kind = other.kinds(true).first().copied().unwrap_or(Kind::Ed25519);
        other.made(self, kind).cloned()
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the program says of a certificate in a network.
    pub(super) fn certificate(&self, name: &str, der: &[u8], network: Network) -> Result<Shown, Fault> {
        self.put(name, der)?;
        match &self.other {
            Some(other) => Ok(Shown::of(other.verify(self, name, network)?)),
            None if network == Network::LAB => self.ask(&["show", name]),
            None => self.ask(&["show", "--prefix", &network.to_string(), name]),
        }
    }

    /// What the program says of a container.
    pub(super) fn container(&self, name: &str, file: &[u8]) -> Result<Shown, Fault> {
        self.put(name, file)?;
        self.opened(name, None)
    }

    /// The same of one that is there, opened with the password in a file.
    pub(super) fn opened(&self, name: &str, password: Option<&str>) -> Result<Shown, Fault> {
        match (&self.other, password) {
            (Some(other), _) => Ok(Shown::of(other.open(self, name, password)?)),
            (None, Some(file)) => self.ask(&["show", "--password-file", file, name]),
            (None, None) => self.ask(&["show", name]),
        }
    }

    /// Runs our program in the folder.
    pub(super) fn ask(&self, arguments: &[&str]) -> Result<Shown, Fault> {
        if self.other.is_some() {
            return Err(Fault::Unfit("it is put to a verb of this implementation".into()));
        }
        let absent = |error| {
            let program = self.program.display();
            Fault::Missing(format!("{program} does not run ({error}); build it, or name another with {VARIABLE}"))
        };
        let output = self.trust.lent(|| self.run(&self.program, arguments, absent))?;
        Ok(Shown {
            code: output.status.code(),
            text: String::from_utf8_lossy(&output.stdout).into_owned(),
            message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            said: None,
        })
    }

    /// What the program reports as JSON; it must have done what was asked.
    pub(super) fn report(&self, arguments: &str) -> Result<Value, Fault> {
        let arguments: Vec<_> = arguments.split(' ').chain(["--json"]).collect();
        let shown = self.ask(&arguments)?;
        let value = serde_json::from_str(&shown.text).ok().filter(|_| shown.code == Some(0));
        value.ok_or_else(|| Fault::Broken(shown.came("done, and a report")))
    }

    /// What `verify` finds in files.
    pub(super) fn verify(&self, arguments: &[&str]) -> Result<Findings, Fault> {
        let shown = self.ask(&[&["verify", "--json"], arguments].concat())?;
        let report: Option<Value> = serde_json::from_str(&shown.text).ok();
        let ok = report.as_ref().and_then(|report| report["ok"].as_bool());
        // The exit code says the same as the report.
        match (report, ok.map(|ok| Some(i32::from(!ok)))) {
            (Some(report), Some(code)) if code == shown.code => Ok(Findings(report["findings"].clone())),
            _ => Err(Fault::Broken(shown.came("findings"))),
        }
    }

    /// Makes a file in the folder.
    pub(super) fn put(&self, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        exchange::given(name, bytes);
        std::fs::write(self.folder().join(name), bytes).map_err(|error| Fault::Missing(format!("{name}: {error}")))
    }

    /// The container of an identity, made once for all checks: hardening the password takes a second. The name belongs to
    /// this identity.
    pub(super) fn keep(&self, name: &str, identity: &Identity) -> Result<(), Fault> {
        if self.folder().join(name).exists() {
            return Ok(());
        }
        let bytes = container::save_identity(identity, PASSWORD).map_err(|error| Fault::Broken(error.to_string()))?;
        self.put(name, &bytes)
    }

    /// Reads a file that a program was to make in the folder.
    pub(super) fn get(&self, name: &str) -> Result<Vec<u8>, Fault> {
        std::fs::read(self.folder().join(name)).map_err(|error| Fault::Broken(format!("{name}: {error}")))
    }

    /// Runs `openssl`, a witness, in the folder; what it writes to standard output.
    pub(super) fn openssl(&self, arguments: &str) -> Result<Vec<u8>, Fault> {
        self.witness("openssl", arguments)
    }

    /// The same, with what it tells people.
    pub(super) fn ask_openssl(&self, arguments: &str) -> Result<Output, Fault> {
        self.ask_witness("openssl", arguments)
    }

    /// Runs a witness in the folder; what it writes to standard output.
    pub(super) fn witness(&self, program: &str, arguments: &str) -> Result<Vec<u8>, Fault> {
        Ok(self.ask_witness(program, arguments)?.stdout)
    }

    fn ask_witness(&self, program: &str, arguments: &str) -> Result<Output, Fault> {
        let words: Vec<_> = arguments.split(' ').collect();
        let absent = |error| Fault::Missing(format!("there is no {program} to ask ({error}): install it"));
        let output = self.run(Path::new(program), &words, absent)?;
        if output.status.success() {
            return Ok(output);
        }
        let told = [&output.stdout[..], &output.stderr].concat();
        Err(Fault::Broken(format!("{program} {arguments}: {}", String::from_utf8_lossy(&told).trim())))
    }

    fn run(
        &self,
        program: &Path,
        arguments: &[&str],
        absent: impl FnOnce(std::io::Error) -> Fault,
    ) -> Result<Output, Fault> {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.folder());
        command.env("CGEID_PASSWORD", PASSWORD).env("CGEID_NEW_PASSWORD", PASSWORD);
        let output = bounded::output_within(HANGS, command, absent)?;
        exchange::ran_to(program, arguments, &output);
        Ok(output)
    }

    /// A certificate of `identity`, changed and signed again by it, so that only the change is wrong with it.
    pub(super) fn forge(&self, identity: &Identity, edit: impl FnOnce(&mut Vec<Vec<u8>>)) -> Result<Vec<u8>, Fault> {
        forge(identity.certificate().der(), identity, edit)
    }
}

/// The one named by the variable, or the one beside this program; programs of tests lie a folder deeper.
fn program() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE) {
        return Ok(named.into());
    }
    let own = std::env::current_exe().context("the folder of this program")?;
    let beside = own.parent().unwrap_or(Path::new("."));
    let beside = if beside.ends_with("deps") { beside.parent().unwrap_or(beside) } else { beside };
    Ok(beside.join("cgeid"))
}

impl Shown {
    fn of(said: Said) -> Self {
        Self { code: None, text: String::new(), message: String::new(), said: Some(said) }
    }

    /// It was to name `cn`, and did.
    pub(super) fn names(&self, cn: Cn) -> Judgement {
        if let Some(said) = &self.said {
            return said.names(cn);
        }
        let held = self.code == Some(0) && self.text.contains(&cn.to_string());
        if held {
            Ok(format!("to be taken; taken as {cn}"))
        } else {
            Err(Fault::Broken(self.came(&format!("taken as {cn}"))))
        }
    }

    /// It was to refuse the file for a reason in which one of these words stands, and did; others have words of their own.
    pub(super) fn refuses(&self, words: &[&str]) -> Judgement {
        if let Some(said) = &self.said {
            return said.refuses();
        }
        let told = words.iter().any(|word| self.message.contains(word));
        // The name of the file says nothing.
        let reason = self.message.split_once(": ").map_or(self.message.as_str(), |(_, reason)| reason);
        if self.code == Some(1) && told && self.text.is_empty() {
            return Ok(format!("to be refused; refused: {reason}"));
        }
        Err(Fault::Broken(self.came(&format!("refused for \"{}\"", words.join("\" or \"")))))
    }

    fn came(&self, expected: &str) -> String {
        let code = self.code.map_or("by a signal".to_owned(), |code| format!("with {code}"));
        let text = self.text.lines().next().unwrap_or("nothing");
        format!("expected: {expected}; it ended {code}, said {text}, and: {}", self.message)
    }
}

/// What `verify` found, one for each thing in the files.
pub(super) struct Findings(Value);

impl Findings {
    /// A finding was to be of this kind and to hold, and does; what it says.
    pub(super) fn holds(&self, at: usize, kind: &str) -> Result<&Value, Fault> {
        let finding = &self.0[at];
        match finding["kind"] == kind && finding["ok"] == true {
            true => Ok(finding),
            false => Err(Fault::Broken(format!("expected: a {kind} that holds; came: {finding}"))),
        }
    }

    /// A finding was to be of this kind and to be refused for a reason in which one of these words stands, and is.
    pub(super) fn refuses(&self, at: usize, kind: &str, words: &[&str]) -> Judgement {
        let finding = &self.0[at];
        let why = finding["why"].as_str().unwrap_or_default();
        if finding["kind"] == kind && finding["ok"] == false && words.iter().any(|word| why.contains(word)) {
            return Ok(format!("to be refused; refused: {why}"));
        }
        Err(Fault::Broken(format!("expected: a {kind} refused for \"{}\"; came: {finding}", words.join("\" or \""))))
    }
}

/// Positions in a TBSCertificate of version 3.
pub(super) mod at {
    pub(in crate::suite::cgeid) const ALGORITHM: usize = 2;
    pub(in crate::suite::cgeid) const ISSUER: usize = 3;
    pub(in crate::suite::cgeid) const VALIDITY: usize = 4;
    pub(in crate::suite::cgeid) const SUBJECT: usize = 5;
    pub(in crate::suite::cgeid) const KEY: usize = 6;
    pub(in crate::suite::cgeid) const EXTENSIONS: usize = 7;
}

/// Changes a certificate and has `signer` sign it.
pub(super) fn forge(der: &[u8], signer: &Identity, edit: impl FnOnce(&mut Vec<Vec<u8>>)) -> Result<Vec<u8>, Fault> {
    let signed = elements(inside(der)).first().cloned().unwrap_or_default();
    let mut fields = elements(inside(&signed));
    edit(&mut fields);
    let tbs = tlv(0x30, &fields.concat());
    let signature = signer.sign(&tbs).map_err(|error| Fault::Missing(error.to_string()))?;
    let algorithm = fields.get(at::ALGORITHM).cloned().unwrap_or_default();
    Ok(tlv(0x30, &[tbs, algorithm, tlv(0x03, &[&[0][..], &signature].concat())].concat()))
}

/// Changes the list of extensions.
pub(super) fn edit_extensions(fields: &mut [Vec<u8>], edit: impl FnOnce(&mut Vec<Vec<u8>>)) {
    let mut extensions = elements(inside(inside(&fields[at::EXTENSIONS])));
    edit(&mut extensions);
    fields[at::EXTENSIONS] = tlv(0xa3, &tlv(0x30, &extensions.concat()));
}

/// A name of relative names with one common name each.
pub(super) fn name(tag: u8, texts: &[&str]) -> Vec<u8> {
    let relative = |text: &&str| {
        let attribute = [tlv(0x06, &[0x55, 0x04, 0x03]), tlv(tag, text.as_bytes())].concat();
        tlv(0x31, &tlv(0x30, &attribute))
    };
    tlv(0x30, &texts.iter().flat_map(relative).collect::<Vec<_>>())
}

/// Two dates, `YYMMDDHHMMSSZ`.
pub(super) fn dates(from: &str, to: &str) -> Vec<u8> {
    tlv(0x30, &[tlv(0x17, from.as_bytes()), tlv(0x17, to.as_bytes())].concat())
}

/// Seconds, for times around now.
pub(super) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
