// SPDX-License-Identifier: GPL-2.0-or-later
//! What a lab needs of the machine: to be root here, or in a user namespace, and a TUN device.

use std::fs::{File, write};
use std::io;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use super::error::LabError;

/// The device that LISP nodes of user space are made with.
const TUN: &str = "/dev/net/tun";

/// How a lab came to its privileges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// We are root.
    Root,
    /// We are root in a user namespace, and nobody outside.
    UserNamespace,
}

/// Gets what a lab needs. Without root, or if `user_namespace` is asked for, this process moves into a new user namespace
/// in which it is root; nothing outside can be changed from there.
///
/// Must be called while the process has one thread: the kernel wants it so.
///
/// # Errors
/// Names exactly what is refused.
pub fn acquire(user_namespace: bool) -> Result<Privilege, LabError> {
    let wanted = if user_namespace || !geteuid().is_root() { Privilege::UserNamespace } else { Privilege::Root };
    if wanted == Privilege::UserNamespace {
        enter_user_namespace()?;
    }
    check_tun()?;
    Ok(wanted)
}

/// Whether a TUN device could be had, for those who want to know before they do something long.
///
/// # Errors
/// Names what is refused.
pub fn check_tun() -> Result<(), LabError> {
    match File::options().read(true).write(true).open(TUN) {
        Ok(_) => Ok(()),
        Err(cause) => Err(LabError::Refused {
            what: format!("opening {TUN}"),
            help: if cause.kind() == io::ErrorKind::NotFound {
                "Make it: modprobe tun; or in a container start that with --device /dev/net/tun."
            } else {
                "Grant it: chmod 0666 /dev/net/tun (the usual mode; a TUN still needs CAP_NET_ADMIN where it is used)."
            },
            cause,
        }),
    }
}

fn enter_user_namespace() -> Result<(), LabError> {
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|cause| LabError::Refused {
        what: "unshare(CLONE_NEWUSER), a user namespace".into(),
        cause: cause.into(),
        help: "Allow them (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, or \
               kernel.apparmor_restrict_unprivileged_userns=0), or run as root.",
    })?;
    // Without giving up setgroups first, the kernel takes no group map from an unprivileged process.
    for (file, text) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {user} 1")),
        ("/proc/self/gid_map", format!("0 {group} 1")),
    ] {
        write(file, text).map_err(|cause| LabError::Refused {
            what: format!("writing {file}"),
            cause,
            help: "Run as root, without --user-namespace.",
        })?;
    }
    Ok(())
}
