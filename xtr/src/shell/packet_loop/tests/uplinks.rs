// SPDX-License-Identifier: GPL-2.0-or-later
//! Which locator of ours packets leave from, in both tiers.

use super::*;

for_both_tiers! {
    packets_leave_from_the_locator_that_is_said_to_lead_there,
}

fn packets_leave_from_the_locator_that_is_said_to_lead_there<T: Tier>() {
    let now = Instant::now();
    let (mut a, _) = mapped_pair::<T>(now);
    let [first, second]: [IpAddr; 2] = ["192.0.2.1", "192.0.2.129"].map(|rloc| rloc.parse().unwrap());
    a.packets.update(Update::LocalRlocs(vec![first, second]));
    let mut leaves_from = |update: Option<Update>| {
        update.into_iter().for_each(|update| a.packets.update(update));
        a.offer([packet(1, 64)]);
        a.packets.turn(now);
        let sent = a.packets.take_sent();
        assert_eq!(sent.len(), 1);
        IpPacket::parse(&sent[0]).unwrap().source()
    };
    let rloc = "192.0.2.2".parse().unwrap();
    assert_eq!(leaves_from(None), first);
    assert_eq!(leaves_from(Some(Update::From { rloc, source: second })), second);
    let elsewhere = Update::From { rloc: "192.0.2.3".parse().unwrap(), source: first };
    assert_eq!(leaves_from(Some(elsewhere)), second);
    assert_eq!(leaves_from(Some(Update::LocalRlocs(vec![first]))), first);
    assert_eq!(leaves_from(Some(Update::LocalRlocs(vec![first, second]))), first);
    assert_eq!(leaves_from(Some(Update::From { rloc, source: second })), second);
    assert_eq!(leaves_from(Some(Update::From { rloc, source: first })), first);
    // What a router says of a packet from the other one is believed too.
    a.packets.update(Update::From { rloc, source: second });
    a.offer([packet(1, 1390 - 40)]);
    a.packets.turn(now);
    let quoted = a.packets.take_sent()[0][..36].to_vec();
    a.packets.report(TooBig { quoted, mtu: 1400 });
    a.packets.turn(now);
    assert_eq!(a.counters.get(Count::PathMtu), 1);
}
