// SPDX-License-Identifier: GPL-2.0-or-later
//! Nodes that run, on loopback or in namespaces, and the commands that ask them. Most of it waits, so that one program has them beside each
//! other.
#![cfg(feature = "shell")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod announce;
mod bootstrap;
mod cli;
#[path = "../common/mod.rs"]
mod common;
mod crawl;
mod desk;
mod discovery;
#[path = "../../../program/tests/support/documents.rs"]
mod documents;
mod elsewhere;
#[path = "../field/mod.rs"]
mod field;
mod held_up;
mod index_cli;
mod last_word;
mod liars;
#[path = "../mesh/mod.rs"]
mod mesh;
mod metrics;
mod node;
mod pages;
mod places;
mod renew;
mod rules;
mod shelf;
#[path = "../stranger/mod.rs"]
mod stranger;
mod strangers;
mod taking_back;
mod usage;
