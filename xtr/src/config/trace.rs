// SPDX-License-Identifier: GPL-2.0-or-later
//! Flags of the verb `trace`.

use std::net::IpAddr;
use std::str::FromStr;

use clap::Args;
use wire::data::protocol;

pub(super) const EXAMPLES: &str = "\
Examples:
  Which entry of the map-cache an echo request would meet, and which locator it would go to:
      lisp-xtr trace 10.2.0.9
  The same for one flow of one host behind this node, asking the mapping system if nothing is known yet:
      lisp-xtr trace 2001:db8:b::80 --from 2001:db8:a::7 --flow tcp:50000:443 --resolve

Nothing is sent to the destination. At an RTR what is from or to a site behind a NAT is taken for a packet that comes in a tunnel. Exit status: 0 = the packet would leave, 1 = it would not, or no node answers.";

/// The packet that is thought of.
#[derive(Debug, Clone, Args)]
pub struct TraceFlags {
    /// Where the packet goes to
    #[arg(value_name = "DST")]
    pub destination: IpAddr,
    /// The host that it comes from; default: one in the first EID-prefix of this node
    #[arg(long, value_name = "SRC")]
    pub from: Option<IpAddr>,
    /// Protocol and ports, of which the locator and the outer source port depend: tcp, udp or sctp:SOURCE:DESTINATION. Default: an
    /// echo request, which has no ports
    #[arg(long, value_name = "PROTOCOL:PORT:PORT")]
    pub flow: Option<Ports>,
    /// If no mapping is known, ask the mapping system as the packet would make this node do, and wait for the answer
    #[arg(long)]
    pub resolve: bool,
}

/// Protocol, source port and destination port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports(pub (u8, u16, u16));

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("{text:?} is not of the form tcp:50000:443");
        let [name, source, destination] = text.split(':').collect::<Vec<_>>()[..] else { return Err(wrong()) };
        let number = match name {
            "tcp" => protocol::TCP,
            "udp" => protocol::UDP,
            "sctp" => protocol::SCTP,
            _ => return Err(wrong()),
        };
        let port = |text: &str| text.parse().map_err(|_| wrong());
        Ok(Self((number, port(source)?, port(destination)?)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_flow_is_a_protocol_and_two_ports() {
        assert_eq!("udp:5000:53".parse(), Ok(Ports((17, 5000, 53))));
        for wrong in ["udp", "udp:1", "udp:1:2:3", "icmp:1:2", "tcp:70000:1", "tcp::"] {
            assert!(wrong.parse::<Ports>().unwrap_err().contains(wrong), "{wrong}");
        }
    }
}
