// SPDX-License-Identifier: GPL-2.0-or-later
//! LISP-SEC (RFC 9303), one test a rule: the test is ITR and ETR, the engine Map-Resolver and Map-Server between them.

mod answering;
mod keys;
mod refusing;
mod stage;
mod tree;
