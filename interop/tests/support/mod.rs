// SPDX-License-Identifier: GPL-2.0-or-later
//! What several tests need: a demo with a temporary folder of its own, by which its traces are found.
#![allow(dead_code, reason = "each test program uses a part")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Condvar, LazyLock, Mutex};
use std::time::{Duration, Instant};

/// How many tests of this program wait for the machine.
static WAITING: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// What fills the processors or measures them has the machine for itself, also among test programs.
pub(crate) fn alone() -> File {
    let (lock, (waiting, changed)) = (lock_file(), &WAITING);
    *waiting.lock().unwrap() += 1;
    lock.lock().unwrap();
    *waiting.lock().unwrap() -= 1;
    changed.notify_all();
    lock
}

/// What waits, mostly, does so beside others of its kind, and beside nothing that is to be alone: it comes behind that, which otherwise would
/// never find nobody here.
pub(crate) fn beside_others() -> File {
    let (waiting, changed) = &WAITING;
    drop(changed.wait_while(waiting.lock().unwrap(), |waiting| *waiting > 0).unwrap());
    let lock = lock_file();
    lock.lock_shared().unwrap();
    lock
}

fn lock_file() -> File {
    File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("labs.lock")).unwrap()
}

/// Whether this test can run: without a user namespace, namespaces need root.
pub(crate) fn root_or_skip() -> bool {
    let root = is_root();
    if !root {
        assert_missing_is_allowed("root");
        println!("SKIP: namespaces without a user namespace need root");
    }
    root
}

/// Whether a program that tried a user namespace was refused it, or a TUN device, for lack of root.
pub(crate) fn refused_or_not(status: Option<i32>, said: &str) -> bool {
    let refused = status == Some(3) && !is_root();
    if refused {
        assert_missing_is_allowed(said);
        println!("SKIP: {said}");
    }
    refused
}

/// Where all tests must run (`CI` set), what the machine lacks is a failure and not a reason to skip.
pub(crate) fn assert_missing_is_allowed(what: &str) {
    assert!(std::env::var_os("CI").is_none(), "CI is set, and this machine lacks: {what}");
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Where the real programs are, built if they were not: for demos that are about something else than building.
pub(crate) fn built_programs() -> &'static str {
    static BUILT: LazyLock<PathBuf> = LazyLock::new(|| interop::demo::build_programs().unwrap());
    BUILT.to_str().unwrap()
}

/// Programs that a demo takes for built ones; they do nothing.
pub(crate) fn hollow_programs() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["cgeid", "lisp-dht", "lisp-mapsys", "lig", "lisp-xtr"] {
        // By another process: what this one writes to, a child that another test has just begun would keep open, and it would not run.
        assert!(Command::new("cp").arg("/bin/false").arg(folder.path().join(name)).status().unwrap().success());
    }
    folder
}

/// A script that runs; written by another process, as above.
pub(crate) fn write_program(path: &Path, script: &str) {
    let mut write = Command::new("sh");
    write.args(["-c", r#"rm -f "$1" && printf %s "$2" > "$1" && chmod 755 "$1""#, "sh"]).arg(path).arg(script);
    assert!(write.status().unwrap().success());
}

/// A demo, and the folder in which it may leave nothing.
pub(crate) struct Demo {
    pub(crate) child: Child,
    folder: tempfile::TempDir,
    output: PathBuf,
}

impl Demo {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Outside of that folder, which the demo must leave empty.
        let output = folder.path().with_extension("out");
        let file = File::create(&output).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_interop"))
            .arg("demo")
            .args(arguments)
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { child, folder, output }
    }

    /// Everything that it said until now.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap()
    }

    /// Processes that know its folder: its nodes and its sweeper.
    pub(crate) fn processes(&self) -> Vec<String> {
        let folder = self.folder.path().to_str().unwrap();
        let numbers = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok).map(|entry| entry.path());
        let lines = numbers.filter_map(|path| std::fs::read(path.join("cmdline")).ok());
        lines
            .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
            .filter(|line| line.contains(folder))
            .collect()
    }

    /// Waits until this many processes run in it.
    pub(crate) fn await_processes(&mut self, count: usize) {
        let deadline = Instant::now() + Duration::from_secs(600);
        while self.processes().len() < count {
            assert!(self.child.try_wait().unwrap().is_none(), "ended early: {}", self.said());
            assert!(Instant::now() < deadline, "{}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let id = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(id, signal).unwrap();
    }

    /// Nothing of it may be left, a moment after its end.
    pub(crate) fn assert_gone(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let files: Vec<_> =
                std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
            let processes = self.processes();
            if files.is_empty() && processes.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "left behind: {files:?} {processes:?}\n{}", self.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.output);
    }
}
