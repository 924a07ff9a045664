//! cgeid
