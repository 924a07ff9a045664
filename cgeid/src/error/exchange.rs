// SPDX-License-Identifier: GPL-2.0-or-later
//! The forms in which people hand on certificates.

use crate::exchange::Form;

/// A text, picture or message that gives no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// None of the forms.
    #[error(
        "this is no form of a certificate, key, fingerprint or signed statement that is known here (PEM, DER, PKCS#12, \
         QR text or PNG, NDEF, vCard 4.0, DNS CERT record)"
    )]
    Unknown,
    /// Longer than anything of ours.
    #[error("{length} octets are too many for any certificate or key of ours")]
    TooLong {
        /// Octets given.
        length: usize,
    },
    /// It ends too early.
    #[error("cut off: {expected} octets should be here, there are {found}")]
    Cut {
        /// Octets that were announced.
        expected: usize,
        /// Octets that are there.
        found: usize,
    },
    /// It goes on after its end.
    #[error("{length} octets too many stand behind its end")]
    Trailing {
        /// Octets after the end.
        length: usize,
    },
    /// What it carries does not begin as everything in DER does.
    #[error(
        "what it carries is not DER, as a certificate is (no sequence, or a length that is not in its shortest form)"
    )]
    NotDer,
    /// It holds more than one, and which is meant is not said.
    #[error("this {form} holds several {what}; give one")]
    Several {
        /// The form.
        form: Form,
        /// Of what there are several.
        what: &'static str,
    },
    /// It holds no certificate.
    #[error("this {form} holds no certificate")]
    Missing {
        /// The form.
        form: Form,
    },
    /// It is no certificate but something that was signed.
    #[error("a {what} where a certificate was expected; `cgeid verify` says whether it is true")]
    Statement {
        /// `revocation` or `link proof`.
        what: &'static str,
    },
    /// It breaks the rules of its form.
    #[error("not a {form} that can be used: {detail}")]
    Malformed {
        /// The form.
        form: Form,
        /// What the parser met.
        detail: String,
    },
}
