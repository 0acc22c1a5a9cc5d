//! The command line: what users type, and the form of what they get.

pub mod args;
pub mod client;
pub mod error;
pub mod output;
pub mod progress;
pub mod walk;
