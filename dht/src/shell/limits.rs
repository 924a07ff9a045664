// SPDX-License-Identifier: GPL-2.0-or-later
//! Every bound of the shell, with its unit and its reason.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::time::Duration;

/// UDP port of the DHT.
pub const PORT: u16 = 43420;

/// Connections in all: each costs about 150 kB, and 120 are more neighbours than a lookup asks.
pub const CONNECTIONS: u32 = 120;
/// Connections beyond which those are closed that nobody has used for longest: the rest are places for who comes next, and for as
/// many dials of ours as may be in progress.
pub const CONNECTIONS_KEPT: usize = (CONNECTIONS - PENDING_CONNECTIONS) as usize;
/// Of them, connections that others opened.
pub const INCOMING_KEPT: usize = 75;
/// A connection that was used more recently is not closed: an answer may be on its way for as long as [`REQUEST`].
pub const CONNECTION_IDLE: Duration = REQUEST;
/// Goodbyes are waited for at most this long: a round trip to most peers.
pub const GOODBYE: Duration = Duration::from_millis(200);
/// Connections that others opened: what is left is for our own lookups, however many strangers come.
pub const CONNECTIONS_INCOMING: u32 = 90;
/// Connections to one peer: both sides may dial at the same moment.
pub const CONNECTIONS_PER_PEER: u32 = 2;
/// Handshakes in progress that we began: more than the lookups of a busy resolver want at once.
pub const PENDING_CONNECTIONS: u32 = 32;
/// While so many are in progress those of lookups wait: what is left is for peers that were lost.
pub const LOOKUP_DIALS: usize = 24;
/// Dials in progress that no lookup has begun: with more of them those of lookups would be refused, not put off.
pub const OTHER_DIALS: usize = PENDING_CONNECTIONS as usize - LOOKUP_DIALS;
/// Handshakes in progress that others began: QUIC answers every Initial, and each handshake costs a signature and memory.
pub const PENDING_INCOMING: usize = 32;
/// Handshakes in a second and listener with clients whose address is not proven; the others must come again with a token, one round
/// trip later. A spoofed handshake takes its place for [`QUIC_HANDSHAKE`], so those of two listeners leave places free.
pub const UNPROVEN_HANDSHAKES: u32 = 4;
/// Initials that wait to be looked at, 1.5 kB each: what comes in while the thread does something else.
pub const INITIALS_WAITING: usize = 256;
/// Handshakes in progress that one block of addresses (/24, /48) began: one who asks, and one more.
pub const PENDING_PER_BLOCK: usize = 2;
/// Connections that one block of addresses opened: a site behind one address, not a farm of strangers.
pub const INCOMING_PER_BLOCK: usize = 8;
/// Connections that others opened and that are of no peer in the routing table, such as those of commands and of clients
/// behind NAT: what is left of [`CONNECTIONS_INCOMING`] is for servers.
pub const GUESTS: usize = 60;
/// How long a guest may stay when others wait: longer than a command takes, whose lookup ends after [`GET`].
pub const GUEST_TIME: Duration = Duration::from_secs(6);

