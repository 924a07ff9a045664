// SPDX-License-Identifier: GPL-2.0-or-later
//! LISP-SEC (RFC 9303) of the whole control half: what is asked, and what is answered.

use std::time::Instant;

use wire::control::{Ecm, MapRequest};

use super::Control;
use crate::refusal::Refusal;
use crate::reply::Protection;
use crate::resolve::{Demand, LispSec};
use crate::transport::Via;

impl Control {
    /// As [`Self::protect`] has it, from the start.
    #[must_use]
    pub fn secured(mut self, settings: LispSec) -> Self {
        self.protect(settings);
        self
    }

    /// Protects what is asked of the mapping system from now on with LISP-SEC, and requires the same of who asks here if that is
    /// demanded. What comes protected is answered so in any case. Of another demand than before [`Self::handle_timeout`] then brings what
    /// follows: what was asked is asked anew, and if more is demanded what has not been proven is forgotten.
    pub fn protect(&mut self, settings: LispSec) {
        self.replier.require_protection(settings.demand == Demand::Require);
        if let Some(pitr) = &mut self.pitr {
            pitr.protect(settings.clone());
        }
        self.resolver.secure(settings);
    }

    /// What LISP-SEC gives for the answer to the Map-Request in this ECM; `None` if that is not protected (RFC 9303, section 6.8).
    pub(super) fn protection(
        &mut self,
        now: Instant,
        via: Via,
        ecm: &Ecm,
        message: &MapRequest,
    ) -> Result<Option<Protection>, Refusal> {
        let Some(security) = &ecm.security else { return Ok(None) };
        self.opener.open(now, via, self.registrar.keys(), security, message.nonce).map(Some)
    }
}
