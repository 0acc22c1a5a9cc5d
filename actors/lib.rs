//! Supervised shells around the pure machines, and the role trees.

pub mod api;
pub mod ports;
pub mod settings;
pub mod supervision;
