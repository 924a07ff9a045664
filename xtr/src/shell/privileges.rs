// SPDX-License-Identifier: GPL-2.0-or-later
//! Capabilities (capabilities(7)): what is missing at the start, and what is given up once it has served.
//!
//! | capability | for | until |
//! |---|---|---|
//! | CAP_NET_ADMIN | the TUN device; addresses, routes and rules, which change while the node runs; send buffers | the end |
//! | CAP_NET_RAW | the raw senders of tier 0 | they are open |
//!
//! All others go before the first thread is started, the bounding set with them as far as the system lets us, and no program that
//! this one might start gets any again (no_new_privs). Capabilities are a thread's: the packet threads give up theirs themselves.

use std::collections::HashSet;

use caps::errors::CapsError;
use caps::{CapSet, Capability};

use super::Failure;
use crate::config::Tier;

/// What a node needs while it runs.
const LASTING: &[Capability] = &[Capability::CAP_NET_ADMIN];
/// What it needs until the sockets of tier 0 are open.
const AT_THE_START: &[Capability] = &[Capability::CAP_NET_ADMIN, Capability::CAP_NET_RAW];

/// Whether the process is the node's alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privileges {
    /// It is: what is not needed goes.
    Ours,
    /// Others in it need theirs.
    Shared,
}

impl Privileges {
    /// Checks that nothing is missing, and keeps what the start needs.
    ///
    /// # Errors
    /// Names the capability, and how to give it.
    pub fn at_the_start(self, tier: Tier) -> Result<(), Failure> {
        if self == Self::Shared {
            return Ok(());
        }
        let (needed, kept) = match tier {
            Tier::Zero => (AT_THE_START, AT_THE_START),
            // What falls back to tier 0 without it says so then.
            Tier::Auto => (LASTING, AT_THE_START),
            Tier::One => (LASTING, LASTING),
        };
        let effective = caps::read(None, CapSet::Effective).map_err(refused)?;
        if let Some(missing) = needed.iter().find(|capability| !effective.contains(capability)) {
            return Err(Failure::Machine(advice(*missing, tier)));
        }
        give_up_for_children();
        keep(kept).map_err(refused)
    }

    /// Keeps what a running node needs.
    ///
    /// # Errors
    /// What the system says.
    pub fn while_it_runs(self) -> Result<(), Failure> {
        if self == Self::Shared {
            return Ok(());
        }
        keep(LASTING).map_err(refused)
    }
}

/// Keeps what a packet thread needs, in this thread: its raw sockets are open.
pub(super) fn keep_in_packet_thread() {
    if let Err(error) = keep(LASTING) {
        tracing::warn!(%error, "a packet thread has more capabilities than it needs");
    }
}

fn advice(missing: Capability, tier: Tier) -> String {
    let what = match missing {
        Capability::CAP_NET_RAW => "raw sockets, which tier 0 sends by",
        _ => "the TUN device, routes and rules",
    };
    let program = std::env::current_exe().map_or("lisp-xtr".into(), |path| path.display().to_string());
    let all = if tier == Tier::Zero { "cap_net_admin,cap_net_raw" } else { "cap_net_admin" };
    format!(
        "{missing} is missing, for {what}: run the service lisp-xtr.service, or `setcap {all}+ep {program}`, or run as root"
    )
}

/// This process starts no other program; one that an attacker starts gets nothing.
fn give_up_for_children() {
    if let Err(error) = nix::sys::prctl::set_no_new_privs() {
        tracing::warn!(%error, "no_new_privs");
    }
    for set in [CapSet::Ambient, CapSet::Inheritable] {
        if let Err(error) = caps::clear(None, set) {
            tracing::debug!(?set, %error, "not cleared");
        }
    }
    for capability in caps::runtime::thread_all_supported() {
        // Only who has CAP_SETPCAP may; others have no more than they were given.
        if let Err(error) = caps::drop(None, CapSet::Bounding, capability) {
            return tracing::debug!(%error, "the bounding set stays");
        }
    }
}

/// Keeps these of the capabilities of this thread, as far as it has them.
fn keep(wanted: &[Capability]) -> Result<(), CapsError> {
    let permitted: HashSet<Capability> = caps::read(None, CapSet::Permitted)?;
    let kept: HashSet<Capability> = permitted.into_iter().filter(|capability| wanted.contains(capability)).collect();
    // What is effective has to be permitted: it goes first.
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)
}

fn refused(error: CapsError) -> Failure {
    Failure::Machine(format!("capabilities: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_names_what_is_missing_and_how_to_give_it() {
        let said = advice(Capability::CAP_NET_ADMIN, Tier::Auto);
        assert!(said.starts_with("CAP_NET_ADMIN is missing") && said.contains("setcap cap_net_admin+ep /"), "{said}");
        let said = advice(Capability::CAP_NET_RAW, Tier::Zero);
        assert!(said.starts_with("CAP_NET_RAW") && said.contains("setcap cap_net_admin,cap_net_raw+ep"), "{said}");
    }

    #[test]
    fn a_shared_process_keeps_what_it_has() -> Result<(), CapsError> {
        let before = caps::read(None, CapSet::Effective)?;
        assert!(Privileges::Shared.at_the_start(Tier::Zero).is_ok() && Privileges::Shared.while_it_runs().is_ok());
        assert_eq!(caps::read(None, CapSet::Effective)?, before);
        Ok(())
    }

    #[test]
    fn a_packet_thread_keeps_one_at_most() -> Result<(), CapsError> {
        // A thread of its own: the others of this test keep theirs.
        let kept = std::thread::spawn(|| {
            keep_in_packet_thread();
            Ok::<_, CapsError>([caps::read(None, CapSet::Effective)?, caps::read(None, CapSet::Permitted)?])
        });
        let Ok(kept) = kept.join() else { return Err("the thread panicked".into()) };
        let may_stay = HashSet::from([Capability::CAP_NET_ADMIN]);
        assert!(kept?.iter().all(|set| set.is_subset(&may_stay)));
        Ok(())
    }
}
