//! What users add: files and folders whose every byte follows from a seed and a number, and whose CIDs and
//! blocks are therefore known before they are added.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use anyhow::Result;
use ipfs_kit::cli::error::CliError;
use ipfs_kit::http::pipe::BlockingWriter;
use ipfs_kit::http::tarball::{END, EntryKind, entry_header, padding};
use ipfs_kit_content::cid::{Block, identity_data};
use ipfs_kit_content::import::{BlockSink, FileImporter, Hashing, SinkError, TreeBuilder};
use ipfs_kit_content::profile::Profile;
use ipfs_kit_core::id::Cid;

use crate::rng::Rng;

/// Files that several folders share, so that collecting one must spare another's blocks.
const SHARED_FILES: u64 = 12;
/// Where the sources of small content begin, far behind those of users.
const SMALL_FIRST: u64 = 1 << 40;
const SMALL_BYTES: u64 = 64;
/// Files in one of its folders.
const SMALL_IN_FOLDER: u64 = 1_000;
/// A file of several blocks: the profile cuts at 1 MiB.
const LARGE_BYTES: u64 = 1_300_000;

/// Something to add.
#[derive(Clone, Debug)]
pub struct Content {
    /// Its root.
    pub cid: Cid,
    /// Everything below its root and itself.
    pub blocks: BTreeSet<Cid>,
    seed: u64,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    File(FileOf),
    Folder(BTreeMap<String, FileOf>),
}

/// Where a file's bytes come from.
#[derive(Clone, Copy, Debug)]
struct FileOf {
    source: u64,
    len_bytes: u64,
}

impl Content {
    /// The run's content of a number: mostly a folder, sometimes a single file.
    pub fn of(seed: u64, number: u64) -> Result<Self> {
        let mut rng = Rng::new(seed, &format!("content {number}"));
        // Its own file makes every content another one.
        let own = FileOf { source: SHARED_FILES + number, len_bytes: size(&mut rng) };
        if rng.within(0..=2) == 0 {
            return Self::new(seed, Form::File(own));
        }
        let mut files = BTreeMap::from([(OWN.to_owned(), own)]);
        for _ in 0..rng.within(0..=3) {
            let source = rng.within(0..=SHARED_FILES - 1);
            let len_bytes = size(&mut Rng::new(seed, &format!("shared size {source}")));
            files.insert(format!("shared-{source}"), FileOf { source, len_bytes });
        }
        Self::new(seed, Form::Folder(files))
    }

    /// Content of one small block, for great numbers.
    pub fn small(seed: u64, number: u64) -> Result<Self> {
        Self::new(seed, Form::File(FileOf { source: SMALL_FIRST + number, len_bytes: SMALL_BYTES }))
    }

    /// A folder's own file, as content of its own.
    pub fn part(&self) -> Result<Option<Self>> {
        match &self.form {
            Form::File(_) => Ok(None),
            Form::Folder(files) => match files.get(OWN) {
                Some(own) => Self::new(self.seed, Form::File(*own)).map(Some),
                None => Ok(None),
            },
        }
    }

    fn new(seed: u64, form: Form) -> Result<Self> {
        let blocks = Names::default();
        let params = Profile::UnixfsV1_2025.params();
        let cid = match &form {
            Form::File(file) => {
                let importer = FileImporter::new(params, Hashing::Inline);
                importer.import(bytes_of(seed, *file).as_slice(), &blocks)?.cid
            }
            Form::Folder(files) => {
                let mut tree = TreeBuilder::new(params, Hashing::Inline, &blocks)?;
                for (name, file) in files {
                    tree.add_file(name.as_bytes(), bytes_of(seed, *file).as_slice())?;
                }
                tree.finish()?.cid
            }
        };
        Ok(Self { cid: cid.into(), blocks: blocks.0.into_inner(), seed, form })
    }

    /// Whether it is a single file.
    pub fn is_file(&self) -> bool {
        matches!(self.form, Form::File(_))
    }

    /// Its files: the path to read each, and its bytes.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        match &self.form {
            Form::File(file) => vec![(self.cid.to_string(), bytes_of(self.seed, *file))],
            Form::Folder(files) => files
                .iter()
                .map(|(name, file)| (format!("{}/{name}", self.cid), bytes_of(self.seed, *file)))
                .collect(),
        }
    }

    /// Writes what a node takes: a file's bytes, a folder's archive.
    pub fn write(&self, out: &mut BlockingWriter) -> Result<(), CliError> {
        let written = match &self.form {
            Form::File(file) => out.write_all(&bytes_of(self.seed, *file)),
            Form::Folder(files) => write_archive(self.seed, files, out),
        };
        written.map_err(|error| {
            CliError::new("E_UPLOAD", "the node stopped taking the upload").because(&error)
        })
    }
}

/// Writes a folder of folders of small content, which [`Content::small`] gives one by one.
pub fn write_small(seed: u64, count: u64, out: &mut impl Write) -> std::io::Result<()> {
    out.write_all(&entry_header(&[] as &[&str], &EntryKind::Directory))?;
    for number in 0..count {
        let folder = format!("{:06}", number / SMALL_IN_FOLDER);
        if number % SMALL_IN_FOLDER == 0 {
            out.write_all(&entry_header(&[&folder], &EntryKind::Directory))?;
        }
        let file = FileOf { source: SMALL_FIRST + number, len_bytes: SMALL_BYTES };
        let kind = EntryKind::File { size_bytes: SMALL_BYTES };
        out.write_all(&entry_header(&[&folder, &format!("{number:09}")], &kind))?;
        out.write_all(&bytes_of(seed, file))?;
        out.write_all(padding(SMALL_BYTES))?;
    }
    out.write_all(&END)
}

/// The name of a folder's own file.
const OWN: &str = "own";

fn write_archive(
    seed: u64,
    files: &BTreeMap<String, FileOf>,
    out: &mut BlockingWriter,
) -> std::io::Result<()> {
    out.write_all(&entry_header(&[] as &[&str], &EntryKind::Directory))?;
    for (name, file) in files {
        let size_bytes = file.len_bytes;
        out.write_all(&entry_header(&[name], &EntryKind::File { size_bytes }))?;
        out.write_all(&bytes_of(seed, *file))?;
        out.write_all(padding(size_bytes))?;
    }
    out.write_all(&END)
}

fn bytes_of(seed: u64, file: FileOf) -> Vec<u8> {
    Rng::new(seed, &format!("file {}", file.source)).bytes(file.len_bytes)
}

/// Mostly small, seldom large.
fn size(rng: &mut Rng) -> u64 {
    match rng.within(0..=29) {
        0 => LARGE_BYTES,
        1..=8 => rng.within(1..=200),
        _ => rng.within(1..=40_000),
    }
}

/// Remembers the names of blocks that a store would keep.
#[derive(Default)]
struct Names(RefCell<BTreeSet<Cid>>);

impl BlockSink for Names {
    fn put(&self, block: Block) -> Result<(), SinkError> {
        if identity_data(&block.cid).is_none() {
            self.0.borrow_mut().insert(block.cid.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
