// SPDX-License-Identifier: GPL-2.0-or-later
//! Labs that stay: a process of their own holds them until they are taken down.

mod record;

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub use record::Record;

use crate::demo::{self, Controls, UsageError};
use crate::interrupt;
use crate::lab::privilege::{self, Privilege};
use crate::lab::{Lab, LabError, Node, Topology};
use crate::limits::{DOWN_TIME, POLL};
use crate::nat;
use crate::sites;

/// What this program puts before the error that it ends with.
pub const OUR_NAME: &str = "interop: ";

/// The hidden verb of the process that holds a lab.
pub const HOLD: &str = "hold-lab";

/// A lab by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LabName {
    /// The network of the demo with its nodes running: ping hB from hA, ask xA by exec xA -- lisp-xtr show map-cache
    Demo,
    /// Two hosts with a router between them, and nothing else
    TwoHosts,
    /// host-a --- xtr-a --- core --- xtr-b --- host-b, with a map system in the core: ping host-b from host-a
    TwoSites,
    /// The same with links and tunnels of jumbo frames: transfer something, and look at the path MTU of lisp-xtr show locators
    Jumbo,
    /// host-a --- xtr-a --- core --- proxy --- legacy, which knows nothing of LISP: ping both ways, through PITR and PETR
    Legacy,
    /// Two sites, of which one has two uplinks: ping on while one of them is switched off
    TwoProviders,
    /// host-a --- xtr-a --- nat --- core --- xtr-b --- host-b: the NAT is a strict one, xtr-a is reached through an RTR; ping host-a from
    /// host-b
    Nat,
}

/// What keeps a lab that stands: it is told the lab, its control sockets, and how to see whether all of its programs still run.
pub type Keep<'a> = &'a dyn Fn(&Lab, Controls, &mut dyn FnMut() -> Result<(), LabError>) -> anyhow::Result<()>;

/// How a lab is held. A new one takes a row here and a name above.
struct Recipe {
    lab: LabName,
    name: &'static str,
    /// Whether programs of ours run in it.
    has_programs: bool,
    hold: fn(&Path, Privilege, Keep<'_>) -> anyhow::Result<()>,
}

const RECIPES: [Recipe; 7] = [
    Recipe {
        lab: LabName::Demo,
        name: "demo",
        has_programs: true,
        hold: |programs, how, keep| demo::hold(programs, how, keep),
    },
    Recipe {
        lab: LabName::TwoHosts,
        name: "two-hosts",
        has_programs: false,
        hold: |_, _, keep| keep(&Lab::build(&two_hosts())?, Controls::new(), &mut || Ok(())),
    },
    Recipe {
        lab: LabName::TwoSites,
        name: "two-sites",
        has_programs: true,
        hold: |programs, _, keep| sites::hold(programs, keep),
    },
    Recipe {
        lab: LabName::Jumbo,
        name: "jumbo",
        has_programs: true,
        hold: |programs, _, keep| sites::hold_jumbo(programs, keep),
    },
    Recipe {
        lab: LabName::Legacy,
        name: "legacy",
        has_programs: true,
        hold: |programs, _, keep| sites::legacy::hold(programs, keep),
    },
    Recipe {
        lab: LabName::TwoProviders,
        name: "two-providers",
        has_programs: true,
        hold: |programs, _, keep| sites::two_providers::hold(programs, keep),
    },
    Recipe { lab: LabName::Nat, name: "nat", has_programs: true, hold: |programs, _, keep| nat::hold(programs, keep) },
];

impl LabName {
    /// As it is written.
    pub fn name(self) -> &'static str {
        self.recipe().map_or("", |recipe| recipe.name)
    }

    fn recipe(self) -> Option<&'static Recipe> {
        RECIPES.iter().find(|recipe| recipe.lab == self)
    }
}

/// Builds a lab that stays, and returns when it stands.
///
/// # Errors
/// When it is up already or could not be built; what went wrong was printed.
pub fn up(lab: LabName, user_namespace: bool, bin_dir: Option<&Path>) -> anyhow::Result<ExitStatus> {
    privilege::check_tun()?;
    let record = record::path(lab)?;
    if Record::read(&record).is_some_and(|record| record.is_alive()) {
        return Err(UsageError(format!("{} is up already; interop down {0} first", lab.name())).into());
    }
    let log_path = record::log_path(lab)?;
    let log = File::create(&log_path).with_context(|| format!("cannot write {}", log_path.display()))?;
    let mut holder = Command::new("/proc/self/exe");
    holder.args([HOLD, lab.name(), "--record"]).arg(&record);
    if user_namespace {
        holder.arg("--user-namespace");
    }
    if lab.recipe().is_some_and(|recipe| recipe.has_programs) {
        holder.arg("--bin-dir").arg(demo::provide_programs(bin_dir)?);
    }
    holder.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
    let mut holder = holder.spawn().context("cannot start the process that holds the lab")?;
    let status = follow(&mut holder, &record, &log_path)?;
    if !status.success() {
        // All of it was shown.
        std::fs::remove_file(&log_path).with_context(|| format!("cannot remove {}", log_path.display()))?;
    }
    Ok(status)
}

