//! Open files on their way through a socket, and what is said about them.

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::runtime::Handle;

use crate::http::pipe::{BlockingReader, BlockingWriter, pipe};

/// How long the importer waits for a file whose entry has come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes read from a file at once.
const READ_LEN_BYTES: usize = 256 * 1024;

/// What became of a file that was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// All of its bytes were read.
    Taken = 0,
    /// It has fewer bytes than was said.
    Shorter = 1,
    /// The import ends; why is in the answer to the upload.
    Refused = 2,
}

/// Hands a file of `size_bytes` over, and waits until the node is done with it.
///
/// # Errors
/// The node is gone, or has ended the import.
pub fn give(mut to: &UnixStream, file: &File, size_bytes: u64) -> io::Result<Outcome> {
    send(to, file, size_bytes)?;
    let mut outcome = [0];
    to.read_exact(&mut outcome)?;
    match outcome {
        [0] => Ok(Outcome::Taken),
        [1] => Ok(Outcome::Shorter),
        [2] => Ok(Outcome::Refused),
        _ => Err(io::Error::other("the node speaks another language")),
    }
}

pub(super) fn send(to: &UnixStream, file: &File, size_bytes: u64) -> io::Result<()> {
    let files = [file.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    if !rights.push(SendAncillaryMessage::ScmRights(&files)) {
        return Err(io::Error::other("a message is too small for a file"));
    }
    let size = size_bytes.to_le_bytes();
    // A message that short goes whole.
    sendmsg(to, &[IoSlice::new(&size)], &mut rights, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Where an import takes the files from that were handed over for it, in their order.
#[derive(Debug)]
pub struct HandedFiles {
    connection: UnixStream,
    /// Where files are read ahead.
    runtime: Handle,
}

impl HandedFiles {
    /// Within a runtime, on whose threads for blocking work files are read.
    pub(super) fn new(connection: UnixStream) -> Self {
        Self { connection, runtime: Handle::current() }
    }

    /// The next one.
    ///
    /// # Errors
    /// The client is gone, or has sent something else. Nothing was read.
    pub fn next_file(&mut self) -> io::Result<HandedFile<'_>> {
        let (file, size_bytes) = self.receive()?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("what was handed over is no file"));
        }
        let (ahead, bytes) = pipe();
        let (verdict, heard) = sync_channel(1);
        self.runtime.spawn_blocking(move || {
            // Whoever does not listen has given the file up.
            let _ = verdict.send(read_ahead(&file, size_bytes, ahead.into_blocking()));
        });
        let (bytes, from) = (bytes.into_blocking(), &self.connection);
        Ok(HandedFile { bytes, heard, left_bytes: size_bytes, is_shorter: false, from })
    }

    /// What is handed over next, whatever it is.
    pub(super) fn receive(&self) -> io::Result<(File, u64)> {
        self.connection.set_read_timeout(Some(PATIENCE))?;
        let mut size = [0; 8];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut rights = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut size)];
        let received =
            recvmsg(&self.connection, &mut slices, &mut rights, RecvFlags::CMSG_CLOEXEC)?;
        let mut files = Vec::<OwnedFd>::new();
        for message in rights.drain() {
            if let RecvAncillaryMessage::ScmRights(sent) = message {
                files.extend(sent);
            }
        }
        let file = files.pop().filter(|_| received.bytes == size.len());
        let file = File::from(file.ok_or_else(|| io::Error::other("no file was handed over"))?);
        Ok((file, u64::from_le_bytes(size)))
    }
}

/// Reads while others hash and write what came before: by position, since the place that the client and the
/// node share in an open file is the client's.
fn read_ahead(file: &File, size_bytes: u64, mut to: BlockingWriter) -> io::Result<()> {
    let mut buffer = vec![0; READ_LEN_BYTES];
    let mut at = 0;
    while at < size_bytes {
        let left_bytes = usize::try_from(size_bytes - at).unwrap_or(usize::MAX);
        let want = left_bytes.min(READ_LEN_BYTES);
        match file.read_at(&mut buffer[..want], at) {
            Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "it became shorter")),
            Ok(read) => {
                to.write_all(&buffer[..read])?;
                at += read as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    to.finish()
}

/// Exactly as many bytes of a file as were promised, or an error.
pub struct HandedFile<'a> {
    bytes: BlockingReader,
    /// Why the bytes broke off.
    heard: Receiver<io::Result<()>>,
    left_bytes: u64,
    is_shorter: bool,
    from: &'a UnixStream,
}

impl HandedFile<'_> {
    /// Tells the client how it went.
    pub fn settle(self, is_taken: bool) {
        let outcome = match is_taken {
            true if self.left_bytes == 0 => Outcome::Taken,
            _ if self.is_shorter => Outcome::Shorter,
            _ => Outcome::Refused,
        };
        let mut from = self.from;
        // Whoever is gone has broken its upload off too, which ends the import.
        let _ = from.write_all(&[outcome as u8]);
    }
}

impl Read for HandedFile<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(buffer).map_err(|broke_off| match self.heard.recv() {
            Ok(Err(error)) => {
                self.is_shorter = error.kind() == ErrorKind::UnexpectedEof;
                error
            }
            Ok(Ok(())) | Err(_) => broke_off,
        })?;
        self.left_bytes -= read as u64;
        Ok(read)
    }
}
