//! Files on their way into an archive, or from hand to hand.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::{Follow, changed, unreadable, upload_broken};
use crate::cli::error::CliError;
use crate::http::handover::{self, Outcome};
use crate::http::tarball::{self, EntryKind};

/// Bytes read from a file at once.
pub(super) const READ_LEN_BYTES: usize = 256 * 1024;
/// A file of this size is handed over where that is possible: below, waiting for the node costs more than
/// the copies that it saves.
const HANDED_LEN_BYTES_MIN: u64 = 4 * 1024 * 1024;

/// Where entries go.
pub(super) struct Sink<'a> {
    /// Where large files are handed over.
    to: Option<&'a UnixStream>,
    out: &'a mut dyn Write,
    on_bytes: &'a mut dyn FnMut(u64),
    buffer: Vec<u8>,
}

impl<'a> Sink<'a> {
    pub(super) fn new(
        to: Option<&'a UnixStream>,
        out: &'a mut dyn Write,
        on_bytes: &'a mut dyn FnMut(u64),
    ) -> Self {
        Self { to, out, on_bytes, buffer: vec![0; READ_LEN_BYTES] }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.out.write_all(bytes).map_err(|error| upload_broken(&error))
    }

    pub(super) fn flush(&mut self) -> Result<(), CliError> {
        self.out.flush().map_err(|error| upload_broken(&error))
    }

    pub(super) fn header(&mut self, names: &[OsString], kind: &EntryKind) -> Result<(), CliError> {
        let names: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        self.write(&tarball::entry_header(&names, kind))
    }

    /// Writes a file's entry; says how many bytes it has.
    pub(super) fn file(
        &mut self,
        bytes_before: u64,
        names: &[OsString],
        path: &Path,
        follow: Follow,
    ) -> Result<u64, CliError> {
        let mut file = open(path, follow).map_err(|error| unreadable(path, &error))?;
        let before = file.metadata().map_err(|error| unreadable(path, &error))?;
        if !before.is_file() {
            return Err(changed(path, "it was replaced by something else"));
        }
        let size_bytes = before.len();
        match self.to.filter(|_| size_bytes >= HANDED_LEN_BYTES_MIN) {
            Some(to) => self.hand_over(to, names, &file, size_bytes, path)?,
            None => self.copy(bytes_before, names, &mut file, size_bytes, path)?,
        }
        (self.on_bytes)(bytes_before + size_bytes);
        let more = file.read_at(&mut [0], size_bytes);
        if more.map_err(|error| unreadable(path, &error))? > 0 {
            return Err(changed(path, "it became longer"));
        }
        let after = file.metadata().map_err(|error| unreadable(path, &error))?;
        if after.modified().ok() != before.modified().ok() {
            return Err(changed(path, "it was written to"));
        }
        Ok(size_bytes)
    }

    fn copy(
        &mut self,
        bytes_before: u64,
        names: &[OsString],
        file: &mut File,
        size_bytes: u64,
        path: &Path,
    ) -> Result<(), CliError> {
        self.header(names, &EntryKind::File { size_bytes })?;
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut left_bytes = size_bytes;
        while left_bytes > 0 {
            let want = buffer.len().min(usize::try_from(left_bytes).unwrap_or(usize::MAX));
            let read =
                read_some(file, &mut buffer[..want]).map_err(|error| unreadable(path, &error))?;
            if read == 0 {
                return Err(changed(path, "it became shorter"));
            }
            self.write(&buffer[..read])?;
            left_bytes -= read as u64;
            (self.on_bytes)(bytes_before + size_bytes - left_bytes);
        }
        self.buffer = buffer;
        self.write(tarball::padding(size_bytes))
    }

    fn hand_over(
        &mut self,
        to: &UnixStream,
        names: &[OsString],
        file: &File,
        size_bytes: u64,
        path: &Path,
    ) -> Result<(), CliError> {
        self.header(names, &EntryKind::Handed)?;
        // The node looks for the file when it sees the entry.
        self.flush()?;
        match handover::give(to, file, size_bytes).map_err(|error| upload_broken(&error))? {
            Outcome::Taken => Ok(()),
            Outcome::Shorter => Err(changed(path, "it became shorter")),
            Outcome::Refused => Err(upload_broken(&io::ErrorKind::ConnectionAborted.into())),
        }
    }
}

/// Opens for reading without waiting for the other end of a pipe, and without following a link that was
/// put there after we looked.
fn open(path: &Path, follow: Follow) -> io::Result<File> {
    use rustix::fs::OFlags;
    let no_follow = if follow == Follow::No { OFlags::NOFOLLOW } else { OFlags::empty() };
    let flags = OFlags::NONBLOCK | OFlags::CLOEXEC | no_follow;
    let flags = i32::try_from(flags.bits()).expect("open flags fit the system call's own type");
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn read_some(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
