//! Small files, replaced atomically and read within a bound.

#[cfg(test)]
mod tests;

use crate::codec::Fields;
use crate::disk::{Disk, DiskError, Io, Open, parent_of};

/// Suffix of a file that is being written; what a crash leaves under it is overwritten next time.
pub(crate) const TEMPORARY: &str = ".tmp";
const RECORD_HEADER_BYTES: usize = 18;

/// A small file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The disk failed. State is intact; see the kind.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The file is longer than its reader allows. State is intact; retrying does not help.
    #[error("{path} has {len_bytes} bytes, more than the {max_bytes} allowed")]
    TooLong {
        /// The file.
        path: String,
        /// Its length.
        len_bytes: u64,
        /// The reader's bound.
        max_bytes: u64,
    },
    /// The file's frame or checksum is wrong. Nothing was changed; retrying does not help.
    #[error("{path} is damaged: {what}")]
    Corrupt {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Replaces the file at `path` by `bytes`: after a crash it holds the old or the new bytes, and the
/// new ones once this returned.
///
/// # Errors
/// The failed step. The old content is in place unless only the last step, making the rename
/// durable, failed.
pub fn write_atomic(disk: &dyn Disk, path: &str, bytes: &[u8]) -> Result<(), DiskError> {
    let temporary = format!("{path}{TEMPORARY}");
    let file = disk.open(&temporary, Open::Create, Io::Buffered)?;
    file.write_at(0, bytes)?;
    file.sync()?;
    drop(file);
    disk.rename(&temporary, path)?;
    disk.sync_dir(parent_of(path))
}

/// The whole file, or `None` where there is none.
///
/// # Errors
/// [`FileError::TooLong`] before anything is read, or the disk's error.
pub fn read_bounded(
    disk: &dyn Disk,
    path: &str,
    max_bytes: u64,
) -> Result<Option<Vec<u8>>, FileError> {
    let file = match disk.open(path, Open::Read, Io::Buffered) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let len_bytes = file.len()?;
    if len_bytes > max_bytes {
        return Err(FileError::TooLong { path: path.to_owned(), len_bytes, max_bytes });
    }
    let mut bytes = vec![0; len_bytes as usize];
    let n = file.read_at(0, &mut bytes)?;
    bytes.truncate(n);
    Ok(Some(bytes))
}

/// What a record file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordFile {
    /// The payload's format version, as its writer gave it.
    pub version: u16,
    /// The payload.
    pub payload: Vec<u8>,
}

/// [`write_atomic`] with a frame: magic, version, length, CRC-32C over all of it, payload.
///
/// # Errors
/// As [`write_atomic`].
pub fn write_record(
    disk: &dyn Disk,
    path: &str,
    magic: [u8; 4],
    version: u16,
    payload: &[u8],
) -> Result<(), DiskError> {
    let mut bytes = Vec::with_capacity(RECORD_HEADER_BYTES + payload.len());
    bytes.extend_from_slice(&magic);
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), payload);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(payload);
    write_atomic(disk, path, &bytes)
}

/// Reads what [`write_record`] wrote, or `None` where there is no file.
///
/// # Errors
/// [`FileError::Corrupt`] when magic, length or checksum are wrong; else as [`read_bounded`].
pub fn read_record(
    disk: &dyn Disk,
    path: &str,
    magic: [u8; 4],
    max_payload_bytes: u64,
) -> Result<Option<RecordFile>, FileError> {
    let max_bytes = max_payload_bytes.saturating_add(RECORD_HEADER_BYTES as u64);
    let Some(bytes) = read_bounded(disk, path, max_bytes)? else { return Ok(None) };
    let corrupt = |what| FileError::Corrupt { path: path.to_owned(), what };
    let mut fields = Fields::new(&bytes);
    let (Some(found), Some(version), Some(len), Some(crc)) =
        (fields.array::<4>(), fields.u16(), fields.u64(), fields.u32())
    else {
        return Err(corrupt("it is shorter than its header"));
    };
    let payload = fields.rest();
    if found != magic {
        return Err(corrupt("it is not the expected kind of file"));
    }
    if len != payload.len() as u64 {
        return Err(corrupt("its length differs from its header"));
    }
    let header = &bytes[..RECORD_HEADER_BYTES - 4];
    if crc32c::crc32c_append(crc32c::crc32c(header), payload) != crc {
        return Err(corrupt("its checksum differs"));
    }
    Ok(Some(RecordFile { version, payload: payload.to_vec() }))
}
