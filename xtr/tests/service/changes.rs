// SPDX-License-Identifier: GPL-2.0-or-later
//! A border node with a map system of its own, in a network namespace of its own, whose identities change while it runs:
//! one comes and goes, and the operational key of another is renewed. Needs root and `/dev/net/tun`; says so and passes
//! without, unless `CI` is set.

use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use crate::namespace::{PATIENCE, in_namespace, netlink};
use cgeid::shell::addresses::LABEL;
use cgeid::{Identity, Network, OperationalKey, container};
use futures::TryStreamExt as _;
use netlink_packet_route::addrlabel::AddrLabelAttribute;
use netlink_packet_route::rule::RuleAttribute;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rtnetlink::{Handle, IpVersion};
use serde_json::Value;
use tokio::sync::oneshot;
use xtr::config::{Config, Flags, Table};
use xtr::shell::identities::{Change, Changes};
use xtr::shell::temporary::SystemClocks;

const RLOC: &str = "192.0.2.1";
const TUN: &str = "lispt";
const PASSWORD: &str = "correct horse";
/// Out of the TUN device, to the CGEIDs, and to and from the static CGEID.
const RULES: usize = 4;

#[test]
fn an_identity_comes_and_goes_and_another_gets_its_next_key_while_the_node_runs() {
    let in_it = async |handle: &Handle| {
        // What a killed run with temporary CGEIDs leaves behind.
        let label = handle.addrlabel().add().address("3fff:ce1::".parse().unwrap()).prefix_len(32).label(LABEL);
        label.execute().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity::generate_ed25519(Network::LAB, SystemTime::now()).unwrap();
        let lab = Lab { folder: folder.path().to_owned(), handle: handle.clone(), identity };
        lab.run().await;
    };
    in_namespace(&[RLOC], move || netlink(in_it));
}

struct Lab {
    folder: PathBuf,
    handle: Handle,
    identity: Identity,
}

impl Lab {
    async fn run(&self) {
        self.write_key(&container::operational_file_name(self.identity.cn()), 0);
        std::fs::write(self.folder.join("pw"), PASSWORD).unwrap();
        let changes = Changes::default();
        let sender = changes.sender();
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async { stopped.await.unwrap() };
        let node = xtr::shell::run_with(self.config(), changes, SystemClocks, stopped);
        let script = async {
            self.wait("registration", async || self.is_registered(self.identity.address()).await).await;
            assert!(!self.has_label().await, "the label of an earlier run is gone");
            self.comes_and_goes(&sender).await;
            let begun = self.key(0).epoch();
            self.is_renewed(begun, 1, async || kill(Pid::this(), Signal::SIGHUP).unwrap()).await;
            // What comes of it is for the rest of the settings, which this node cannot read again.
            self.is_renewed(begun, 2, async || self.ask_to_reload().await).await;
            stop.send(()).unwrap();
        };
        let (ended, ()) = tokio::join!(node, script);
        ended.unwrap();
        assert_eq!(self.rules().await, 0);
    }

    fn config(&self) -> Config {
        let flags = Flags {
            identity: vec![self.folder.join(container::operational_file_name(self.identity.cn()))],
            password_file: Some(self.folder.join("pw")),
            rloc: vec![RLOC.into()],
            tun: Some(TUN.into()),
            state_dir: Some(self.folder.join("state")),
            ..Flags::default()
        };
        Config::load(&flags).unwrap()
    }

    fn key(&self, revision: u8) -> OperationalKey {
        self.identity.delegate_revision(SystemTime::now(), 0, revision).unwrap()
    }

    fn write_key(&self, name: &str, revision: u8) -> u32 {
        let key = self.key(revision);
        std::fs::write(
            self.folder.join(name),
            container::save_operational_under(container::Password::Random, &key, PASSWORD).unwrap(),
        )
        .unwrap();
        key.epoch()
    }

