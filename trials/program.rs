//! The program under trial.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Which build of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// The one that users get.
    Plain,
    /// The same on a disk that keeps in memory what was not synced, so that a kill loses what a power cut would.
    PowerLoss,
}

impl Build {
    /// For the line that tells how a run was made.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Plain => "kill -9",
            Self::PowerLoss => "kill -9 as power loss",
        }
    }
}

/// The given binary, or the build, made first if need be with the profile of this very program.
pub fn find(build: Build, given: Option<PathBuf>) -> Result<PathBuf> {
    if let Some(binary) = given {
        ensure!(binary.is_file(), "{} is no file", binary.display());
        return Ok(binary.canonicalize()?);
    }
    let here = std::env::current_exe()?;
    let is_release = here.parent().is_some_and(|folder| folder.ends_with("release"));
    let name = match build {
        Build::Plain => "ipfs-kit",
        Build::PowerLoss => "ipfs-kit-power-loss",
    };
    let package = match build {
        Build::Plain => "ipfs-kit",
        Build::PowerLoss => env!("CARGO_PKG_NAME"),
    };
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--quiet", "--package", package, "--bin", name]);
    if is_release {
        command.arg("--release");
    }
    let built = command.status().context("cargo can't be run; --binary names a binary")?;
    ensure!(built.success(), "the program can't be built");
    let binary = here.with_file_name(name);
    ensure!(binary.is_file(), "{} is not there; --binary names one", binary.display());
    Ok(binary)
}
