// SPDX-License-Identifier: GPL-2.0-or-later
//! What goes into the control half and comes out of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;
use wire::address::EidPrefix;
use wire::control::Nonce;

use crate::database::{Database, OwnLocator};
use crate::map_cache::{Event, Update};
use crate::register::Server;
use crate::subscribe::{Association, Told};
use crate::transport::{MapSystem, Outgoing, Via};

/// What the control half is made of.
#[derive(Debug)]
pub struct Config {
    /// Our EID-prefixes, CGEIDs among them, and locators.
    pub database: Database,
    /// The network of CGEIDs, if this node takes part in one.
    pub cgeid_network: Option<IpNet>,
    /// Map-Servers. CGEIDs are registered through the pipe only, whatever is said here.
    pub servers: Vec<Server>,
    /// Map-Resolvers.
    pub resolvers: Vec<MapSystem>,
    /// Map-Registers carry nonces above this one: what the last run had persisted.
    pub nonce_floor: Nonce,
    /// Entropy for the nonces of Map-Requests.
    pub seed: [u8; 32],
}

/// What the control half is told.
#[derive(Debug)]
pub enum Input<'a> {
    /// A control message came.
    Datagram {
        /// How.
        via: Via,
        /// The UDP payload.
        bytes: &'a [u8],
    },
    /// A control message of ours was too long for a link, as a router says, or our own kernel.
    TooBig {
        /// The start of its UDP payload.
        quoted: &'a [u8],
        /// The MTU of the link, in octets.
        mtu: usize,
    },
    /// The MTUs of the interfaces of our locators, in octets, as far as they have one: no longer packet leaves from these.
    InterfaceMtus(BTreeMap<IpAddr, u16>),
    /// The packet half wants something.
    Event(Event),
    /// The locators of this node changed; all of them can be reached.
    Locators(Vec<OwnLocator>),
    /// The locators of this node, or which of them can be reached, changed.
    Reached {
        /// All of them.
        locators: Vec<OwnLocator>,
        /// The addresses of those that cannot be reached now.
        unreachable: Vec<IpAddr>,
    },
    /// Packets came from these RLOCs, last at these times, and were decapsulated: they hear of our changes for the next minute. The answer to
    /// [`Output::WantAllSenders`], also if there are none.
    PacketsFrom(&'a [(IpAddr, Instant)]),
    /// The answer to [`Output::WantSenders`]: RLOCs that packets came from within the last minute, and how often each is to hear.
    Senders {
        /// What they hear of.
        about: EidPrefix,
        /// Them.
        senders: &'a [(IpAddr, usize)],
    },
    /// This node has another EID-prefix, as a rule a CGEID: it is registered and its packets are taken at once.
    AddEid(EidPrefix),
    /// An EID-prefix is this node's no longer: it is deregistered, and its packets are taken no more.
    RemoveEid(EidPrefix),
    /// Other Map-Servers and Map-Resolvers than before, or other keys.
    MapSystems {
        /// With whom the EID-prefixes are registered from now on; those that are no longer named get a withdrawal.
        servers: Vec<Server>,
        /// Whom to ask.
        resolvers: Vec<MapSystem>,
        /// The Map-Resolvers behind which mappings are subscribed to, as before, with the keys that they have now.
        subscriptions: Vec<Association>,
    },
    /// The machine has slept, for longer than others wait for an answer.
    Slept,
    /// The node goes away.
    Shutdown,
}

/// What the control half wants done, in this order.
#[derive(Debug)]
pub enum Output {
    /// Send a control message.
    Send(Outgoing),
    /// Tell the packet half.
    Update(Update),
    /// Write this to disk before anything after it is sent.
    PersistNonce(Nonce),
    /// Keep the last nonces of the unsolicited Map-Notifies of these Map-Servers on disk: what [`super::Control::having_heard`] takes.
    PersistHeard(Vec<(MapSystem, Nonce)>),
    /// Keep the last nonces of what is told unasked on disk: what [`super::Control::having_been_told`] takes.
    PersistTold(Vec<(Told, Nonce)>),
    /// Say who has sent packets to this node within the last minute, as [`Input::PacketsFrom`]. Wanted once a second at most, and because of
    /// what is proven to be of a Map-Server.
    WantAllSenders,
    /// Say who has sent packets to an EID-prefix behind a NAT that this RTR has, or had, a binding for, as [`Input::Senders`].
    WantSenders {
        /// The EID-prefix that was registered.
        bound: EidPrefix,
        /// It, or a part of it, about which they are to hear.
        about: EidPrefix,
    },
}
