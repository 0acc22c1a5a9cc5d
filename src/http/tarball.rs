//! The TAR dialect between client and node: GNU long names, and only type, size, name and link target
//! mean anything.
//!
//! The entry `.` is the root itself, a file as well as a folder; other names are relative to it. A reader
//! gets TAR from anywhere, so it also understands PAX names, and bounds everything before it keeps it.

use std::io::{self, Read};

use tar::{EntryType, Header};

/// Size of a header and unit of padding.
pub const BLOCK_LEN_BYTES: usize = 512;
/// Two zero blocks end an archive.
pub const END: [u8; 2 * BLOCK_LEN_BYTES] = [0; 2 * BLOCK_LEN_BYTES];
/// Longest name or link target that is kept; Linux allows 4096 in one path, a tree may be deeper.
pub const NAME_LEN_BYTES_MAX: usize = 64 * 1024;
/// Most names from the root down.
pub const DEPTH_MAX: usize = ipfs_kit_core::limits::TREE_DEPTH_MAX;
// The message names it.
const _: () = assert!(DEPTH_MAX == 256);
/// The name of the root's own entry.
const ROOT_NAME: &[u8] = b".";
/// The type of entries without bytes, of those that POSIX leaves to implementations.
const HANDED: u8 = b'H';
/// How GNU tar names the entries that carry a long name.
const LONG_LINK_NAME: &[u8] = b"././@LongLink";
/// Longest name that a header itself can hold.
const SHORT_NAME_LEN_BYTES_MAX: usize = 100;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A file; its bytes follow the header, padded to a block.
    File {
        /// How many bytes.
        size_bytes: u64,
    },
    /// A folder.
    Directory,
    /// A file that is handed over open; no bytes follow.
    Handed,
    /// A symbolic link.
    Symlink {
        /// Where it points, as bytes.
        target: Vec<u8>,
    },
}

/// Why an archive can't be read. What was read before stands; the rest is unknown.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The stream broke off or is no archive.
    #[error("the archive breaks off or is damaged after {after:?}")]
    Read {
        /// The last entry that was seen.
        after: String,
        /// What the reader says.
        #[source]
        source: io::Error,
    },
    /// An entry that we do not take.
    #[error("{path:?}: {reason}")]
    Invalid {
        /// Which entry.
        path: String,
        /// Why.
        reason: &'static str,
    },
}

/// The header of an entry, with a long-name entry before it where needed. `path` is the names from the
/// root down, empty for the root itself.
pub fn entry_header(path: &[impl AsRef<[u8]>], kind: &EntryKind) -> Vec<u8> {
    let mut name = match path {
        [] => ROOT_NAME.to_vec(),
        names => names.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(&b'/'),
    };
    let mut bytes = Vec::with_capacity(BLOCK_LEN_BYTES);
    let mut header = Header::new_gnu();
    match kind {
        EntryKind::File { size_bytes } => {
            header.set_entry_type(EntryType::Regular);
            header.set_mode(0o644);
            header.set_size(*size_bytes);
        }
        EntryKind::Handed => {
            header.set_entry_type(EntryType::new(HANDED));
            header.set_mode(0o644);
            header.set_size(0);
        }
        EntryKind::Directory => {
            name.push(b'/');
            header.set_entry_type(EntryType::Directory);
            header.set_mode(0o755);
            header.set_size(0);
        }
        EntryKind::Symlink { target } => {
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            header.set_size(0);
            if target.len() > SHORT_NAME_LEN_BYTES_MAX {
                push_long(&mut bytes, EntryType::GNULongLink, target);
            }
            copy_cut(&mut header.as_old_mut().linkname, target);
        }
    }
    if name.len() > SHORT_NAME_LEN_BYTES_MAX {
        push_long(&mut bytes, EntryType::GNULongName, &name);
    }
    copy_cut(&mut header.as_old_mut().name, &name);
    header.set_cksum();
    bytes.extend_from_slice(header.as_bytes());
    bytes
}

/// Whether an entry may be called so.
pub fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

/// Zero bytes after a file of that size.
pub fn padding(size_bytes: u64) -> &'static [u8] {
    let over = usize::try_from(size_bytes % BLOCK_LEN_BYTES as u64).expect("it is below 512");
    if over == 0 { &[] } else { &END[..BLOCK_LEN_BYTES - over] }
}

fn push_long(bytes: &mut Vec<u8>, entry_type: EntryType, name: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(entry_type);
    header.set_mode(0o644);
    let size_bytes = name.len() as u64 + 1;
    header.set_size(size_bytes);
    copy_cut(&mut header.as_old_mut().name, LONG_LINK_NAME);
    header.set_cksum();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(name);
    bytes.push(0);
    bytes.extend_from_slice(padding(size_bytes));
}

fn copy_cut(field: &mut [u8; SHORT_NAME_LEN_BYTES_MAX], name: &[u8]) {
    let len = name.len().min(field.len());
    field[..len].copy_from_slice(&name[..len]);
}

