// SPDX-License-Identifier: GPL-2.0-or-later
//! Subscriptions (RFC 9437) as an xTR, a site and an attacker see them, in virtual time.

mod any;
mod asking;
mod associations;
mod attacks;
mod configured;
mod ending;
mod publishing;
mod restart;
mod xtr;
