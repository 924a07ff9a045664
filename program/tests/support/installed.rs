// SPDX-License-Identifier: GPL-2.0-or-later
//! A service in a folder that stands for the root of a machine, installed by the commands in the head of its unit, and run as its user.
//! Needs root, and setpriv (util-linux) and systemd-sysusers (systemd) as witnesses.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A service that is installed.
pub(crate) struct Installed {
    root: TempDir,
    unit: String,
    user: u32,
    group: u32,
    /// What the head has its user do before the start.
    trial: Vec<OsString>,
}

impl Installed {
    /// Follows the commands up to those to systemctl, which tell a manager that is not there; or says what the machine lacks.
    /// `package` is the folder of the crate, and `program` what was built of it.
    pub(crate) fn new(name: &str, package: &Path, program: &Path) -> Result<Self, String> {
        lacking().map_or(Ok(()), Err)?;
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), Permissions::from_mode(0o755)).unwrap();
        for folder in ["sources/target/release", "usr/bin", "etc/systemd/system"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let from = root.path().join("sources");
        symlink(package, from.join(package.file_name().unwrap())).unwrap();
        symlink(program, from.join("target/release").join(name)).unwrap();
        let unit = fs::read_to_string(package.join(format!("systemd/{name}.service"))).unwrap();
        let mut trial = None;
        for command in commands(&unit) {
            let words: Vec<&str> = command.split_whitespace().collect();
            match words.as_slice() {
                ["install", words @ ..] => {
                    run(Command::new("install").args(inside(root.path(), words)).current_dir(&from))
                }
                ["systemd-sysusers", file] => {
                    run(Command::new("systemd-sysusers").arg("--root").arg(root.path()).arg(file));
                }
                ["runuser", "-u", user, "--", program, words @ ..] => {
                    assert_eq!(Some(*user), setting(&unit, "User"), "who tries the configuration is who runs");
                    let program = root.path().join("usr/bin").join(program);
                    trial = Some([vec![program.into()], inside(root.path(), words)].concat());
                }
                _ => panic!("a command that is not known here: {command}"),
            }
        }
        let user = number(root.path(), "passwd", setting(&unit, "User").expect("a user"));
        let group = number(root.path(), "group", setting(&unit, "Group").expect("a group"));
        let installed = Self { root, user, group, trial: trial.expect("a trial"), unit };
        // As a manager does (systemd.exec(5)).
        fs::create_dir_all(installed.state()).unwrap();
        fs::set_permissions(installed.state(), Permissions::from_mode(0o700)).unwrap();
        chown(installed.state(), Some(user), Some(group)).unwrap();
        Ok(installed)
    }

    /// The folder that stands for the root.
    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    /// The folder for what must survive a restart.
    pub(crate) fn state(&self) -> PathBuf {
        self.root().join("var/lib").join(setting(&self.unit, "StateDirectory").expect("a folder"))
    }

    /// The folder of the configuration; it has the mode that the manager knows, and is closed to all but root and the group.
    pub(crate) fn folder(&self) -> PathBuf {
        let folder = self.root().join("etc").join(setting(&self.unit, "ConfigurationDirectory").expect("a folder"));
        let found = fs::metadata(&folder).unwrap();
        let known = setting(&self.unit, "ConfigurationDirectoryMode").expect("a mode");
        assert_eq!(format!("{:o}", found.mode() & 0o7777), known, "else each start is warned of");
        assert_eq!(
            (found.uid(), found.mode() & 0o027),
            (0, 0),
            "nobody else looks into it, and the service writes nothing"
        );
        folder
    }

    /// Puts a file beside the configuration, readable for the group that the folder gives it.
    pub(crate) fn put(&self, name: &str, text: &str) {
        let file = self.folder().join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    }

    /// What comes of the command by which the head has the configuration tried.
    pub(crate) fn tried(&self) -> Output {
        self.as_user(&self.trial, ["", ""]).output().unwrap()
    }

    /// As the manager starts it, but for what it hides of the machine.
    pub(crate) fn start(&self) -> Command {
        self.command("ExecStart")
    }

    /// What comes of the command by which the manager has it read its settings again, as the user that it is.
    pub(crate) fn reload(&self) -> Output {
        self.command("ExecReload").output().unwrap()
    }

    fn command(&self, name: &str) -> Command {
        let words: Vec<&str> = setting(&self.unit, name).expect("a program").split_whitespace().collect();
        let words = inside(self.root(), &words).into_iter();
        let state = |word: OsString| if word == "${STATE_DIRECTORY}" { self.state().into() } else { word };
        let given =
            ["CapabilityBoundingSet", "AmbientCapabilities"].map(|name| setting(&self.unit, name).expect("a set"));
        self.as_user(&words.map(state).collect::<Vec<_>>(), given)
    }

    /// Takes a file or the folder of the configuration from the group, as root's usual ones are, while `run` runs.
    pub(crate) fn without_group(&self, path: &Path, run: impl FnOnce()) {
        chown(path, Some(0), Some(0)).unwrap();
        run();
        chown(path, Some(0), Some(self.group)).unwrap();
    }

    /// The numbers of its user and its group.
    pub(crate) fn ids(&self) -> (u32, u32) {
        (self.user, self.group)
    }

    /// A program with the user and the group of the unit, and with these capabilities in its bounding set and its ambient set.
    fn as_user(&self, words: &[OsString], given: [&str; 2]) -> Command {
        let capability = |name: &str| format!(",+{}", name.to_lowercase().trim_start_matches("cap_"));
        let [bound, ambient] = given.map(|names| names.split_whitespace().map(capability).collect::<String>());
        let mut command = Command::new("setpriv");
        command.args(["--clear-groups", "--no-new-privs"]);
        command.arg(format!("--reuid={}", self.user)).arg(format!("--regid={}", self.group));
        command.arg(format!("--bounding-set=-all{bound}"));
        command.arg(format!("--inh-caps=-all{ambient}")).arg(format!("--ambient-caps=-all{ambient}"));
        command.args(words).current_dir("/");
        command
    }
}

