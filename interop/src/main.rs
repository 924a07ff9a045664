// SPDX-License-Identifier: GPL-2.0-or-later
//! interop
fn main() {
    let _ = interop::lab::privilege::acquire(false);
}