/// Tokens a second that a block of addresses has for its requests, whatever others ask: a FIND_NODE or a GET takes one. A lookup
/// asks a node once; what a peer hands on after a merge, [`crate::limits::HANDOVER_RATE_MOST`] records, takes these.
pub const REQUESTS_OF_BLOCK: u32 = 256;
/// Tokens a second beside those that all blocks share: with its own one that publishes a thousand sites, or resolves for many, has
/// 2304. A node answers some 20,000 in a second, a PUT counted as below.
pub const REQUESTS_OF_ALL: u32 = 2048;
/// Tokens that a PUT takes: before it is refused a store may check up to four signatures.
pub const PUT_TOKENS: u32 = 4;
/// Tokens that are saved up are those of this time: a start brings many requests at once.
pub const REQUESTS_SAVED: Duration = Duration::from_secs(4);
/// Tokens a second that the blocks of one provider (/32 of IPv6) take of their own ones together, those of eight blocks: whoever has
/// thousands of blocks there would have the share of each otherwise. It is as much as all share, and a tenth of what a node answers.
pub const REQUESTS_OF_PROVIDER: u32 = 8 * REQUESTS_OF_BLOCK;
/// Requests of an address (of IPv4, a /64 of IPv6) that are refused before its connection is closed, about 40 ms of work: who is
/// honest sees the refusals, and comes back later. One that is refused nothing for [`REQUESTS_SAVED`] begins anew.
pub const REQUESTS_REFUSED: u32 = 1024;
/// How long the address is not let in then: until the tokens of its block are there again, and longer.
pub const REQUESTS_SHUT: Duration = Duration::from_secs(10);
/// Addresses (/64) of one /56 of IPv6 that are kept out within [`REQUESTS_SHUT`] before nobody else of it is let in for that time
/// either: who rents a /64 there has neighbours, but seldom so many who flood the same node at once.
pub const REQUESTS_CROWD: u32 = 8;
/// The same of one /48: as many as four of its /56 together. One or two households do not shut out the others, and who has all of it
/// costs a tenth of a core.
pub const REQUESTS_CROWD_OF_SITE: u32 = 4 * REQUESTS_CROWD;
/// Dials that no lookup has begun and that wait until there is a place: more peers than are lost at once have others that know them.
pub const DIALS_PUT_OFF: usize = 64;
/// Blocks whose requests are counted, and as many providers, and addresses that were refused something, 80 octets each: more than can
/// have a connection while the tokens of one that has gone come back, or while it is kept out.
pub const REQUESTS_BLOCKS: usize = 4096;
/// Pause between two searches of a full table for those that are at rest, a tenth of a millisecond each: at each request they would
/// cost more than answers.
pub const REQUESTS_SWEPT: Duration = Duration::from_millis(250);

/// Silence after which a connection is dead: a peer that was killed must not hold up lookups for long.
pub const QUIC_IDLE: Duration = Duration::from_secs(5);
/// Keep-alive of a silent connection: two are lost before it is taken for dead.
pub const QUIC_KEEP_ALIVE: Duration = Duration::from_secs(2);
/// A handshake takes two round trips; a peer farther than this is of no use to a lookup.
pub const QUIC_HANDSHAKE: Duration = Duration::from_secs(3);
/// Streams that a peer may have open at once on one connection: kad itself takes 32.
pub const QUIC_STREAMS: u32 = 64;
/// Octets in flight on one stream: one Kademlia packet is at most 16 KiB.
pub const QUIC_STREAM_DATA: u32 = 32 * 1024;
/// Octets in flight on one connection.
pub const QUIC_CONNECTION_DATA: u32 = 256 * 1024;

/// A connection without requests is closed after this, but for those to the [`NEAREST`]: one that stands costs each side 0.3 kbit/s
/// of keep-alives, so a new handshake is cheaper after twenty seconds.
pub const CONNECTION_UNUSED: Duration = Duration::from_secs(20);
/// Nearest peers to which connections stand: with those that count us among theirs some twelve, 4 kbit/s. A network of
/// nine is connected as a whole.
pub const NEAREST: usize = 8;
/// Pause before one of the nearest is dialled again that does not keep the connection.
pub const NEAREST_PAUSE: Duration = Duration::from_secs(60);
/// Interval of the walk through the routing table, which asks some hundred nodes and costs a node of a thousand 5 MB. In between
/// tables are kept by lookups, PUTs every 20 minutes above all, and by whoever connects.
pub const REFRESH: Duration = Duration::from_secs(12 * 3600);
/// Interval of identify on a connection that stands.
pub const IDENTIFY: Duration = Duration::from_secs(10 * 60);

