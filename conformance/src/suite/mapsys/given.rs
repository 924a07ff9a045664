// SPDX-License-Identifier: GPL-2.0-or-later
//! The sites that a target file gives to checks.

use wire::address::{EidPrefix, InstanceId};
use wire::record::{MappingRecord, Ttl};

use super::foreign::Foreign;
use super::{Room, Site, Special, record, register, rlocs, site};
use crate::suite::probe::{Fault, broken, unfit};
use crate::target::Claim;

impl Room {
    /// The next site of another target. One that ran before us may know it: then it is withdrawn first.
    pub(super) fn site_of(&self, foreign: &Foreign, number: u16) -> Result<Site, Fault> {
        let sites = foreign.numbered();
        let found = sites.get(usize::from(number) - 1).and_then(|site| site.prefixes.first().map(|net| (site, *net)));
        let more = || unfit(format!("the target file has {} sites for checks, and more are needed", sites.len()));
        let (site, net) = found.ok_or_else(more)?;
        let prefix = EidPrefix { iid: InstanceId(site.iid), net };
        let site = Site { prefix, number, keys: Some(&site.keys) };
        if !foreign.is_elsewhere()
            || !self.claims(Claim::ProxyReply)
            || rlocs(&self.answer(site.host(2))?.records).is_empty()
        {
            return Ok(site);
        }
        let end = MappingRecord { ttl: Ttl::WITHDRAWN, ..record(prefix, &[]) };
        self.xtr()?.registers(self.common()?.first()?, &register(self.nonce(), vec![end]), &site.key())?;
        let left = rlocs(&self.answer(site.host(2))?.records);
        let stays = || {
            unfit(format!(
                "{prefix} is registered with {left:?} from before; begin with a target that was started afresh"
            ))
        };
        if left.is_empty() { Ok(site) } else { Err(stays()) }
    }

    /// A site that is like no other, by its name.
    pub(in crate::suite) fn special(&self, name: &str) -> Result<Special, Fault> {
        let Some(foreign) = self.foreign()? else { return site::special(name) };
        let site = foreign.named(name)?;
        let iid = InstanceId(site.iid);
        let prefixes = site.prefixes.iter().map(|net| EidPrefix { iid, net: *net }).collect();
        let key = site.keys.first().ok_or_else(|| broken("a site without a key"))?.auth();
        Ok(Special { prefixes, key })
    }

    /// The same, or a site of the check's own where others are judged.
    pub(in crate::suite) fn special_or_any(&self, name: &str) -> Result<Special, Fault> {
        if self.is_ours() {
            return site::special(name);
        }
        let site = self.site()?;
        Ok(Special { prefixes: vec![site.prefix], key: site.key() })
    }
}
