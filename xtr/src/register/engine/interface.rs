// SPDX-License-Identifier: GPL-2.0-or-later
//! What goes into the registration engine, what comes out of it, and what it shows.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use wire::address::EidPrefix;
use wire::control::auth::{self, Accept, AuthKey, TagForm};
use wire::control::{MapNotify, Nonce, XtrIdentity};

use crate::database::Database;
use crate::refusal::Refusal;
use crate::register::Through;
use crate::transport::{MapSystem, Outgoing};

/// A Map-Server and how we speak to it.
#[derive(Debug)]
pub struct Server {
    /// Where it is.
    pub to: MapSystem,
    /// The key that we share with it.
    pub key: AuthKey,
    /// Length of our tags: as the RFC says, or untruncated as deployed servers want it.
    pub tag: TagForm,
    /// Whether its tags may leave out what stands behind the records (RFC 9301, section 5.6, step 5).
    pub narrow_coverage: bool,
    /// P: the server answers Map-Requests for us.
    pub proxy_reply: bool,
    /// xTR-ID and Site-ID, for servers that are to tell the xTRs of a site apart.
    pub identity: Option<XtrIdentity>,
    /// What is registered there at the start.
    pub prefixes: Vec<EidPrefix>,
}

impl Server {
    /// Whether a message is one of its own. Deployed Map-Servers send the whole HMAC, which is no easier to forge.
    pub(super) fn has_signed(&self, payload: &[u8]) -> bool {
        let accepted = Accept { untruncated: true, narrow_coverage: self.narrow_coverage };
        auth::verify(payload, &self.key, accepted).is_ok()
    }
}

/// What the engine is made of.
#[derive(Debug)]
pub struct Config {
    /// Our EID-prefixes and locators.
    pub database: Database,
    /// The Map-Servers.
    pub servers: Vec<Server>,
    /// Network of the CGEIDs, which are registered through the pipe only, whatever else is said.
    pub cgeids: Option<EidPrefix>,
    /// All nonces will be above this one.
    pub nonce_floor: Nonce,
}

/// What the engine is told.
#[derive(Debug)]
pub enum Input<'a> {
    /// A Map-Notify came.
    Notify {
        /// From which Map-Server it seems to come.
        from: MapSystem,
        /// The RTR that relayed it, if one did.
        by: Option<IpAddr>,
        /// Decoded.
        message: &'a MapNotify,
        /// The UDP payload, over which the tag is computed.
        payload: &'a [u8],
    },
    /// The locators changed: register anew, at once.
    Locators(Database),
    /// Another prefix is registered, at once, with the servers that may have it.
    Add {
        /// The prefix.
        prefix: EidPrefix,
        /// What is registered from now on.
        database: Database,
    },
    /// The registration of a prefix is taken back, at once.
    Remove {
        /// The prefix.
        prefix: EidPrefix,
        /// What is registered from now on.
        database: Database,
    },
    /// Other Map-Servers, or the same with other keys: new ones are registered with, at once, and those that are no longer there
    /// get a withdrawal.
    Servers(Vec<Server>),
    /// This is the way of the messages from now on: register anew, at once.
    Way(Through),
    /// A NAT leads elsewhere than before: register anew, at once.
    Again,
    /// The mapping system says that this EID-prefix leads to us.
    Here(EidPrefix),
    /// The mapping system says that nobody has this EID-prefix.
    Nobodys(EidPrefix),
    /// The node goes away: take every registration back.
    Withdraw,
}

/// What the engine wants done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Write the nonce to disk before anything after it is sent.
    PersistNonce(Nonce),
    /// Keep the last nonces of the unsolicited Map-Notifies of these Map-Servers on disk.
    PersistHeard(Vec<(MapSystem, Nonce)>),
    /// Send a Map-Register, or a Map-Notify-Ack.
    Send(Outgoing),
    /// A Map-Server says that an EID-prefix of ours, or a part of one, is behind others now.
    Moved(EidPrefix),
    /// A Map-Server says that nobody else has it any more.
    Returned(EidPrefix),
    /// What came was a Map-Notify of a Map-Server, as its tag proves.
    Verified,
    /// The mapping system is to be asked who has this EID-prefix of ours: a Map-Server has said that another xTR has it, which may not be so.
    Ask(EidPrefix),
    /// All that has moved and not returned has changed: parts, whatever Map-Server says so, and what no Map-Server has from us any more.
    AllMoved(Vec<EidPrefix>),
}

/// State of one registration message, for `show registrations`, or of those of its prefixes that were added to it after it was last confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The Map-Server.
    pub server: MapSystem,
    /// What the message registers.
    pub prefixes: Vec<EidPrefix>,
    /// Time since the last Map-Notify, if one ever came.
    pub confirmed_ago: Option<Duration>,
    /// Whether the message says something else of these prefixes since then: the Map-Server has other locators.
    pub changing: bool,
    /// Map-Registers sent since then.
    pub unanswered: u32,
    /// The last answer since then that confirmed nothing.
    pub last_refused: Option<Refused>,
    /// Whether the message takes the registration back.
    pub withdrawing: bool,
    /// Whether there is no such message: another xTR has registered the prefix since, and keeps it until it is withdrawn.
    pub moved: bool,
    /// Of a whole EID-prefix that no Map-Server has from us: the time until the mapping system is asked whether anybody has it.
    pub asks_in: Option<Duration>,
}

/// A Map-Notify under the nonce of a Map-Register that confirmed nothing. Who has sent it is not proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub refusal: Refusal,
    /// The first EID-prefix that was not told as it was registered, or taken back.
    pub prefix: Option<EidPrefix>,
    /// When.
    pub at: Instant,
}