/// Disjoint paths of one lookup: liars on some of them leave the others. Of 40 nodes a GET asks 13 on average, whether its eight
/// requests at once are one path or eight; with three at once it asks 6, or 12 where a fifth of the nodes lie.
pub const PATHS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(7);
/// One request and its answer.
pub const REQUEST: Duration = Duration::from_secs(3);
/// Bound of libp2p's own queries (walks); ours end earlier, see below.
pub const QUERY: Duration = Duration::from_secs(10);

/// A GET ends after this, with what it has seen.
pub const GET: Duration = Duration::from_secs(3);
/// The lookup of the nodes that shall store a record ends after this, with those it has found.
pub const PUT_LOOKUP: Duration = Duration::from_millis(1500);
/// The same of a second look, after a first one that was too short: on a slow link or a busy machine.
pub const PUT_LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Storing at one of the nodes found ends after this; one that has said nothing by then does not store.
pub const PUT_STORE: Duration = Duration::from_millis(2000);
/// Nodes of one PUT that are asked to store at once; with [`crate::limits::REGION_NODES`] in all it takes two turns at most.
pub const PUT_IN_FLIGHT: usize = 32;
/// Further copies of a record are waited for by a one-shot command for at least this time after the last one, and as long as
/// the first valid one took if that is more: a node that has died must not hold up what others have said.
pub const FURTHER: Duration = Duration::from_millis(100);
/// A request of a server waits so long for a first peer, when the node knows none: it has a store of its own.
pub const FIRST_PEER: Duration = Duration::from_millis(2500);
/// The same of who only asks, as a command does, that is run once: longer than a first handshake that fails ([`QUIC_HANDSHAKE`]), and one
/// that is begun after it.
pub const FIRST_PEER_OF_CLIENT: Duration = Duration::from_secs(5);
/// A node comes to its turn by so much later than it wanted without having been held up: more than timers and its own work take.
pub const LATE: Duration = Duration::from_millis(100);
/// What a node is held up for is added to the time of what it waits for, so much for each request: when it was longer, the connections
/// have gone, and the answers with them.
pub const FORGIVEN: Duration = QUIC_IDLE;
/// A GET is over after this in any case, that of a client which meets its first peer late and is held up before and after that.
pub const GET_MOST: Duration =
    FIRST_PEER_OF_CLIENT.saturating_add(GET).saturating_add(FORGIVEN).saturating_add(FORGIVEN);

/// After a lookup has found all nodes there are, because they are few, PUTs look for none within this. A node that comes is in the
/// routing table first, which ends it; one that is not is given the record by whoever has it there.
pub const WHOLE: Duration = Duration::from_secs(5);

/// Peers remembered that answered one lookup: more than any honest lookup asks.
pub const RESPONDERS: usize = 256;

/// Records put into the store between two turns of the node's loop that are noted for hand-over: more than one turn brings.
pub const ARRIVALS: usize = 1024;

/// Records from disk that are proven for hand-over in one go: with RSA identities a few milliseconds.
pub const TAKEN_BACK: usize = 8;
/// Pause between two such goes, in which the node serves: those of a full watch take a minute.
pub const TAKE_BACK_PAUSE: Duration = Duration::from_millis(30);

/// Commands waiting for the node's thread; the callers wait when it is full.
pub const COMMANDS: usize = 256;
/// Values of one GET waiting for its reader: more than the replicas of a key cannot be honest.
pub const VALUES: usize = 32;
/// GETs and PUTs in progress; what comes beyond is refused.
pub const QUERIES: usize = 512;

/// Nearest peers whose distance bounds what a node keeps: twice the replicas of a record, so that a publisher who knows other
/// peers than we do is not refused.
pub const REGION: usize = 40;

