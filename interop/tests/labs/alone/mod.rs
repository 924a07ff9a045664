// SPDX-License-Identifier: GPL-2.0-or-later
//! What has the machine for itself: it comes first, as tests begin in the order of their names.

mod data_plane;
mod demo;
mod map_system;
mod shrinking;
