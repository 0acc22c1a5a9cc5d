//! The fuzz targets under libFuzzer. `fuzz/run.sh` builds and runs it; in any other build it only says so.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
#[path = "guided.rs"]
mod guided;

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    eprintln!("this build has no coverage counters; run fuzz/run.sh");
    std::process::ExitCode::FAILURE
}