/// Shows what the holder says until the lab stands (then the status is success) or the holder ends.
fn follow(holder: &mut Child, record: &Path, log: &Path) -> anyhow::Result<ExitStatus> {
    let mut log = File::open(log)?;
    loop {
        let ended = holder.try_wait()?;
        let stands = Record::read(record).is_some_and(|record| record.pid == holder.id());
        let mut news = String::new();
        log.read_to_string(&mut news)?;
        // Whoever reads our output may be gone; the lab is built nevertheless.
        let _ = io::stdout().write_all(news.as_bytes()).and_then(|()| io::stdout().flush());
        match ended {
            Some(status) => return Ok(status),
            None if stands => return Ok(ExitStatus::default()),
            None => std::thread::sleep(POLL),
        }
    }
}

/// What the holder does: builds the lab, says so in `record`, and keeps it until a signal comes.
///
/// # Errors
/// When the lab cannot be built, or one of its programs ends.
pub fn hold(lab: LabName, user_namespace: bool, bin_dir: &Path, record: &Path) -> anyhow::Result<()> {
    // A session of its own: the lab outlives the terminal in which it was asked for.
    nix::unistd::setsid().or_else(|_| nix::unistd::getsid(None))?;
    let privilege = privilege::acquire(user_namespace)?;
    interrupt::watch()?;
    let keep = |lab_built: &Lab, controls: Controls, check: &mut dyn FnMut() -> Result<(), LabError>| {
        let user_namespace = privilege == Privilege::UserNamespace;
        let description = Record::of(lab, user_namespace, lab_built, controls)?;
        // Said before it can be read: whoever waits for the record shows what was said until then.
        println!("up: {}", description.line());
        description.write(record)?;
        let outcome = wait(check);
        // Why it has ended can be read from when it is up no longer: its other programs take a moment to end.
        if let Err(error) = &outcome {
            eprintln!("{OUR_NAME}{error:#}");
        }
        std::fs::remove_file(record).with_context(|| format!("cannot remove {}", record.display()))?;
        outcome
    };
    stand(lab, bin_dir, privilege, &keep)
}

/// Builds a lab in this process, and takes it down when `keep` has returned.
///
/// # Errors
/// When it cannot be built, and what `keep` says.
pub fn stand(lab: LabName, bin_dir: &Path, privilege: Privilege, keep: Keep<'_>) -> anyhow::Result<()> {
    let recipe = lab.recipe().context("no such lab")?;
    (recipe.hold)(bin_dir, privilege, keep)
}

fn wait(check: &mut dyn FnMut() -> Result<(), LabError>) -> anyhow::Result<()> {
    while interrupt::sleep(POLL * 10).is_ok() {
        check()?;
    }
    Ok(())
}

/// Takes labs down: the one named, or all.
///
/// # Errors
/// When the one named is not up, or one does not go.
pub fn down(lab: Option<LabName>) -> anyhow::Result<Vec<String>> {
    let labs: Vec<_> = Record::all()?.into_iter().filter(|one| lab.is_none_or(|lab| one.lab == lab.name())).collect();
    if let (Some(lab), []) = (lab, labs.as_slice()) {
        bail!("{} is not up", lab.name());
    }
    for record in &labs {
        let pid = Pid::from_raw(i32::try_from(record.pid)?);
        kill(pid, Signal::SIGTERM).with_context(|| format!("cannot signal process {pid}"))?;
        let deadline = Instant::now() + DOWN_TIME;
        while record.is_alive() {
            ensure!(Instant::now() < deadline, "{}: process {pid} does not end", record.lab);
            std::thread::sleep(POLL);
        }
    }
    remove_logs(lab)?;
    Ok(labs.into_iter().map(|record| record.lab).collect())
}

/// A lab that stood, until something in it failed.
#[derive(Debug)]
pub struct Ended {
    lab: &'static str,
    /// What its holder said last.
    why: String,
    log: PathBuf,
}

impl Ended {
    /// All of them, until they are brought up again or taken down.
    ///
    /// # Errors
    /// When the folder of the records cannot be read.
    pub fn all() -> anyhow::Result<Vec<Self>> {
        let mut all = vec![];
        for lab in LabName::value_variants() {
            let log = record::log_path(*lab)?;
            let said = std::fs::read(&log).unwrap_or_default();
            let said = String::from_utf8_lossy(&said);
            if let Some(why) = said.lines().rev().find_map(|line| line.strip_prefix(OUR_NAME)) {
                all.push(Self { lab: lab.name(), why: why.to_owned(), log });
            }
        }
        Ok(all)
    }

