// SPDX-License-Identifier: GPL-2.0-or-later
//! Whether a run of the mill has entered every engine that there is for packets of the core.

use std::net::IpAddr;

use xtr::counters::{Count, DropReason};

use super::Mill;
use super::peers::{self, PEERS};

/// Where the mappings of the mill lead, one of them through a NAT.
const REACHED: [&str; 5] = ["192.0.2.2", "2001:db8:c::2", "192.0.2.3", "192.0.2.65", "192.0.2.6"];

/// The source check, GPE, trusted peers, the PETR, the RTR and its bindings, letters of an RTR, and both families of outer headers.
pub(super) fn assert(mill: &Mill) {
    for peer in PEERS {
        let taken = mill.taken.get(&peer).copied().unwrap_or_default();
        assert!(taken > 100, "{peer:?}: {taken}");
    }
    for rloc in REACHED {
        assert!(mill.reached.contains(&rloc.parse::<IpAddr>().unwrap()), "{rloc}");
    }
    let counts = [
        Count::Petr,
        Count::Relayed,
        Count::ControlMessages,
        Count::SourceWaited,
        Count::FlagsIgnored,
        Count::FlagsForbidden,
        Count::VersionOld,
        Count::SourceVersionNewer,
        Count::NonceUnasked,
        Count::StatusBitsUncoupled,
        Count::StatusBitsForeign,
        Count::EcnEct0OverNotEct,
        Count::EcnEct1OverNotEct,
    ];
    let reasons = [
        DropReason::CoreNextProtocol,
        DropReason::CorePetrSource,
        DropReason::CorePetrDestination,
        DropReason::CoreSourceElsewhere,
        DropReason::CoreSourceUnmapped,
        DropReason::CoreSourceUnknown,
        DropReason::CoreVersionNull,
        DropReason::CoreVersionNewer,
        DropReason::CoreSourceVersion,
        DropReason::CoreEncrypted,
        DropReason::CoreEcn,
        DropReason::CoreTtl,
    ];
    let behind_nat = peers::behind_nat();
    for counters in mill.counted() {
        assert!(!counters.senders_to(mill.now, &behind_nat, &behind_nat).is_empty(), "who sends there is written down");
        for count in counts {
            assert!(counters.get(count) > 0, "{}", count.key());
        }
        for reason in reasons {
            assert!(counters.dropped(reason) > 0, "{}", reason.key());
        }
    }
}
