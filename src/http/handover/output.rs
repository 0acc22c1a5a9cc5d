//! Outputs on their way through a socket: the node writes a download where its client would.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use ipfs_kit_actors::api::Failure;
use tokio::sync::mpsc;

use super::HandedFiles;
use super::files::send;

/// Chunks that wait for the disk; a chunk is no larger than a block.
const CHUNKS_MAX: usize = 4;
/// Linux' number of `/dev/null`.
const NULL_DEVICE: u64 = 0x103;

/// Whether writing there never waits for somebody else: into a file, or into nothing. A pipe or a terminal
/// would hold a thread of the node for as long as its reader likes.
///
/// # Errors
/// The operating system does not say.
pub fn never_waits(output: &File) -> io::Result<bool> {
    let about = output.metadata()?;
    let kind = about.file_type();
    Ok(kind.is_file() || kind.is_char_device() && about.rdev() == NULL_DEVICE)
}

/// Hands an output over: what the request asks for is to be written there, from where the client is in it.
///
/// # Errors
/// The node is gone.
pub fn lend(to: &UnixStream, output: &File) -> io::Result<()> {
    send(to, output, 0)
}

impl HandedFiles {
    /// Writes a download to the output that was handed over for it; how many bytes. Dropped, it ends with the few
    /// chunks that wait.
    ///
    /// # Errors
    /// As the download fails, or the output can't be written to. What came before is in the output, as with any
    /// download that breaks off.
    pub async fn fill(
        self,
        mut bytes: impl Stream<Item = Result<Bytes, Failure>> + Unpin,
    ) -> Result<u64, Failure> {
        let (chunks, waiting) = mpsc::channel(CHUNKS_MAX);
        let writing = tokio::task::spawn_blocking(move || self.write(waiting));
        let mut fetched = Ok(());
        while let Some(chunk) = bytes.next().await {
            let sent = match chunk {
                // Whoever does not listen any more says why.
                Ok(chunk) => chunks.send(chunk).await.is_ok(),
                Err(failure) => {
                    fetched = Err(failure);
                    false
                }
            };
            if !sent {
                break;
            }
        }
        drop(chunks);
        let written = writing.await.map_err(io::Error::other).flatten();
        fetched?;
        written.map_err(|error| unwritable(&error))
    }

    fn write(self, mut chunks: mpsc::Receiver<Bytes>) -> io::Result<u64> {
        let (mut output, _) = self.receive()?;
        if !never_waits(&output)? {
            return Err(io::Error::other("what was handed over is no file"));
        }
        let mut written = 0;
        while let Some(chunk) = chunks.blocking_recv() {
            output.write_all(&chunk)?;
            written += chunk.len() as u64;
        }
        Ok(written)
    }
}

fn unwritable(error: &io::Error) -> Failure {
    Failure {
        code: "E_IO".into(),
        message: format!("the output can't be written to: {error}"),
        hint: Some("make room there, or name another one".into()),
        retryable: false,
    }
}