    async fn comes_and_goes(&self, changes: &tokio::sync::mpsc::Sender<Change>) {
        let daily = Identity::generate_ed25519(Network::LAB, SystemTime::now()).unwrap();
        let (cn, address) = (daily.cn(), daily.address());
        assert_eq!(self.rules().await, RULES);

        // Told twice, it comes once.
        for _ in 0..2 {
            let key = daily.delegate_revision(SystemTime::now(), 0, 1).unwrap();
            changes.send(Change::Added(key)).await.unwrap();
        }
        self.wait("registration of the new identity", async || self.is_registered(address).await).await;
        self.wait("the new identity", async || self.identities().await.contains(&cn.to_string())).await;
        self.wait("its rules", async || self.rules().await == RULES + 2).await;

        changes.send(Change::Removed { cn, address }).await.unwrap();
        self.wait("deregistration", async || !self.is_registered(address).await).await;
        self.wait("withdrawal", async || self.identities().await == [self.identity.cn().to_string()]).await;
        self.wait("the end of its rules", async || self.rules().await == RULES).await;
        assert!(self.is_registered(self.identity.address()).await);
    }

    async fn is_renewed(&self, begun: u32, revision: u8, look: impl AsyncFnOnce()) {
        let next = begun + u32::from(revision);
        let epoch = self.write_key(&format!("{}.op.{next}.p12", self.identity.cn()), revision);
        look().await;
        self.wait("the next key", async || {
            let answer = self.show(Table::Identities).await;
            answer["identities"][0]["epoch"] == epoch && answer["identities"][0]["keys"] == "ok"
        })
        .await;
    }

    async fn is_registered(&self, address: Ipv6Addr) -> bool {
        let answer = self.show(Table::Registrations).await;
        let prefix = Value::from(format!("{address}/128"));
        let holds = |row: &&Value| row["prefixes"].as_array().is_some_and(|prefixes| prefixes.contains(&prefix));
        let rows = answer["registrations"].as_array().cloned().unwrap_or_default();
        rows.iter().find(holds).is_some_and(|row| !row["confirmed_ago"].is_null() && row["withdrawing"] == false)
    }

    async fn identities(&self) -> Vec<String> {
        let answer = self.show(Table::Identities).await;
        let rows = answer["identities"].as_array().cloned().unwrap_or_default();
        rows.iter().map(|row| row["cn"].as_str().unwrap().to_owned()).collect()
    }

    /// Asks as `lisp-xtr show` does; null while nobody answers yet.
    async fn show(&self, table: Table) -> Value {
        let path = self.folder.join("state/control.sock");
        tokio::task::spawn_blocking(move || xtr::shell::ask(&path, table).unwrap_or_default()).await.unwrap()
    }

    /// Asks as `lisp-xtr reload` does.
    async fn ask_to_reload(&self) {
        let path = self.folder.join("state/control.sock");
        let asked = tokio::task::spawn_blocking(move || xtr::shell::reload::ask_to_reload(&path)).await.unwrap();
        assert!(asked.unwrap_err().to_string().contains("cannot read its settings again"));
    }

    async fn has_label(&self) -> bool {
        let labels: Vec<_> = self.handle.addrlabel().get(IpVersion::V6).execute().try_collect().await.unwrap();
        labels.iter().any(|label| label.attributes.contains(&AddrLabelAttribute::Label(LABEL)))
    }

    async fn wait(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        let started = Instant::now();
        while !is_so().await {
            assert!(started.elapsed() < PATIENCE, "no {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn rules(&self) -> usize {
        let mut count = 0;
        for version in [IpVersion::V4, IpVersion::V6] {
            let rules: Vec<_> = self.handle.rule().get(version).execute().try_collect().await.unwrap();
            let is_ours = |attribute: &RuleAttribute| matches!(attribute, RuleAttribute::Priority(4341..=4344));
            count += rules.iter().filter(|rule| rule.attributes.iter().any(is_ours)).count();
        }
        count
    }
}
