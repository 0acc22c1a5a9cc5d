//! The program: adapters, interfaces and the composition root.

pub mod config;
