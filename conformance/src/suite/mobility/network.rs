// SPDX-License-Identifier: GPL-2.0-or-later
//! Three programs with a site each, a map system and another xTR at one switch. Two of the programs may have the same EID-prefix,
//! each for a while.

use std::cell::OnceCell;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use interop::lab::{Lab, Node, Topology};
use tempfile::TempDir;
use wire::address::{EidPrefix, InstanceId};
use wire::record::MappingRecord;

use crate::suite::probe::{Fault, Judgement, broken, missing};
use crate::suite::xtr::{Core, Dut, LOCATOR_TTL, PATIENCE, Port, absent, key_file, locator};

/// What moves, and a host in it.
pub(super) const MOVING: &str = "10.2.9.0/24";
pub(super) const MOVING_HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 2, 9, 9));
/// A host of the third program's site.
pub(super) const SENDER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 7, 0, 2));
/// The locators of the programs, and another one of the first.
pub(super) const FIRST: &str = "198.51.100.1";
pub(super) const FIRST_NEW: &str = "198.51.100.21";
pub(super) const SECOND: &str = "198.51.100.2";
const THIRD: &str = "198.51.100.3";
/// The other xTR: a locator with a host behind it.
pub(super) const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 4));
pub(super) const PEER_HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 6, 0, 9));
const SERVER: &str = "198.51.100.10";

/// A program, the end of its site's cable, and its settings.
pub(super) struct Site {
    pub(super) dut: Dut,
    pub(super) port: Port,
    file: PathBuf,
    fixed: String,
}

impl Site {
    /// Has these EID-prefixes and this locator from now on.
    pub(super) fn reload(&self, prefixes: &[&str], rloc: &str) -> Result<(), Fault> {
        std::fs::write(&self.file, settings(&self.fixed, prefixes, rloc)).map_err(missing)?;
        self.dut.ask(&["reload", "--json"]).map(drop)
    }
}

/// The network.
pub(super) struct Network {
    pub(super) first: Site,
    pub(super) second: Site,
    pub(super) third: Site,
    pub(super) map_system: Core,
    pub(super) peer: Core,
    /// What came of two changes of a locator, once that has been played.
    pub(super) told: OnceCell<Judgement>,
    _lab: Lab,
    _folder: TempDir,
}

fn settings(fixed: &str, prefixes: &[&str], rloc: &str) -> String {
    format!("{fixed}eid-prefix = {prefixes:?}\nrloc = [{rloc:?}]\n")
}

/// The namespace of a program, and that of its site's hosts.
fn nodes(name: &str, number: u8, rlocs: &[&str], inside: &[&str]) -> [Node; 2] {
    let site = format!("{name}-site");
    let near = format!("10.{}.0.1/30", if number == 3 { 7 } else { 2 + 100 * number });
    let far = near.replace(".1/30", ".2/30");
    let rlocs: Vec<_> = rlocs.iter().map(|rloc| format!("{rloc}/24")).collect();
    let rlocs: Vec<_> = rlocs.iter().map(String::as_str).collect();
    let mut router = Node::router(name).port("site", &site, &[&near]).port("core", "core", &rlocs);
    for prefix in inside {
        router = router.route(prefix, far.trim_end_matches("/30"), "site");
    }
    let host = Node::host(&site).port("eth0", &site, &[&far]).default_route(near.trim_end_matches("/30"), "eth0");
    [router, host]
}

impl Network {
    pub(super) fn open(tier: &str) -> Result<Self, Fault> {
        if let Some(fault) = absent() {
            return Err(fault);
        }
        let [first, first_site] = nodes("first", 1, &[FIRST, FIRST_NEW], &["10.2.1.0/24", MOVING]);
        let [second, second_site] = nodes("second", 2, &[SECOND], &["10.2.2.0/24", MOVING]);
        let [third, third_site] = nodes("third", 3, &[THIRD], &[]);
        let map_system = Node::host("map-system").port("eth0", "core", &["198.51.100.10/24"]);
        let peer = Node::host("peer").port("eth0", "core", &["198.51.100.4/24"]);
        let topology = [first, first_site, second, second_site, third, third_site, map_system, peer]
            .into_iter()
            .fold(Topology::default().switch("core"), Topology::with);
        let lab = Lab::build(&topology).map_err(missing)?;
        let folder = tempfile::tempdir().map_err(missing)?;
        let key = key_file(folder.path())?;
        let space = |name: &str| lab.namespace(name).map_err(missing);
        let server: IpAddr = SERVER.parse().map_err(broken)?;
        let (map_system, peer) = (Core::open(space("map-system")?, &[server])?, Core::open(space("peer")?, &[])?);
        let prefix = EidPrefix::new(InstanceId(0), PEER_HOST, 24).ok_or_else(|| broken("no prefix"))?;
        map_system.map(MappingRecord::new(prefix, LOCATOR_TTL, vec![locator(PEER, 1, 100)]));
        let site = |name: &str, prefixes: &[&str], rloc: &str| {
            let fixed =
                format!("map-server = [{SERVER:?}]\nkey-file = [{:?}]\ntier = {tier:?}\n", key.display().to_string());
            let file = folder.path().join(format!("{name}.toml"));
            std::fs::write(&file, settings(&fixed, prefixes, rloc)).map_err(missing)?;
            let config = file.display().to_string();
            let port = Port::open(space(&format!("{name}-site"))?, None)?;
            let dut = Dut::start(space(name)?, folder.path(), name, &["--config", &config])?;
            Ok::<_, Fault>(Site { dut, port, file, fixed })
        };
        let first = site("first", &["10.2.1.0/24", MOVING], FIRST)?;
        let second = site("second", &["10.2.2.0/24"], SECOND)?;
        let third = site("third", &["10.7.0.0/24"], THIRD)?;
        Ok(Self { first, second, third, map_system, peer, told: OnceCell::new(), _lab: lab, _folder: folder })
    }

    /// Which locator the map system has for an EID-prefix, waited for.
    pub(super) fn registered(&self, prefix: &str, rloc: &str) -> Result<(), Fault> {
        let net = EidPrefix { iid: InstanceId(0), net: prefix.parse().map_err(broken)? };
        let begun = Instant::now();
        loop {
            let record = self.map_system.mapping(net);
            let rlocs: Vec<_> = record.iter().flat_map(|record| &record.locators).filter_map(|l| l.rloc.ip()).collect();
            if rlocs.iter().map(IpAddr::to_string).eq([rloc.to_owned()]) {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(broken(format!("{prefix} at {rloc} is not registered, but {rlocs:?}")));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
