// SPDX-License-Identifier: GPL-2.0-or-later
//! LISP-SEC (RFC 9303) as ITR and as ETR, against a map system that fits in here, and whoever sits on the way to it.

mod demands;
mod etr;
mod hostile;
mod itr;
mod proof;
mod sites;
mod subscribing;
mod unsigned;
