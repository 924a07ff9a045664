//! mapsys
