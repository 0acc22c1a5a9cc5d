//! The program: adapters, interfaces and the composition root.

pub mod cli;
pub mod config;
pub mod http;
