//! The program on a disk where kill -9 loses what a power cut would: for trials, never for data.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use ipfs_kit::cli::{self, nodes};
use ipfs_kit::engine::DiskMaker;
use ipfs_kit_store::disk::{Disk, DiskError, RealDisk};

mod disk;

use disk::{Landing, PowerLossDisk};

/// Names the folder of a node whose syncs are left out.
const FORGETS: &str = "POWER_LOSS_FORGETS_SYNCS_OF";
const WARNING: &str = "TEST BUILD: what is written stays in memory until it is synced, and kill -9 loses it as a \
                       power cut would; never keep data with it";

fn main() -> ExitCode {
    eprintln!("{WARNING}");
    let disk: DiskMaker = make_disk;
    cli::main(|globals, command| nodes::run(globals, command, disk))
}

fn make_disk(folder: &Path) -> Result<Arc<dyn Disk>, DiskError> {
    let real = RealDisk::new(folder)?;
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|error| {
        DiskError::new("draw a seed for", &folder.display().to_string(), error.into())
    })?;
    let disk = PowerLossDisk::new(real, Landing::Sometimes, u64::from_le_bytes(seed))?;
    Ok(Arc::new(disk.forgetting(std::env::var(FORGETS).ok())))
}
