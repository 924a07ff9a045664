// SPDX-License-Identifier: GPL-2.0-or-later
//! Why the program ends, by who can mend it; each has its exit status.

use crate::config::ConfigError;

/// What ends a run.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What was asked did not hold: exit status 1.
    #[error("{0}")]
    NotHeld(String),
    /// Wrong usage or configuration: exit status 2.
    #[error("{0}")]
    Configuration(String),
    /// The machine lacks something: exit status 3.
    #[error("{0}")]
    Machine(String),
}

impl Failure {
    /// The exit status.
    pub fn status(&self) -> u8 {
        match self {
            Self::NotHeld(_) => 1,
            Self::Configuration(_) => 2,
            Self::Machine(_) => 3,
        }
    }

    /// A wrong flag or key.
    pub fn key(key: &str, problem: impl std::fmt::Display) -> Self {
        Self::Configuration(format!("--{key}: {problem}"))
    }
}

impl From<program::Error> for Failure {
    fn from(error: program::Error) -> Self {
        let text = error.to_string();
        match error.status() {
            1 => Self::NotHeld(text),
            2 => Self::Configuration(text),
            _ => Self::Machine(text),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Configuration(format!("--{error}"))
    }
}
