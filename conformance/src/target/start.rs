// SPDX-License-Identifier: GPL-2.0-or-later
//! How a target is started: a command, and the files that it reads.

use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use toml::Spanned;

use super::error::Wrong;
use super::map_system::Site;
use super::template::{self, Values};

/// A command with its files. All texts may have placeholders ([`template`]).
#[derive(Debug, Clone)]
pub struct Start {
    /// Program and arguments; it runs in a folder of its own, without the variables of our environment but PATH.
    pub command: Vec<String>,
    /// What it prints when it is ready; without it a target is ready when it answers.
    pub ready: Option<String>,
    /// What it reads.
    pub files: Vec<File>,
}

/// A file in the folder.
#[derive(Debug, Clone)]
pub struct File {
    /// Its name.
    pub name: String,
    /// What is in it; `{sites}` stands for all sites.
    pub text: String,
    /// What is written for a site: `{name}`, `{secret}`, `{key-id}`, `{iid}`; `{prefixes}` stands for its EID-prefixes.
    pub site: String,
    /// What is written for an IPv6 EID-prefix of a site: `{prefix}`, and what there is of the site.
    pub prefix: String,
    /// The same for an IPv4 one; as for IPv6 if it is not said.
    pub prefix4: String,
}

/// Placeholders that stand for something everywhere.
pub(super) const PLACES: &[&str] = &["address", "address6", "gateway", "gateway6", "interface", "folder"];
const OF_SITE: &[&str] = &["name", "secret", "key-id", "iid"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Written {
    command: Spanned<Vec<Spanned<String>>>,
    ready: Option<String>,
    #[serde(default)]
    file: Vec<WrittenFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenFile {
    name: Spanned<String>,
    text: Spanned<String>,
    site: Option<Spanned<String>>,
    prefix: Option<Spanned<String>>,
    prefix4: Option<Spanned<String>>,
}

impl Written {
    pub(super) fn checked(self) -> Result<Start, Wrong> {
        self.checked_with(&[])
    }

    /// The same with more places.
    pub(super) fn checked_with(self, more: &[&str]) -> Result<Start, Wrong> {
        self.checked_in(&[PLACES, more].concat())
    }

    /// The same with these places alone.
    pub(super) fn checked_in(self, places: &[&str]) -> Result<Start, Wrong> {
        if self.command.get_ref().is_empty() {
            return Err(Wrong::at(self.command.span().start, "start.command: empty"));
        }
        for argument in self.command.get_ref() {
            known(argument, places)?;
        }
        let command = self.command.into_inner().into_iter().map(Spanned::into_inner).collect();
        let files = self.file.into_iter().map(|file| file.checked(places)).collect::<Result<_, _>>()?;
        Ok(Start { command, ready: self.ready, files })
    }
}

pub(super) fn known(text: &Spanned<String>, places: &[&str]) -> Result<(), Wrong> {
    match template::unknown(text.get_ref(), places) {
        None => Ok(()),
        Some(name) => {
            let all: Vec<_> = places.iter().map(|place| format!("{{{place}}}")).collect();
            let problem =
                format!("{{{name}}} is no placeholder here; there is {}, {{program:VARIABLE}}", all.join(", "));
            Err(Wrong::at(text.span().start, problem))
        }
    }
}

impl WrittenFile {
    fn checked(self, places: &[&str]) -> Result<File, Wrong> {
        let name = self.name.get_ref();
        if name.is_empty() || name.starts_with('.') || name.contains('/') {
            let problem = format!("file.name: {name:?} is no name of a file in the folder of the target");
            return Err(Wrong::at(self.name.span().start, problem));
        }
        known(&self.text, &[places, &["sites"]].concat())?;
        let of_site = [places, OF_SITE].concat();
        for text in self.site.iter() {
            known(text, &[&of_site[..], &["prefixes"]].concat())?;
        }
        for text in self.prefix.iter().chain(&self.prefix4) {
            known(text, &[&of_site[..], &["prefix"]].concat())?;
        }
        let text = |text: Option<Spanned<String>>| text.map(Spanned::into_inner);
        let prefix = text(self.prefix).unwrap_or_default();
        Ok(File {
            name: self.name.into_inner(),
            text: self.text.into_inner(),
            site: text(self.site).unwrap_or_default(),
            prefix4: text(self.prefix4).unwrap_or_else(|| prefix.clone()),
            prefix,
        })
    }
}

impl Start {
    /// The variables that must hold the paths of programs.
    pub fn programs(&self) -> Vec<&str> {
        self.command.iter().flat_map(|argument| template::programs(argument)).collect()
    }

    /// Writes the files of a target with these sites into its folder; the command that starts it there. `values` has the places, such
    /// as `{address}`; `{folder}` is added.
    ///
    /// # Errors
    /// Which placeholder stands for nothing, or which file cannot be written.
    pub fn prepare(&self, folder: &Path, values: &Values, sites: &[Site]) -> Result<Command, String> {
        let mut values = values.clone();
        values.insert("folder", folder.to_string_lossy().into_owned());
        for file in &self.files {
            let path = folder.join(&file.name);
            let text = file.written(&values, sites)?;
            std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        let filled = self.command.iter().map(|argument| template::filled(argument, &values));
        let arguments = filled.collect::<Result<Vec<_>, _>>()?;
        let (program, arguments) = arguments.split_first().ok_or("an empty command")?;
        let mut command = Command::new(program);
        command.args(arguments).current_dir(folder).env_clear();
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        Ok(command)
    }
}

impl File {
    fn written(&self, places: &Values, sites: &[Site]) -> Result<String, String> {
        let all = sites.iter().map(|site| self.of_site(places, site)).collect::<Result<String, _>>()?;
        let mut values = places.clone();
        values.insert("sites", all);
        template::filled(&self.text, &values)
    }

    fn of_site(&self, places: &Values, site: &Site) -> Result<String, String> {
        let mut values = places.clone();
        let key = site.keys.first();
        values.insert("name", site.name.clone());
        values.insert("iid", site.iid.to_string());
        values.insert("secret", key.map(|key| key.secret.clone()).unwrap_or_default());
        values.insert("key-id", key.map(|key| key.id.to_string()).unwrap_or_default());
        let mut prefixes = String::new();
        for prefix in &site.prefixes {
            values.insert("prefix", prefix.to_string());
            let text = if prefix.addr().is_ipv4() { &self.prefix4 } else { &self.prefix };
            prefixes += &template::filled(text, &values)?;
        }
        values.insert("prefixes", prefixes);
        template::filled(&self.site, &values)
    }
}
