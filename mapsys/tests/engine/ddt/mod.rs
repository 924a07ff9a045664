// SPDX-License-Identifier: GPL-2.0-or-later
//! The Delegated Database Tree (RFC 8111): engines as root, nodes, Map-Servers and Map-Resolvers, in virtual time.

mod captures;
mod holes;
mod liars;
mod node;
mod revoked;
mod signed;
mod tree;
mod world;
