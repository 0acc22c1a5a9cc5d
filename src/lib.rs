//! The program: adapters, interfaces and the composition root.

pub mod adapters;
pub mod cli;
pub mod config;
pub mod engine;
pub mod http;