/// Addresses taken from one peer's identify message.
pub const ADDRESSES_PER_PEER: usize = 8;
/// Peers remembered for the time when all connections are lost.
pub const REMEMBERED_PEERS: usize = 64;
/// Attempts after which a remembered peer is forgotten: two and a half hours at the longest backoff, so that halves of a network
/// that were parted for an hour still look for each other.
pub const REMEMBERED_ATTEMPTS: u32 = 300;
/// Attempts at an address that a lost peer only claimed: enough for a restart, too few to flood whoever is there.
pub const CLAIMED_ATTEMPTS: u32 = 8;
/// Addresses remembered of one lost peer: one of each family.
pub const REMEMBERED_ADDRESSES: usize = 2;
/// Attempts after which a silent bootstrap node is reported: about 15 s.
pub const SILENT_ATTEMPTS: u32 = 5;
/// First pause between two attempts at an address that does not answer; it doubles ...
pub const REDIAL_FIRST: Duration = Duration::from_millis(500);
/// ... up to this, which bounds how long two healed halves of a network stay apart.
pub const REDIAL_LAST: Duration = Duration::from_secs(30);

/// A configured address at which somebody was reached is dialled again after this, unless peers fall silent: in a large network
/// most bootstrap nodes have no place in one's routing table, and each dial costs 10 kB.
pub const REACHED_PAUSE: Duration = Duration::from_secs(3600);
/// Pause before a node that knows nobody dials one again that was full: others have come and gone by then.
pub const REFUSED_PAUSE: Duration = Duration::from_secs(1);
/// Peers a second that are dialled to see whether they are there, when another was lost: all of [`REGION`] within ten seconds,
/// those of a table of 150 within forty.
pub const SUSPECTS: usize = 4;
/// Pause between two such looks, each of which costs a handshake for each peer of the routing table, 10 kB: 40 kbit/s where
/// nodes come and go all the time.
pub const SUSPECT_PAUSE: Duration = Duration::from_secs(5 * 60);
/// Rounds of dials to all known peers, by which a node that has moved tells them where it is, in [`VISITS_TIME`]: an uplink that is changed
/// takes two or three, one for each address that goes or comes, and one that flaps would make them without an end.
pub const VISITS: u32 = 4;
/// See [`VISITS`]: with a handshake of 10 kB for each peer of a routing table of 150 it bounds what flapping costs to 80 kbit/s.
pub const VISITS_TIME: Duration = Duration::from_secs(10 * 60);
/// After this a peer is dialled once more that is not connected: longer than a connection seems to stand there over an address that this
/// node has left, see [`QUIC_IDLE`].
pub const VISIT_AGAIN: Duration = Duration::from_secs(6);
/// Pause between two walks through peers that were lost for long: many come back at once.
pub const WALK_PAUSE: Duration = Duration::from_secs(10);
/// After such a walk the place is walked to again, when those who were named are connected.
pub const WALK_AGAIN: Duration = Duration::from_secs(4);
/// Peers dialled that such a peer names: all that an answer holds.
pub const WALK_DIALS: usize = 20;

/// A node that goes on under another key finishes what was begun within this: a GET ends after [`GET`], a PUT after
/// [`PUT_LOOKUP`] and [`PUT_STORE`], or one that looks again after [`PUT_LOOK_AGAIN`] and [`PUT_STORE`] more.
pub const RENEW_DRAIN: Duration = Duration::from_secs(11);
/// Pause before it tries to open its sockets again: QUIC keeps them for three round trips after the last connection was closed.
pub const RENEW_RETRY: Duration = Duration::from_millis(100);
/// Attempts after which it goes on with those sockets that it has, or the operator is told that it has none: five seconds.
pub const RENEW_SILENT: u32 = 50;

/// Interval of housekeeping: expiry and the database's group commit.
pub const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// Start waits so long for the first listen address to be known.
pub const LISTEN: Duration = Duration::from_secs(2);

/// Octets of a file with a revocation: its armour and the words before it take less than twice the statement's 10 kB.
pub const STATEMENT_FILE: u64 = 32 * 1024;

