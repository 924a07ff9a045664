//! xtr
