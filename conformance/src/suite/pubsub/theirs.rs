// SPDX-License-Identifier: GPL-2.0-or-later
//! What a target of others is told: the same as ours, as its `[pubsub]` spells it; one that runs elsewhere has numbered sites and
//! subscribers in `[map-system]`.

use std::time::Duration;

use super::office::{ELSEWHERE, LIMITED, Office, XTRS, prefix, whole};
use super::settings::{identity, site_key};
use crate::suite::guest::{Guest, Need, cannot, met};
use crate::suite::probe::{Fault, Judgement, Probe, missing, unfit};
use crate::target::template::{Values, filled};
use crate::target::{self, Claim, Dictated, Key, Lack, Site};

/// Why what reads our own state says nothing about others.
pub(super) const INSIDE: &str = "it looks at what lisp-mapsys shows";

/// Why no other map system is asked to make keys by LISP-SEC.
const NO_KEY: &str = "no target file spells a subscriber without a shared key, which lisp-mapsys is told of";

/// What not every target claims or can be given.
pub(super) const NEEDS: &[(&str, Need)] = &[
    ("PS-01.08", Need::Given(Lack::Limits)),
    ("PS-01.09", Need::Given(Lack::Limits)),
    ("PS-01.10", Need::Given(Lack::Limits)),
    ("PS-02.05", Need::Ours("it measures limits that lisp-mapsys promises, and no standard does")),
    ("PS-03.03", Need::Claim(Claim::MoreSpecifics)),
    ("PS-03.04", Need::Ours("it takes a mapping back by TTL 0, which lisp-mapsys promises, and no standard does")),
    ("PS-04.05", Need::Claim(Claim::MoreSpecifics)),
    ("PS-04.07", Need::Given(Lack::Limits)),
    ("PS-05.02", Need::Ours(INSIDE)),
    ("PS-06.01", Need::Ours(NO_KEY)),
    ("PS-06.02", Need::Ours(NO_KEY)),
    ("PS-06.03", Need::Ours(NO_KEY)),
];

/// The table of a target that is not ours.
pub(super) fn table() -> Option<&'static Dictated> {
    target::judged().pubsub.as_ref()
}

/// The network around it.
pub(super) fn guest(table: &'static Dictated) -> Result<Guest, Fault> {
    let silent = Key { id: 1, algorithm: site_key().algorithm, secret: "secret of b".into() };
    let own = Key { secret: SECRET.into(), ..silent.clone() };
    let site = |name: &str, text: &str, key| {
        Ok::<_, Fault>(Site { name: name.into(), prefixes: vec![prefix(text)?.net], iid: 0, keys: vec![key] })
    };
    let sites = vec![site("a", "2001:db8:a::/48", own)?, site("silent", "2001:db8:b::/48", silent)?];
    let mut guest = Guest::new(target::judged(), &table.start, sites)?;
    let subscriber = |number: u8, rlocs: &str, eids: &str| {
        let id = identity(number).xtr_id.iter().map(|octet| format!("{octet:02x}")).collect();
        let values = Values::from([
            ("number", number.to_string()),
            ("xtr-id", id),
            ("rlocs", rlocs.to_owned()),
            ("eids", eids.to_owned()),
        ]);
        filled(&table.subscriber, &values).map_err(missing)
    };
    let (near, all) = ("10.66.0.0/16", "::/0");
    let mut subscribers = (1..=XTRS).map(|number| subscriber(number, near, all)).collect::<Result<String, _>>()?;
    if !table.cannot.contains(&Lack::Limits) {
        subscribers += &subscriber(LIMITED, near, "2001:db8:b::/48")?;
        subscribers += &subscriber(ELSEWHERE, "192.0.2.0/24", all)?;
    }
    guest.values = Values::from([("subscribers", subscribers)]);
    Ok(guest)
}

/// The secret of the site that registers.
const SECRET: &str = "secret of a";

/// Makes a check, if the target has what it needs.
pub(super) fn judge(office: &Office, probe: &Probe<Office>) -> Judgement {
    let Some(guest) = office.guest()? else { return (probe.judge)(office) };
    match (guest.is_elsewhere(), table()) {
        (Some(elsewhere), _) => {
            met(NEEDS, probe.id, guest.target, &|lack| elsewhere.given.lacking(lack, |_| true))?;
            if elsewhere.given.subscribers.is_none() {
                return Err(unfit("the target runs elsewhere, and its file gives no [map-system.subscribers]"));
            }
        }
        (None, Some(table)) => met(NEEDS, probe.id, guest.target, &cannot(guest.target, &table.cannot))?,
        (None, None) => {}
    }
    if !guest.target.claims(Claim::ProxyReply) {
        return Err(unfit(
            "what is registered is told for a site that does not answer itself: proxy-reply is not claimed",
        ));
    }
    let alive = |patience: Duration| {
        let part = match guest.is_elsewhere() {
            Some(elsewhere) => whole(elsewhere.numbered(0)?)?,
            None => office.part()?,
        };
        office.site.register_within(patience, office.server()?.address, part, Some(1))
    };
    guest.judge(&alive, &|| Ok(()), || (probe.judge)(office))
}
