// SPDX-License-Identifier: GPL-2.0-or-later
//! The role of an issuer and verifier of CGEIDs: the commands that make an identity, and that say whether one holds.

use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use toml::Spanned;

use super::error::Wrong;
use super::start;
use super::template::{self, Values};

/// What stands for something in all commands: the prefix of the network, a file that holds the password, the folder that they run in.
const PLACES: &[&str] = &["prefix", "password-file", "folder"];

/// The commands of an issuer and verifier; what is not there is not judged. They run in a folder of the suite, without the variables of our
/// environment but PATH, and all texts may have placeholders ([`template`]).
#[derive(Debug, Clone)]
pub struct CgeidIssuer {
    /// Makes an identity with an Ed25519 key: private key and certificate go to `{key}` and `{certificate}`, in PEM or DER, or both to
    /// `{container}`, a PKCS#12 file under the password in `{password-file}`.
    pub make_ed25519: Option<Asked>,
    /// The same with an RSA key.
    pub make_rsa: Option<Asked>,
    /// Verifies the certificate in `{certificate}`, in DER, in the network `{prefix}`: exit status 0 says that it holds, and then the name
    /// or the address of its owner is printed; any other status that it does not.
    pub verify: Option<Asked>,
    /// Says the same of the identity in the PKCS#12 file `{container}`.
    pub open: Option<Asked>,
}

/// Program and arguments.
#[derive(Debug, Clone)]
pub struct Asked(Vec<String>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Written {
    make_ed25519: Option<WrittenCommand>,
    make_rsa: Option<WrittenCommand>,
    verify: Option<WrittenCommand>,
    open: Option<WrittenCommand>,
}

type WrittenCommand = Spanned<Vec<Spanned<String>>>;

impl Written {
    /// The same, checked; `at` is where the table stands.
    pub(super) fn checked(self, at: usize) -> Result<CgeidIssuer, Wrong> {
        let made: &[&[&str]] = &[&["container"], &["key", "certificate"]];
        let of =
            |name: &str, written: Option<WrittenCommand>, files| written.map(|it| asked(name, it, files)).transpose();
        let issuer = CgeidIssuer {
            make_ed25519: of("make-ed25519", self.make_ed25519, made)?,
            make_rsa: of("make-rsa", self.make_rsa, made)?,
            verify: of("verify", self.verify, &[&["certificate"]])?,
            open: of("open", self.open, &[&["container"]])?,
        };
        let all = [&issuer.make_ed25519, &issuer.make_rsa, &issuer.verify, &issuer.open];
        let is_empty = all.into_iter().all(Option::is_none);
        if is_empty {
            return Err(Wrong::at(at, "cgeid-issuer: no command; there is make-ed25519, make-rsa, verify, open"));
        }
        Ok(issuer)
    }
}

/// A command, which names the files of one of these lists.
fn asked(name: &str, written: WrittenCommand, files: &[&[&str]]) -> Result<Asked, Wrong> {
    let at = written.span().start;
    if written.get_ref().is_empty() {
        return Err(Wrong::at(at, format!("cgeid-issuer.{name}: empty")));
    }
    let places = [PLACES, &files.concat()].concat();
    for argument in written.get_ref() {
        start::known(argument, &places)?;
    }
    let asked = Asked(written.into_inner().into_iter().map(Spanned::into_inner).collect());
    if files.iter().any(|files| files.iter().all(|file| asked.names(file))) {
        return Ok(asked);
    }
    let wanted = |files: &&[&str]| files.iter().map(|file| format!("{{{file}}}")).collect::<Vec<_>>().join(" and ");
    let wanted: Vec<_> = files.iter().map(wanted).collect();
    Err(Wrong::at(at, format!("cgeid-issuer.{name}: it names no {}", wanted.join(", nor "))))
}

impl Asked {
    /// Whether it has this placeholder.
    pub fn names(&self, place: &str) -> bool {
        self.0.iter().any(|argument| template::names(argument).contains(&place))
    }

    /// The command with its placeholders filled in, for a folder.
    ///
    /// # Errors
    /// Which of them stands for nothing: the variable of a program that is not set, for one.
    pub fn command(&self, folder: &Path, values: &Values) -> Result<Command, String> {
        let filled = self.0.iter().map(|argument| template::filled(argument, values)).collect::<Result<Vec<_>, _>>()?;
        let (program, arguments) = filled.split_first().ok_or("an empty command")?;
        let mut command = Command::new(program);
        command.args(arguments).current_dir(folder).env_clear();
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        Ok(command)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::target::{Stance, Target, TargetError};

    const ISSUER: &str = r#"name = "an issuer"
claims = []
[cgeid-issuer]
make-ed25519 = ["{program:ISSUER}", "new", "--network", "{prefix}", "{container}", "{password-file}"]
make-rsa = ["sh", "{folder}/make", "{key}", "{certificate}"]
verify = ["{program:ISSUER}", "check", "{certificate}"]
"#;

    fn parse(text: &str) -> Result<Target, TargetError> {
        Target::parse(text, Path::new("t.toml"))
    }

    #[test]
    fn an_issuer_is_judged_by_its_suite_alone() {
        let target = parse(ISSUER).unwrap();
        let issuer = target.cgeid_issuer.as_ref().unwrap();
        assert!(issuer.make_ed25519.as_ref().unwrap().names("container") && issuer.open.is_none());
        for suite in crate::suite::SUITES {
            let is_run = target.stance(suite.name) == Stance::Run;
            assert_eq!(is_run, suite.name == "cgeid", "{}", suite.name);
        }
        let values = Values::from([("certificate", "a.der".into()), ("key", "a.key".into()), ("folder", "/f".into())]);
        let command = issuer.make_rsa.as_ref().unwrap().command(Path::new("/"), &values).unwrap();
        assert_eq!(command.get_args().collect::<Vec<_>>(), ["/f/make", "a.key", "a.der"]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (from, to, line, named) in [
            ("\"{container}\", ", "", 4, "names no {container}, nor {key} and {certificate}"),
            ("\"{key}\", ", "", 5, "names no"),
            ("{folder}", "{floor}", 5, "{floor} is no placeholder here; there is {prefix}"),
            ("\"{certificate}\"]\n", "\"certificate\"]\n", 5, "names no"),
            ("\"check\", \"{certificate}\"", "\"check\"", 6, "verify: it names no {certificate}"),
            ("[\"{program:ISSUER}\", \"check\", \"{certificate}\"]", "[]", 6, "verify: empty"),
            ("verify =", "check =", 6, "check"),
        ] {
            let text = ISSUER.replacen(from, to, 1);
            assert_ne!(text, ISSUER, "{from}");
            let error = parse(&text).unwrap_err();
            assert!(error.line == Some(line) && error.problem.contains(named), "{error}");
        }
        let error = parse("name = \"x\"\nclaims = []\n[cgeid-issuer]\n").unwrap_err();
        assert!(error.line == Some(3) && error.problem.contains("no command"), "{error}");
    }
}
