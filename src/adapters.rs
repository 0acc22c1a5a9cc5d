//! Adapters: the ports over the real world.

pub mod clock;
pub mod entropy;
pub mod executor;
pub mod gateway;
pub mod network;
pub mod process;
pub mod rival;
pub mod service_manager;