/// Reads an archive: hands every entry to `visit`, with a reader of exactly its bytes.
///
/// Names are split and checked: no `..`, nothing absolute. Hard links, devices and other special entries
/// are refused. Its metadata beyond type, size, name and target is ignored.
pub fn read_entries<E: From<TarError>>(
    archive: impl Read,
    mut visit: impl FnMut(&[Vec<u8>], &EntryKind, &mut dyn Read) -> Result<(), E>,
) -> Result<(), E> {
    let mut archive = tar::Archive::new(archive);
    let mut after = String::from("the beginning");
    let entries = archive.entries().map_err(|source| broken(&after, source))?;
    let mut pending = Pending::default();
    for entry in entries.raw(true) {
        let mut entry = entry.map_err(|source| broken(&after, source))?;
        let header = entry.header().clone();
        let entry_type = header.entry_type();
        if pending.take_extension(entry_type, &mut entry).map_err(|error| error.named(&after))? {
            continue;
        }
        let name = pending.name.take().unwrap_or_else(|| header.path_bytes().into_owned());
        after = String::from_utf8_lossy(&name).into_owned();
        let invalid = |reason| TarError::Invalid { path: after.clone(), reason };
        let path = split_name(&name).map_err(invalid)?;
        let size_bytes = header.entry_size().map_err(|source| broken(&after, source))?;
        let target = pending.target.take().or_else(|| Some(header.link_name_bytes()?.into_owned()));
        let kind = match entry_type {
            EntryType::Regular | EntryType::Continuous => EntryKind::File { size_bytes },
            EntryType::Directory => EntryKind::Directory,
            EntryType::Symlink => EntryKind::Symlink {
                target: target.ok_or_else(|| invalid("a symbolic link without a target"))?,
            },
            EntryType::Link => return Err(invalid("hard links can't be added").into()),
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                return Err(invalid("devices and pipes can't be added").into());
            }
            other if other.as_byte() == HANDED => EntryKind::Handed,
            _ => return Err(invalid("an entry of an unknown type").into()),
        };
        let remaining_bytes = if matches!(kind, EntryKind::File { .. }) { size_bytes } else { 0 };
        let mut bytes = Exactly { inner: &mut entry, remaining_bytes };
        visit(&path, &kind, &mut bytes)?;
    }
    Ok(())
}

fn broken(after: &str, source: io::Error) -> TarError {
    TarError::Read { after: after.to_owned(), source }
}

/// Names that came in entries of their own, for the entry that follows.
#[derive(Default)]
struct Pending {
    name: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
}

/// Why an extension was refused, before it is known which entry it is about.
enum ExtensionError {
    Read(io::Error),
    Invalid(&'static str),
}

impl ExtensionError {
    fn named(self, after: &str) -> TarError {
        match self {
            Self::Read(source) => broken(after, source),
            Self::Invalid(reason) => TarError::Invalid { path: format!("after {after}"), reason },
        }
    }
}

impl Pending {
    /// Whether the entry only carries names for the one that follows; then they are kept.
    fn take_extension(
        &mut self,
        entry_type: EntryType,
        entry: &mut impl Read,
    ) -> Result<bool, ExtensionError> {
        match entry_type {
            EntryType::GNULongName => self.name = Some(read_long(entry)?),
            EntryType::GNULongLink => self.target = Some(read_long(entry)?),
            EntryType::XHeader => self.take_pax(&read_bounded(entry)?)?,
            // Global headers hold no names; `git archive` puts a comment there.
            EntryType::XGlobalHeader => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn take_pax(&mut self, bytes: &[u8]) -> Result<(), ExtensionError> {
        for record in tar::PaxExtensions::new(bytes) {
            let record = record.map_err(ExtensionError::Read)?;
            match record.key_bytes() {
                b"path" => self.name = Some(record.value_bytes().to_vec()),
                b"linkpath" => self.target = Some(record.value_bytes().to_vec()),
                b"size" => {
                    return Err(ExtensionError::Invalid(
                        "a size in a PAX header; write the archive in GNU format",
                    ));
                }
                b"GNU.sparse.major" | b"GNU.sparse.map" => {
                    return Err(ExtensionError::Invalid("sparse files can't be added"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn read_long(entry: &mut impl Read) -> Result<Vec<u8>, ExtensionError> {
    let mut name = read_bounded(entry)?;
    while name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}

fn read_bounded(entry: &mut impl Read) -> Result<Vec<u8>, ExtensionError> {
    let mut bytes = Vec::new();
    let bound = NAME_LEN_BYTES_MAX as u64 + 1;
    entry.take(bound).read_to_end(&mut bytes).map_err(ExtensionError::Read)?;
    if bytes.len() as u64 == bound {
        return Err(ExtensionError::Invalid("a name of more than 64 KiB"));
    }
    Ok(bytes)
}

fn split_name(name: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    if name.starts_with(b"/") {
        return Err("names must be relative");
    }
    if name.contains(&0) {
        return Err("names must not hold zero bytes");
    }
    let parts = name.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    let path: Vec<Vec<u8>> = parts.map(<[u8]>::to_vec).collect();
    if path.iter().any(|part| part == b"..") {
        return Err("names must not hold `..`");
    }
    if path.len() > DEPTH_MAX {
        return Err("deeper than 256 folders");
    }
    Ok(path)
}

/// Reads exactly that many bytes: an archive that ends within a file is an error, not a short file.
struct Exactly<'a, R> {
    inner: &'a mut R,
    remaining_bytes: u64,
}

impl<R: Read> Read for Exactly<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.remaining_bytes).unwrap_or(usize::MAX).min(buffer.len());
        if want == 0 {
            return Ok(0);
        }
        match self.inner.read(&mut buffer[..want])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.remaining_bytes -= read as u64;
                Ok(read)
            }
        }
    }
}

#[cfg(test)]
mod tests;
