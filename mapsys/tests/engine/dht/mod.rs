// SPDX-License-Identifier: GPL-2.0-or-later
//! Map systems that meet in the DHT only: several engines on one in-memory network of stores, in virtual time.

mod aggregate;
mod answers;
mod behind_nat;
mod forgery;
mod forwarding;
mod lispsec;
mod publishing;
mod referrals;
mod reload;
mod strangers;
mod subscribing;
mod waiting;
mod world;
