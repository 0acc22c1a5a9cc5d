//! Open files on their way through a socket, and what is said about them.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::{HandoverOffer, WELCOME};

/// How long the importer waits for a file whose entry has come, and a client for its welcome.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// Connects to where an offer leads and shows its ticket.
///
/// # Errors
/// The socket is another machine's or user's, or its node is gone: nothing can be handed over.
pub fn take_up(offer: &HandoverOffer) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(Path::new(&offer.socket))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(offer.ticket.as_bytes())?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    if answer != [WELCOME] {
        return Err(io::Error::other("the socket belongs to another program"));
    }
    // From here on the node takes as long as it takes.
    stream.set_read_timeout(None)?;
    Ok(stream)
}

/// Hands a file of `size_bytes` over, and waits until the node is done with it.
///
/// # Errors
/// The node is gone, or has ended the import.
pub fn give(mut to: &UnixStream, file: &File, size_bytes: u64) -> io::Result<Outcome> {
    let files = [file.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    if !rights.push(SendAncillaryMessage::ScmRights(&files)) {
        return Err(io::Error::other("a message is too small for a file"));
    }
    let size = size_bytes.to_le_bytes();
    // A message that short goes whole.
    sendmsg(to, &[IoSlice::new(&size)], &mut rights, SendFlags::NOSIGNAL)?;
    let mut outcome = [0];
    to.read_exact(&mut outcome)?;
    match outcome {
        [0] => Ok(Outcome::Taken),
        [1] => Ok(Outcome::Shorter),
        [2] => Ok(Outcome::Refused),
        _ => Err(io::Error::other("the node speaks another language")),
    }
}

/// Where an import takes the files from that were handed over for it, in their order.
#[derive(Debug)]
pub struct HandedFiles {
    connection: UnixStream,
}

impl HandedFiles {
    pub(super) fn new(connection: UnixStream) -> Self {
        Self { connection }
    }

    /// The next one.
    ///
    /// # Errors
    /// The client is gone, or has sent something else. Nothing was read.
    pub fn next_file(&mut self) -> io::Result<HandedFile<'_>> {
        let (file, size_bytes) = self.receive()?;
        Ok(HandedFile { file, at: 0, size_bytes, is_shorter: false, from: &self.connection })
    }

    fn receive(&self) -> io::Result<(File, u64)> {
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
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("what was handed over is no file"));
        }
        Ok((file, u64::from_le_bytes(size)))
    }
}

/// Exactly as many bytes of a file as were promised, or an error. It is read by position: the place that the
/// client and the node share in an open file stays where it is.
#[derive(Debug)]
pub struct HandedFile<'a> {
    file: File,
    at: u64,
    size_bytes: u64,
    is_shorter: bool,
    from: &'a UnixStream,
}

impl HandedFile<'_> {
    /// Tells the client how it went.
    pub fn settle(self, is_taken: bool) {
        let outcome = match is_taken {
            true if self.at == self.size_bytes => Outcome::Taken,
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
        let left_bytes = usize::try_from(self.size_bytes - self.at).unwrap_or(usize::MAX);
        let want = buffer.len().min(left_bytes);
        if want == 0 {
            return Ok(0);
        }
        let read = self.file.read_at(&mut buffer[..want], self.at)?;
        if read == 0 {
            self.is_shorter = true;
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter"));
        }
        self.at += read as u64;
        Ok(read)
    }
}
