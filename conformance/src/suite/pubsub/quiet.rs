// SPDX-License-Identifier: GPL-2.0-or-later
//! Changes that nobody must be told of. What is told wrongly is told after the interval between two Map-Notifies of a receiver:
//! all scenes are played first, and then wait for it together.

use std::cell::OnceCell;
use std::time::{Duration, Instant};

use super::office::{Office, Xtr, end, host};
use crate::suite::probe::{Fault, Judgement, Probe, broken, must};

pub(super) const PROBES: &[Probe<Office>] = &[
    must("PS-03.02", "9437 6", "a mapping is registered again as it was", |office| judge(office, Scene::Refreshed)),
    must("PS-04.01", "9437 5", "N set and one ITR-RLOC of AFI 0, then a change", |office| judge(office, Scene::Ended)),
    must("PS-04.02", "9437 5", "an end comes from another address of the xTR", |office| {
        judge(office, Scene::FromElsewhere)
    }),
];

/// A receiver is told of a change at most this long after it (3 s between two Map-Notifies), and some.
const HELD: Duration = Duration::from_millis(3500);

#[derive(Clone, Copy)]
enum Scene {
    Refreshed,
    Ended,
    FromElsewhere,
}

/// The scenes, once they are played.
#[derive(Default)]
pub(super) struct Quiet(OnceCell<Played>);

/// The xTRs of each scene that must hear nothing, and when the last scene was over.
struct Played {
    scenes: [Result<Vec<Xtr>, Fault>; 3],
    at: Instant,
}

fn judge(office: &Office, scene: Scene) -> Judgement {
    let played = office.quiet.0.get_or_init(|| Played {
        scenes: [refreshed(office), ended(office), from_elsewhere(office)],
        at: Instant::now(),
    });
    for xtr in played.scenes[scene as usize].as_ref().map_err(Clone::clone)? {
        // What came while another scene was listened to waits in the socket.
        let left = HELD.saturating_sub(played.at.elapsed()).max(xtr.far.silence);
        if let Some(heard) = xtr.hear(left)? {
            return Err(broken(format!("expected nothing; came {heard:?}")));
        }
    }
    Ok(match scene {
        Scene::Refreshed => "nothing is told",
        Scene::Ended => "a Map-Notify with its nonce, and the change is not told",
        Scene::FromElsewhere => "the Map-Notify goes to the source of the Map-Request, and the change to nobody",
    }
    .into())
}

fn refreshed(office: &Office) -> Result<Vec<Xtr>, Fault> {
    let (xtr, part) = (office.xtr()?, office.registered(1)?);
    xtr.subscribe(100, host(part))?;
    office.register(part, Some(1))?;
    Ok(vec![xtr])
}

fn ended(office: &Office) -> Result<Vec<Xtr>, Fault> {
    let (xtr, part) = (office.xtr()?, office.registered(1)?);
    xtr.subscribe(10, host(part))?;
    end(&xtr, 11, part)?;
    office.register(part, Some(2))?;
    Ok(vec![xtr])
}

fn from_elsewhere(office: &Office) -> Result<Vec<Xtr>, Fault> {
    let (xtr, part) = (office.xtr()?, office.registered(1)?);
    xtr.subscribe(10, host(part))?;
    let there = xtr.beside(office.bind(80, 0)?);
    end(&there, 11, part)?;
    office.register(part, Some(2))?;
    Ok(vec![xtr, there])
}
