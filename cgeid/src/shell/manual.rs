// SPDX-License-Identifier: GPL-2.0-or-later
//! What the pages of `cgeid man` say that the help does not.

use program::{Entries, Manual};

pub(super) const MANUAL: Manual = Manual { status: STATUS, files: FILES, environment: ENVIRONMENT };

const STATUS: Entries = &[
    ("0", "What was asked held."),
    ("1", "It did not: a file was refused, or exists and is not overwritten."),
    ("2", "It was asked wrongly."),
    ("3", "The machine lacks something, as room on a disk."),
];
const FILES: Entries = &[
    ("<CN>.p12", "The identity key and its certificate (PKCS#12, AES-256). Keep it offline."),
    ("<CN>.op.p12", "The operational key that daemons hold, its certificate, and the identity's."),
    ("<CN>.op.<EPOCH>.p12", "The same for a later month; it takes the place of the other when its month begins."),
    (
        "<CN>.revoke",
        "A revocation, in PEM. Published, it ends the identity for ever: keep it safe, apart from the key.",
    ),
    ("<CN>.pem", "An identity certificate."),
    ("<CN>.pin", "The fingerprint of a key that is to be expected, for verify --pin."),
];
const ENVIRONMENT: Entries = &[
    ("CGEID_PASSWORD", "The password of the file that is read or made, if --password-file does not name one."),
    ("CGEID_NEW_PASSWORD", "The password of a key file that import or export writes, if --new-password-file does not."),
];
