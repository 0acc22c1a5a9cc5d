//! One target under libFuzzer, named by `FUZZ_TARGET`; with `FUZZ_SEEDS`, a folder, the seeds of all of
//! them instead. Memory is bounded at every allocation, so that a length which is believed too soon is a
//! finding even if nobody touches what was reserved.

use std::path::Path;
use std::sync::LazyLock;

use ipfs_kit_fuzz::{TARGETS, Target, find};

/// Far more than any decoder of a bounded message needs, libFuzzer's own memory included.
const MEMORY_BYTES_MAX: usize = 512 << 20;

#[global_allocator]
static MEMORY: cap::Cap<std::alloc::System> = cap::Cap::new(std::alloc::System, MEMORY_BYTES_MAX);

static TARGET: LazyLock<&'static Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    find(&name).unwrap_or_else(|| panic!("FUZZ_TARGET={name} is no target"))
});

libfuzzer_sys::fuzz_target!(
    init: {
        if let Some(folder) = std::env::var_os("FUZZ_SEEDS") {
            write_seeds(folder.as_ref()).expect("the folder for the seeds can be written");
            std::process::exit(0);
        }
    },
    |bytes: &[u8]| (TARGET.run)(bytes)
);

/// Writes the seeds of every target into a folder of its own and prints the targets' names.
fn write_seeds(folder: &Path) -> std::io::Result<()> {
    for target in TARGETS {
        let folder = folder.join(target.name);
        std::fs::create_dir_all(&folder)?;
        for (number, seed) in (target.seeds)().into_iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number:03}")), seed)?;
        }
        println!("{}", target.name);
    }
    Ok(())
}
