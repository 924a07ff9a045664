// SPDX-License-Identifier: GPL-2.0-or-later
//! The draft of the mapping system has the values of this crate.

use std::time::Instant;

use crate::draft::{Draft, counts, lasts};
use mapsys::limits;
use mapsys::resolve::found::{Audience, Found};
use wire::address::{EidPrefix, InstanceId};

#[test]
fn values_of_map_servers_and_map_resolvers_are_those_of_the_code() {
    let coded = [
        lasts("REGISTRATION_SILENCE", limits::REGISTRATION_SILENCE),
        lasts("PUBLISH_INTERVAL", limits::PUBLISH_INTERVAL),
        lasts("REPUBLISH", limits::REPUBLISH),
        counts("REQUEST_RECORDS", limits::REQUEST_RECORDS),
        lasts("ANSWER_WITHIN", limits::ANSWER_WITHIN),
        lasts("LOOKUP_TIMEOUT", limits::LOOKUP_TIMEOUT),
        counts("REFRESH_AHEAD_PERCENT", limits::REFRESH_AHEAD_PERCENT),
        lasts("SERVE_STALE", limits::SERVE_STALE),
        counts("MORE_SPECIFICS", limits::MORE_SPECIFICS),
        lasts("REREAD_SHORTEST", limits::REREAD_SHORTEST),
        lasts("REREAD_LONGEST", limits::REREAD_LONGEST),
        counts("AMPLIFICATION", limits::AMPLIFICATION),
        lasts("BALANCE_WINDOW", limits::BALANCE_WINDOW),
        counts("REPLIES_PER_EID", limits::REPLIES_PER_EID),
        lasts("REPLY_WINDOW", limits::REPLY_WINDOW),
        counts("MISS_BURST", limits::MISS_BURST),
        counts("MISS_RATE", limits::MISS_RATE),
        counts("MISS_BURST_ALL", limits::MISS_BURST_ALL),
        counts("MISS_RATE_ALL", limits::MISS_RATE_ALL),
    ];
    assert_eq!(Draft::signed_dht().table("mapsys"), coded);
}

#[test]
fn negative_answers_are_those_of_the_code() {
    let host = EidPrefix::host(InstanceId(0), "2001:db8::1".parse().unwrap());
    let outcomes = [
        Found::Hole(host),
        Found::Unregistered(host),
        Found::CgeidAbsent(host),
        Found::Refused(host),
        Found::Unknown(host),
    ];
    let table = Draft::signed_dht().table("negative");
    assert_eq!(table.len(), outcomes.len());
    for (found, row) in outcomes.iter().zip(&table) {
        let record = found.record(Instant::now(), Audience::Network);
        assert!(record.locators.is_empty() && !record.authoritative);
        assert_eq!(
            (row[1].clone(), row[2].clone()),
            ((record.action as u8).to_string(), record.ttl.0.to_string()),
            "{found:?}"
        );
    }
}