    /// The same for people.
    pub fn line(&self) -> String {
        format!("{} has ended: {}; more is in {}", self.lab, self.why, self.log.display())
    }
}

/// Removes what holders wrote that are gone, also those that ended by themselves.
fn remove_logs(lab: Option<LabName>) -> anyhow::Result<()> {
    for name in LabName::value_variants().iter().copied().filter(|name| lab.is_none_or(|lab| lab == *name)) {
        let log = record::log_path(name)?;
        match std::fs::remove_file(&log) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(cause).with_context(|| format!("cannot remove {}", log.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The variable by which lisp-xtr knows its control socket.
const CONTROL: &str = "LISP_XTR_CONTROL";

/// Becomes `command` in the namespace of `host`; there `lisp-xtr show` finds the node of that host. Returns only if that
/// fails.
pub fn exec(host: &str, lab: Option<LabName>, command: &[String]) -> anyhow::Error {
    let Some((program, arguments)) = command.split_first() else {
        return UsageError("no command is given".into()).into();
    };
    match enter(host, lab) {
        Ok(control) => {
            let cause = Command::new(program).args(arguments).envs(control.map(|path| (CONTROL, path))).exec();
            anyhow::Error::new(cause).context(format!("cannot run {program}"))
        }
        Err(error) => error,
    }
}

/// Moves this process, which must have one thread, into the namespace of a host; returns the control socket there.
fn enter(host: &str, lab: Option<LabName>) -> anyhow::Result<Option<PathBuf>> {
    let all = Record::all()?;
    let having: Vec<_> =
        all.iter().filter(|one| lab.is_none_or(|lab| one.lab == lab.name()) && one.nodes.contains_key(host)).collect();
    let [record] = having.as_slice() else {
        let labs: Vec<_> = having.iter().map(|record| record.lab.as_str()).collect();
        let ended: Vec<_> = Ended::all()?.iter().map(Ended::line).collect();
        let why = match labs.as_slice() {
            [] => [&["no lab that is up has it".to_owned()], ended.as_slice()].concat().join("; "),
            several => format!("say --lab: {}", several.join(", ")),
        };
        return Err(UsageError(format!("{host}: {why}")).into());
    };
    let refused = |what: &str, path: &Path, cause: io::Error| LabError::Refused {
        what: format!("{what} {}", path.display()),
        cause,
        help: "Run as the user who brought the lab up.",
    };
    let enter = |path: PathBuf, kind| -> Result<(), LabError> {
        let file = File::open(&path).map_err(|cause| refused("opening", &path, cause))?;
        setns(file, kind).map_err(|errno| refused("setns to", &path, errno.into()))
    };
    // Both files are opened by path, but the second only after the first is entered: then we may.
    if record.user_namespace {
        enter(PathBuf::from(format!("/proc/{}/ns/user", record.pid)), CloneFlags::CLONE_NEWUSER)?;
    }
    enter(record.nodes[host].clone(), CloneFlags::CLONE_NEWNET)?;
    Ok(record.controls.get(host).cloned())
}

fn two_hosts() -> Topology {
    let host = |name, wire, addresses: [&str; 2], gateways: [&str; 2]| {
        let host = Node::host(name).port("eth0", wire, &addresses);
        host.default_route(gateways[0], "eth0").default_route(gateways[1], "eth0")
    };
    Topology::default()
        .with(host("left", "west", ["10.0.1.2/24", "2001:db8:1::2/64"], ["10.0.1.1", "2001:db8:1::1"]))
        .with(Node::router("middle").port("west", "west", &["10.0.1.1/24", "2001:db8:1::1/64"]).port(
            "east",
            "east",
            &["10.0.2.1/24", "2001:db8:2::1/64"],
        ))
        .with(host("right", "east", ["10.0.2.2/24", "2001:db8:2::2/64"], ["10.0.2.1", "2001:db8:2::1"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers;
    use crate::sites::{Between, legacy, moving, two_providers};

    #[test]
    fn no_network_contradicts_itself() {
        let sites = [Between::Tunnels, Between::Routes].map(sites::describe);
        let others = [two_hosts(), legacy::describe(), moving::describe(), two_providers::describe()];
        for network in sites
            .into_iter()
            .chain(others)
            .chain([1, 2].map(nat::network::describe))
            .chain([peers::network::describe()])
        {
            assert!(network.check().is_ok(), "{:?}", network.check());
        }
    }

    #[test]
    fn every_lab_has_a_recipe_under_the_name_that_the_command_line_has_for_it() {
        for lab in LabName::value_variants() {
            let written = lab.to_possible_value().map(|value| value.get_name().to_owned());
            assert_eq!(written.as_deref(), Some(lab.name()));
        }
    }
}