/// Octets of a file with a bundle, unchecked ones too: no message of Kademlia carries more.
pub const BUNDLE_FILE: u64 = 16 * 1024;

/// Peers kept on disk for the next start: more than a start asks before the first answers.
pub const KEPT_PEERS: usize = 32;
/// Of them, in one block of addresses: whoever has a block must not have the next start.
pub const KEPT_PER_BLOCK: usize = 2;
/// How long a peer that was not seen again is kept: a holiday.
pub const KEPT_FOR: Duration = Duration::from_secs(30 * 86_400);
/// Interval at which the file of peers is written, if it has changed.
pub const KEPT_INTERVAL: Duration = Duration::from_secs(60);
/// The first time it is written, so that a short run is remembered as well.
pub const KEPT_FIRST: Duration = Duration::from_secs(5);
/// Octets of the file of peers: a line has less than 200.
pub const KEPT_FILE: u64 = 16 * 1024;
/// Attempts at a peer of the last run, which may have moved.
pub const KEPT_ATTEMPTS: u32 = 8;

/// Addresses that a peer claims and that are tried at once: one of each family, so that it cannot send us against many.
pub const TRIES_PER_PEER: usize = 2;
/// Where it was not found it is tried once more after this: who has moved may say where to before its routes lead there, and a connection
/// that only seems to stand, for as long as [`QUIC_IDLE`], may have the place of another one.
pub const TRY_ONCE_MORE: Duration = Duration::from_secs(6);
/// How long such an address is not tried again then.
pub const TRY_AGAIN: Duration = Duration::from_secs(5 * 60);
/// Addresses claimed by all peers that are tried in [`TRIES_TIME`].
pub const TRIES: u32 = 64;
/// See [`TRIES`].
pub const TRIES_TIME: Duration = Duration::from_secs(60);
/// Blocks of addresses that must see us at a foreign address before we take ourselves for unreachable: one may be behind the same
/// NAT, and two may lie.
pub const UNREACHABLE_BLOCKS: usize = 3;
/// Blocks of addresses whose view of us is kept.
pub const OBSERVERS: usize = 32;
/// How long a view of us counts: longer than [`IDENTIFY`].
pub const OBSERVED_FOR: Duration = Duration::from_secs(30 * 60);

/// UDP port of Hellos, the one after the DHT's, which QUIC has for itself.
pub const HELLO_PORT: u16 = 43421;
/// Group of Hellos in IPv4: out of the local network control block, which no router forwards; the one for experiments (RFC 4727).
pub const HELLO_GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 254);
/// Group of Hellos in IPv6: link-local scope, not assigned (the T flag of RFC 4291), with the DHT's port as its number.
pub const HELLO_GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0, 0, PORT);
/// Hop limit of Hellos, and what it must be when they arrive (RFC 5082): from afar 1 can be made to arrive, 255 cannot.
pub const HELLO_HOPS: u32 = 255;
/// Pauses between the Hellos of a start, which ask for answers: one may be lost, and a bridge takes a while to forward.
pub const HELLO_ASKS: [Duration; 4] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// Pause between later Hellos; whoever comes asks.
pub const HELLO_INTERVAL: Duration = Duration::from_secs(120);
/// An answer comes within this, at a moment of each node's own, so that a full link does not answer all at once.
pub const HELLO_ANSWER: Duration = Duration::from_millis(300);
/// Shortest pause between two Hellos that answer.
pub const HELLO_PAUSE: Duration = Duration::from_secs(1);
/// Octets of a Hello: with 8 addresses of IPv6 and a peer ID it has less than 220.
pub const HELLO_SIZE: usize = 256;
/// Addresses in a Hello.
pub const HELLO_ADDRESSES: usize = 8;
/// Of a Hello, the addresses that are dialled.
pub const HELLO_DIALLED: usize = 4;
/// Strangers dialled because of Hellos on one link in [`HELLO_DIALS_TIME`]: a flood of Hellos makes no flood of dials.
pub const HELLO_DIALS: u32 = 16;
/// See [`HELLO_DIALS`].
pub const HELLO_DIALS_TIME: Duration = Duration::from_secs(30);
/// Hellos looked at on one link in [`HELLOS_HEARD_TIME`]: more than a crowded link says.
pub const HELLOS_HEARD: u32 = 64;
/// See [`HELLOS_HEARD`].
pub const HELLOS_HEARD_TIME: Duration = Duration::from_secs(1);
/// Hellos that wait to be looked at.
pub const HELLOS_WAITING: usize = 16;
/// Pause after each message that is read: bounds what a flood costs.
pub const HELLO_READ: Duration = Duration::from_millis(2);
/// Interval at which interfaces are looked for.
pub const LINKS_INTERVAL: Duration = Duration::from_secs(5);
/// Interfaces on which neighbours are looked for.
pub const LINKS: usize = 32;
/// Neighbours that wait to be dialled.
pub const NEIGHBOURS_WAITING: usize = 16;

