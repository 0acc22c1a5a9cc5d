//! Import profiles: every parameter that decides a CID, under a name (IPIP-499).

use std::fmt;
use std::str::FromStr;

use crate::cid::Version;
use crate::limits::{MAX_BLOCK_LEN_BYTES, MAX_HAMT_FANOUT, MAX_LINKS_PER_NODE};

#[cfg(test)]
mod tests;

/// Most content of a leaf: 256 bytes are more than the envelope of a wrapped one.
const CHUNK_LEN_BYTES_MAX: usize = MAX_BLOCK_LEN_BYTES - 256;

/// A named set of import parameters. The same input under the same profile has the same CID in
/// every implementation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Profile {
    /// The modern profile: CIDv1, raw leaves of 1 MiB, nodes of up to 1,024 links.
    #[default]
    UnixfsV1_2025,
    /// What Kubo did by default for ten years: CIDv0, wrapped leaves of 256 KiB, 174 links.
    UnixfsV0_2015,
}

impl Profile {
    /// All profiles, the default first.
    pub const ALL: [Self; 2] = [Self::UnixfsV1_2025, Self::UnixfsV0_2015];

    /// The name in the specification.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnixfsV1_2025 => "unixfs-v1-2025",
            Self::UnixfsV0_2015 => "unixfs-v0-2015",
        }
    }

    /// The parameters.
    pub const fn params(self) -> ImportParams {
        let v1_2025 = ImportParams {
            cid_version: Version::V1,
            chunk_len_bytes: 1024 * 1024,
            layout: Layout::Balanced,
            max_links_per_node: 1024,
            leaves: LeafFormat::Raw,
            directory_size: DirectorySize::BlockBytes,
            directory_limit_bytes: 256 * 1024,
            hamt_fanout: 256,
            empty_directories: Inclusion::Included,
            hidden_entries: Inclusion::Excluded,
            symlinks: SymlinkRule::Preserved,
            mode: Inclusion::Excluded,
            mtime: Inclusion::Excluded,
        };
        match self {
            Self::UnixfsV1_2025 => v1_2025,
            Self::UnixfsV0_2015 => ImportParams {
                cid_version: Version::V0,
                chunk_len_bytes: 256 * 1024,
                max_links_per_node: 174,
                leaves: LeafFormat::DagPb,
                directory_size: DirectorySize::LinksBytes,
                ..v1_2025
            },
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A profile name that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown import profile {name:?}; known are unixfs-v1-2025 and unixfs-v0-2015")]
pub struct UnknownProfile {
    /// The name given.
    pub name: String,
}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(name: &str) -> Result<Self, UnknownProfile> {
        let known = Self::ALL.into_iter().find(|profile| profile.name() == name);
        known.ok_or_else(|| UnknownProfile { name: name.to_owned() })
    }
}

/// How files are cut where the profile's way is not wanted: `size-BYTES`, as Kubo writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunker {
    /// Bytes of content in each leaf but the last.
    pub chunk_len_bytes: usize,
}

/// A way of cutting files that does not exist, or a size that no block may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown chunker {text:?}; it is size-BYTES, with 1 to {CHUNK_LEN_BYTES_MAX} bytes")]
pub struct UnknownChunker {
    /// The text given.
    pub text: String,
}

impl FromStr for Chunker {
    type Err = UnknownChunker;

    fn from_str(text: &str) -> Result<Self, UnknownChunker> {
        let size = text.strip_prefix("size-").and_then(|size| size.parse().ok());
        match size {
            Some(chunk_len_bytes @ 1..=CHUNK_LEN_BYTES_MAX) => Ok(Self { chunk_len_bytes }),
            _ => Err(UnknownChunker { text: text.to_owned() }),
        }
    }
}

/// How the leaves of a file are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// All leaves equally far from the root.
    Balanced,
    /// Early leaves near the root: for streams. Not part of any profile; others write it.
    Trickle,
}

/// How the leaves of a file are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeafFormat {
    /// As raw blocks.
    Raw,
    /// As UnixFS messages in dag-pb nodes.
    DagPb,
}

/// How the size of a directory is told when it is compared with its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectorySize {
    /// The lengths of all names and CIDs.
    LinksBytes,
    /// The length of the directory's block.
    BlockBytes,
}

/// Whether something becomes part of the DAG.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inclusion {
    /// It does.
    Included,
    /// It does not, unless the user asks for it.
    Excluded,
}

/// What becomes of symbolic links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SymlinkRule {
    /// They stay symbolic links.
    Preserved,
}

/// The parameters of an import. [`Profile::params`] gives those with a name; others are legal, but
/// other implementations will not reproduce the CIDs.
///
/// The builders here obey all up to `empty_directories`. The rest tells whoever collects
/// the entries which ones to pass on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportParams {
    /// Version of the CIDs of dag-pb nodes; raw leaves are always version 1.
    pub cid_version: Version,
    /// Bytes of content in each leaf but the last.
    pub chunk_len_bytes: usize,
    /// How leaves are joined.
    pub layout: Layout,
    /// Most links of a file's inner node.
    pub max_links_per_node: usize,
    /// How leaves are stored.
    pub leaves: LeafFormat,
    /// How a directory's size is told.
    pub directory_size: DirectorySize,
    /// A directory larger than this becomes a HAMT.
    pub directory_limit_bytes: usize,
    /// Width of a HAMT shard.
    pub hamt_fanout: u64,
    /// Empty directories.
    pub empty_directories: Inclusion,
    /// Files and directories whose name starts with a dot.
    pub hidden_entries: Inclusion,
    /// Symbolic links.
    pub symlinks: SymlinkRule,
    /// Unix permissions.
    pub mode: Inclusion,
    /// Modification times.
    pub mtime: Inclusion,
}

impl Default for ImportParams {
    fn default() -> Self {
        Profile::default().params()
    }
}

/// A parameter out of its range. Nothing was imported; another value helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("import parameter {name} is {value}, but must be {rule}")]
pub struct BadParam {
    /// The field's name.
    pub name: &'static str,
    /// The value given.
    pub value: u64,
    /// What it must be.
    pub rule: &'static str,
}

impl ImportParams {
    /// Checks that blocks made with these parameters can be stored and read everywhere.
    ///
    /// # Errors
    /// [`BadParam`] names the first parameter out of its range.
    pub fn validate(&self) -> Result<(), BadParam> {
        let bad = |name, value, rule| Err(BadParam { name, value, rule });
        if !(1..=CHUNK_LEN_BYTES_MAX).contains(&self.chunk_len_bytes) {
            return bad("chunk_len_bytes", self.chunk_len_bytes as u64, "1 to 2 MiB - 256");
        }
        if !(2..=MAX_LINKS_PER_NODE).contains(&self.max_links_per_node) {
            return bad("max_links_per_node", self.max_links_per_node as u64, "2 to 65,536");
        }
        if self.directory_limit_bytes > MAX_BLOCK_LEN_BYTES / 2 {
            return bad("directory_limit_bytes", self.directory_limit_bytes as u64, "<= 1 MiB");
        }
        let fanout = self.hamt_fanout;
        if !(8..=MAX_HAMT_FANOUT).contains(&fanout) || !fanout.is_power_of_two() {
            return bad("hamt_fanout", fanout, "a power of two from 8 to 1024");
        }
        Ok(())
    }
}
