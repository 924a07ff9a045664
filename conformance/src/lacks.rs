// SPDX-License-Identifier: GPL-2.0-or-later
//! What stands in the way of a run: whether who asked is at fault, or the machine.

use std::fmt;
use std::io::{self, ErrorKind};

/// The machine lacks what was needed; the text names it.
#[derive(Debug)]
pub struct Lacks(pub String);

impl fmt::Display for Lacks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Lacks {}

/// The exit status for wrong usage or a wrong file.
const USAGE: u8 = 2;
/// That for what the machine lacks.
const MACHINE: u8 = 3;

/// The exit status of a program that ends by this error: 3 if the machine lacks something or refuses it, otherwise 2.
pub fn status(error: &anyhow::Error) -> u8 {
    if let Some(own) = error.downcast_ref::<program::Error>() {
        return own.status();
    }
    let is_of_the_machine = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<Lacks>() || cause.downcast_ref::<io::Error>().is_some_and(|error| !is_a_wrong_name(error.kind()))
    };
    if error.chain().any(is_of_the_machine) { MACHINE } else { USAGE }
}

/// What was named is not there, or is no such thing.
fn is_a_wrong_name(kind: ErrorKind) -> bool {
    use ErrorKind::{InvalidData, InvalidFilename, InvalidInput, IsADirectory, NotADirectory, NotFound, UnexpectedEof};
    matches!(
        kind,
        NotFound | NotADirectory | IsADirectory | InvalidFilename | InvalidInput | InvalidData | UnexpectedEof
    )
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;

    #[test]
    fn the_machine_is_told_from_who_asked() {
        let of_io = |kind: ErrorKind| anyhow::Error::from(io::Error::from(kind)).context("--output x");
        assert_eq!(status(&anyhow!("--suite x: no such suite")), USAGE);
        assert_eq!((status(&of_io(ErrorKind::NotFound)), status(&of_io(ErrorKind::StorageFull))), (USAGE, MACHINE));
        let lacks: anyhow::Result<()> = Err(Lacks("cargo".into())).context("mutants");
        assert_eq!(lacks.map_err(|error| status(&error)), Err(MACHINE));
        let full = io::Error::from(ErrorKind::StorageFull);
        assert_eq!(status(&program::Error::Output(full).into()), MACHINE);
    }
}
