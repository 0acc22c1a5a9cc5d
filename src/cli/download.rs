//! Bytes from the node to standard output, or into a file that appears whole or not at all.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use super::client::Download;
use super::error::{CliError, Done, VerbResult};
use super::session::Session;
use super::unpack::{cannot, folder_of, refuse_existing};

/// Writes a download to standard output.
pub(super) async fn print<W: Write>(
    session: &mut Session<W>,
    mut download: Download,
) -> VerbResult {
    while let Some(chunk) = download.next().await? {
        session.out.bytes(&chunk)?;
    }
    session.out.flush()?;
    Ok(Done::Fully)
}

/// Writes a download into the new file `dest`; says how many bytes it has.
pub(super) async fn keep<W: Write>(
    session: &Session<W>,
    mut download: Download,
    dest: &Path,
    label: String,
) -> Result<u64, CliError> {
    let mut file = Staged::beside(dest)?;
    let mut progress = session.progress(label, None);
    let mut bytes = 0;
    while let Some(chunk) = download.next().await? {
        file.write(&chunk)?;
        bytes += chunk.len() as u64;
        progress.set(bytes);
    }
    progress.finish();
    file.finish()?;
    Ok(bytes)
}

/// Binary data makes a terminal unusable.
pub(super) fn refuse_terminal(instead: &str) -> Result<(), CliError> {
    if !io::stdout().is_terminal() {
        return Ok(());
    }
    Err(CliError::new("E_USAGE", "binary data does not go to a terminal").hint(instead))
}

/// A file that appears whole under its name, or not at all.
struct Staged {
    file: tempfile::NamedTempFile,
    dest: PathBuf,
}

impl Staged {
    fn beside(dest: &Path) -> Result<Self, CliError> {
        let file = tempfile::Builder::new()
            .prefix(".")
            .suffix(".partial")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .tempfile_in(folder_of(dest))
            .map_err(|error| cannot("create", dest, &error))?;
        Ok(Self { file, dest: dest.to_owned() })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.file.write_all(bytes).map_err(|error| cannot("write", &self.dest, &error))
    }

    fn finish(self) -> Result<(), CliError> {
        let Self { file, dest } = self;
        match file.persist_noclobber(&dest) {
            Ok(_) => Ok(()),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                refuse_existing(&dest)
            }
            Err(error) => Err(cannot("create", &dest, &error.error)),
        }
    }
}
