//! Starts the program.

use std::process::ExitCode;

use ipfs_kit::cli::{self, nodes};
use ipfs_kit::engine::real_disk;
use mimalloc::MiMalloc;

#[global_allocator]
static MEMORY: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    cli::main(|globals, command| nodes::run(globals, command, real_disk))
}