/// What this machine lacks for it.
fn lacking() -> Option<String> {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return Some("root".into());
    }
    let tools = [("setpriv", "util-linux"), ("systemd-sysusers", "systemd")];
    let absent = |tool: &str| {
        Command::new(tool).arg("--version").output().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    tools.into_iter().find(|(tool, _)| absent(tool)).map(|(tool, package)| format!("{tool} (package {package})"))
}

/// The commands in the head of a unit, up to the first to systemctl.
fn commands(unit: &str) -> impl Iterator<Item = &str> {
    let head = unit.lines().take_while(|line| line.starts_with('#'));
    head.filter_map(|line| line.strip_prefix("#   ")).take_while(|command| !command.starts_with("systemctl "))
}

/// The value of a setting that is there once.
fn setting<'a>(unit: &'a str, name: &str) -> Option<&'a str> {
    let mut values = unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    values.next().filter(|_| values.next().is_none())
}

/// Words of a command with what lies on the machine inside of `root`, and the groups by their numbers there.
fn inside(root: &Path, words: &[&str]) -> Vec<OsString> {
    let is_group = |index: usize| index > 0 && words[index - 1] == "-g";
    let word = |(index, word): (usize, &&str)| match word.strip_prefix('/') {
        Some(path) => root.join(path).into(),
        None if is_group(index) => number(root, "group", word).to_string().into(),
        None => word.into(),
    };
    words.iter().enumerate().map(word).collect()
}

/// The number of a user (`passwd`) or a group (`group`).
fn number(root: &Path, table: &str, name: &str) -> u32 {
    let table = fs::read_to_string(root.join("etc").join(table)).unwrap();
    let row =
        table.lines().find(|row| row.split(':').next() == Some(name)).unwrap_or_else(|| panic!("no {name}: {table}"));
    row.split(':').nth(2).unwrap().parse().unwrap()
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// What ours read there: which start of the machine this is, which IPv6 addresses pass, and settings of the network, some of which `lisp-xtr`
/// writes. The unit is that of the program of tests.
#[test]
fn the_unit_hides_nothing_of_proc_but_other_processes() {
    let is_of_proc = |line: &&str| line.starts_with("ProcSubset=") || line.starts_with("ProtectProc=");
    assert_eq!(crate::UNIT.lines().filter(is_of_proc).collect::<Vec<_>>(), ["ProtectProc=invisible"]);
}
