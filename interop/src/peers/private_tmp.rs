// SPDX-License-Identifier: GPL-2.0-or-later
//! A /tmp of its own for a program that puts files of fixed names there.

#![allow(unsafe_code, reason = "what a child does between fork and exec has no safe form")]

use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Where the program sees the folder.
pub(super) const TMP: &str = "/tmp";

const ROOT: &CStr = c"/";
const TARGET: &CStr = c"/tmp";

/// Has `command` see `folder` as its /tmp; nobody else does. The mount goes with the process.
///
/// # Errors
/// When the path cannot be told to the kernel.
pub(super) fn give(command: &mut Command, folder: &Path) -> io::Result<()> {
    let folder = CString::new(folder.as_os_str().as_bytes())?;
    // SAFETY: between fork and exec only the system calls unshare and mount are made, with strings that were made before
    // the fork; both are safe after a fork of a process with many threads, and no memory is allocated.
    unsafe {
        command.pre_exec(move || {
            let none = None::<&CStr>;
            unshare(CloneFlags::CLONE_NEWNS)?;
            // What is mounted here must not be seen outside.
            mount(none, ROOT, none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)?;
            mount(Some(folder.as_c_str()), TARGET, none, MsFlags::MS_BIND, none)?;
            Ok(())
        });
    }
    Ok(())
}