/// Octets of a file of delegations: 128 for each that an authority may have.
pub const DELEGATIONS_FILE: u64 = 128 * crate::limits::DELEGATIONS as u64;
/// PUTs of index pages in flight: each asks some 20 nodes, and a large authority has hundreds.
pub const INDEX_PUTS: usize = 8;
/// An authority whose pages were not all taken tries again after this.
pub const INDEX_RETRY: Duration = Duration::from_secs(60);
/// Shortest pause between two rounds of an authority, however often its pages are to be renewed.
pub const INDEX_PAUSE: Duration = Duration::from_secs(1);

/// Octets of a crawl that `map` reads: 10,000 nodes with the longest bundles in hexadecimal digits.
pub const CRAWL_FILE: u64 = 256 * 1024 * 1024;
/// Lookups that a command with many to do has in progress: with the eight paths of each it keeps some sixty peers busy.
pub const COMMAND_LOOKUPS: usize = 8;

/// A presentation and its answer, and how long a stranger may stay in a closed network: a round trip and a signature.
pub const PRESENTATION_TIME: Duration = Duration::from_secs(3);
/// How long a connection stands that is to be closed: the answer that says why must arrive first.
pub const TURNED_AWAY: Duration = Duration::from_millis(300);
/// Presentations in progress on one connection: one each way, and one that renews another.
pub const PRESENTATION_STREAMS: usize = 4;
/// Presentations that are judged on one connection: certificates are renewed once a month, and each costs a signature.
pub const PRESENTATIONS: u32 = 4;
/// Interval at which members are looked after: certificates that ended, keys that were replaced.
pub const REVIEW: Duration = Duration::from_secs(2);
/// Peers refused for their dates that are asked in [`CLOCK_QUESTIONS_TIME`] whom they know: each names up to [`WALK_DIALS`], who are
/// dialled, and two answers hold more blocks than it takes to know the time.
pub const CLOCK_QUESTIONS: u32 = 4;
/// See [`CLOCK_QUESTIONS`].
pub const CLOCK_QUESTIONS_TIME: Duration = Duration::from_secs(60);
/// Messages of Kademlia that wait for one peer of a closed network to prove itself: more than the lookups of half a round trip.
pub const UNPROVEN_PER_PEER: usize = 8;
/// Such messages of all peers, at most 16 kB each: those of all guests at once. What comes beyond is lost.
pub const UNPROVEN: usize = 8 * GUESTS;

/// Octets of a file with the key of a network: 64 digits, and the newlines around them.
pub const NETWORK_KEY_FILE: u64 = 256;

/// How long a connection of a crawl stands that nothing is asked on: until the next bucket is asked for, not until the next round.
pub const CRAWL_CONNECTION_UNUSED: Duration = Duration::from_secs(2);
/// Characters of what a node says that runs there.
pub const CRAWL_AGENT: usize = 64;
