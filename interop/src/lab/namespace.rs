// SPDX-License-Identifier: GPL-2.0-or-later
//! A network namespace, held by the thread that lives in it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getpid, gettid};

use super::error::LabError;

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace. One thread lives in it and runs what it is given; threads that this one starts live there too.
///
/// The namespace is gone when its thread, its processes and its sockets are: nothing names it in the file system.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    handle: File,
    path: PathBuf,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Namespace {
    /// Makes a namespace, with nothing in it but a loopback device that is down.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn create(name: &str) -> Result<Self, LabError> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (report, outcome) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(name.chars().take(15).collect())
            .spawn(move || {
                let entered = enter();
                let ready = entered.is_ok();
                if report.send(entered).is_ok() && ready {
                    queue.into_iter().for_each(|job| job());
                }
            })
            .map_err(|cause| LabError::failed(name, "cannot start a thread", cause))?;
        let (handle, path) =
            outcome.recv().unwrap_or_else(|_| Err(io::Error::other("its thread ended"))).map_err(|cause| {
                LabError::Refused {
                    what: "unshare(CLONE_NEWNET), a new network namespace".into(),
                    cause,
                    help: "Run as root (CAP_SYS_ADMIN), or with --user-namespace.",
                }
            })?;
        Ok(Self { name: name.into(), handle, path, jobs: Some(jobs), thread: Some(thread) })
    }

    /// Its name in the topology.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace itself, to move interfaces into.
    pub fn handle(&self) -> &File {
        &self.handle
    }

    /// Where other processes find it, as long as it is there.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `job` in the namespace and waits for it. `job` should be short: the namespace has one thread for all.
    ///
    /// # Errors
    /// When the thread of the namespace is gone, or `job` panicked.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, LabError> {
        let (answer, result) = mpsc::channel();
        let gone = |_| LabError::failed(&self.name, "cannot work there", io::Error::other("its thread is gone"));
        let job: Job = Box::new(move || drop(answer.send(job())));
        // The sender is only taken when this value is dropped.
        if let Some(jobs) = &self.jobs {
            jobs.send(job).map_err(|_| gone(mpsc::RecvError))?;
        }
        result.recv().map_err(gone)
    }

    /// Starts a thread of its own in the namespace, for what takes time.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>, LabError> {
        let name = self.name.chars().take(15).collect();
        self.run(move || std::thread::Builder::new().name(name).spawn(job))?
            .map_err(|cause| LabError::failed(&self.name, "cannot start a thread", cause))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // A panic in a job was already reported to whoever waited for it.
            let _ = thread.join();
        }
    }
}

fn enter() -> io::Result<(File, PathBuf)> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    let path = PathBuf::from(format!("/proc/{}/task/{}/ns/net", getpid(), gettid()));
    Ok((File::open("/proc/thread-self/ns/net")?, path))
}
