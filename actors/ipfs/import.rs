//! Importing: a tree from any source becomes durable blocks of this node's store.

use std::cell::{Cell, RefCell};
use std::io::Read;
use std::num::NonZero;

use ipfs_kit_content::cid::Block;
use ipfs_kit_content::import::{
    BlockSink, FileImporter, Hashing, ImportError as ContentError, SinkError, TreeBuilder,
};
use ipfs_kit_content::profile::ImportParams;
use ipfs_kit_core::id::Cid;
use ipfs_kit_core::pin::ContentKind;
use ipfs_kit_store::blocks::{BlockStore, VerifiedBlock};
use tokio::sync::mpsc;

use crate::api::{AddEvent, ImportError, ImportSink, ImportSource};
use crate::causes::with_causes;
use crate::transfer::is_full;

/// Bytes between two words of progress.
const PROGRESS_BYTES: u64 = 8 * 1024 * 1024;
/// Files between two words of progress.
const PROGRESS_FILES: u64 = 500;

/// How to import.
#[derive(Clone, Copy, Debug)]
pub struct ImportPlan {
    /// What decides the CIDs.
    pub params: ImportParams,
    /// Threads that hash; 0: inline.
    pub hash_threads: usize,
    /// What becomes of the blocks.
    pub blocks: ImportedBlocks,
}

/// What becomes of the blocks of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportedBlocks {
    /// They are stored.
    Stored,
    /// Nobody keeps them: only the root is wanted.
    Forgotten,
}

/// What an import led to; every block is durable, if blocks were to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The root.
    pub root: Cid,
    /// What the root is.
    pub kind: ContentKind,
    /// Files.
    pub files: u64,
    /// Directories, the root included.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Blocks, repetitions included.
    pub blocks: u64,
}

struct StoreSink<'a> {
    /// None keeps nothing.
    blocks: Option<&'a BlockStore>,
    events: &'a mpsc::Sender<AddEvent>,
    full: Cell<bool>,
}

impl BlockSink for StoreSink<'_> {
    fn put(&self, block: Block) -> Result<(), SinkError> {
        self.put_many(vec![block])
    }

    fn put_many(&self, blocks: Vec<Block>) -> Result<(), SinkError> {
        if self.events.is_closed() {
            return Err(SinkError::new("cancelled"));
        }
        let Some(store) = self.blocks else { return Ok(()) };
        // The importer has just computed the CIDs from these bytes.
        let verified: Vec<VerifiedBlock> = blocks
            .into_iter()
            .map(|block| VerifiedBlock::already_checked(block.cid, block.data))
            .collect();
        store.put_verified(&verified).map(drop).map_err(|error| {
            self.full.set(is_full(&error));
            SinkError::new(error)
        })
    }
}

/// Imports a tree and makes it durable, if it is to be stored. Runs on a thread for blocking work.
pub(super) fn run(
    source: Box<dyn ImportSource>,
    plan: &ImportPlan,
    blocks: &BlockStore,
    events: &mpsc::Sender<AddEvent>,
) -> Result<Imported, ImportError> {
    let kept = (plan.blocks == ImportedBlocks::Stored).then_some(blocks);
    let sink = StoreSink { blocks: kept, events, full: Cell::new(false) };
    let hashing = NonZero::new(plan.hash_threads).map_or(Hashing::Inline, Hashing::Threads);
    let progress = RefCell::new(Progress { files: 0, bytes: 0, told: (0, 0), events });
    let mut intake = Intake {
        params: plan.params,
        hashing,
        sink: &sink,
        tree: None,
        single: None,
        progress: &progress,
    };
    let imported = source.drive(&mut intake).and_then(|()| intake.finish());
    let imported = imported.map_err(|error| refine(error, &sink))?;
    if let Some(blocks) = kept {
        blocks.sync().map_err(|error| store_error(is_full(&error), &error))?;
    }
    let event = AddEvent::Imported {
        root: imported.root.clone(),
        files: imported.files,
        bytes: imported.bytes,
    };
    // Nobody may be listening any more; then whoever waits for the result decides.
    let _ = events.try_send(event);
    Ok(imported)
}

/// The sink's own reason, where it was the cause.
fn refine(error: ImportError, sink: &StoreSink<'_>) -> ImportError {
    match error {
        _ if sink.events.is_closed() => ImportError::Cancelled,
        ImportError::Store { reason, .. } => store_error(sink.full.get(), &reason),
        other => other,
    }
}

fn store_error(full: bool, reason: &dyn std::fmt::Display) -> ImportError {
    let code = if full { "E_FULL" } else { "E_STORE" };
    ImportError::Store { code, reason: reason.to_string() }
}

struct Progress<'a> {
    files: u64,
    bytes: u64,
    told: (u64, u64),
    events: &'a mpsc::Sender<AddEvent>,
}

impl Progress<'_> {
    fn advance(&mut self, files: u64, bytes: u64) {
        self.files += files;
        self.bytes += bytes;
        let (told_files, told_bytes) = self.told;
        if self.bytes - told_bytes >= PROGRESS_BYTES || self.files - told_files >= PROGRESS_FILES {
            self.told = (self.files, self.bytes);
            let event = AddEvent::Progress { files: self.files, bytes: self.bytes };
            // A slow listener misses a step, not the result.
            let _ = self.events.try_send(event);
        }
    }
}

/// Counts bytes on their way in.
struct Counted<'a, 'p> {
    inner: &'a mut dyn Read,
    progress: &'a RefCell<Progress<'p>>,
}

impl Read for Counted<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.progress.borrow_mut().advance(0, read as u64);
        Ok(read)
    }
}

struct Intake<'a, 'p> {
    params: ImportParams,
    hashing: Hashing,
    sink: &'a StoreSink<'a>,
    tree: Option<TreeBuilder<'a>>,
    single: Option<Imported>,
    progress: &'a RefCell<Progress<'p>>,
}

impl<'a> Intake<'a, '_> {
    fn tree(&mut self) -> Result<&mut TreeBuilder<'a>, ImportError> {
        if self.single.is_some() {
            return Err(ImportError::Invalid {
                path: String::new(),
                reason: "something follows a single file".into(),
            });
        }
        if self.tree.is_none() {
            let builder = TreeBuilder::new(self.params, self.hashing, self.sink);
            self.tree = Some(builder.map_err(import_error)?);
        }
        Ok(self.tree.as_mut().expect("made just above"))
    }

    fn finish(self) -> Result<Imported, ImportError> {
        if let Some(single) = self.single {
            return Ok(single);
        }
        let Some(tree) = self.tree else {
            return Err(ImportError::Invalid {
                path: String::new(),
                reason: "nothing came".into(),
            });
        };
        let tree = tree.finish().map_err(import_error)?;
        Ok(Imported {
            root: Cid::from(&tree.cid),
            kind: ContentKind::Directory,
            files: tree.totals.files,
            directories: tree.totals.directories,
            symlinks: tree.totals.symlinks,
            bytes: tree.totals.file_bytes,
            blocks: tree.totals.blocks,
        })
    }
}

impl ImportSink for Intake<'_, '_> {
    fn directory(&mut self, path: &[u8]) -> Result<(), ImportError> {
        let tree = self.tree()?;
        if path.is_empty() { Ok(()) } else { tree.add_directory(path).map_err(import_error) }
    }

    fn file(&mut self, path: &[u8], bytes: &mut dyn Read) -> Result<(), ImportError> {
        let mut counted = Counted { inner: bytes, progress: self.progress };
        if path.is_empty() {
            let importer = FileImporter::new(self.params, self.hashing);
            let file = importer.import(&mut counted, self.sink).map_err(import_error)?;
            self.single = Some(Imported {
                root: Cid::from(&file.cid),
                kind: ContentKind::File,
                files: 1,
                directories: 0,
                symlinks: 0,
                bytes: file.size_bytes,
                blocks: file.blocks,
            });
        } else {
            self.tree()?.add_file(path, &mut counted).map_err(import_error)?;
        }
        self.progress.borrow_mut().advance(1, 0);
        Ok(())
    }

    fn symlink(&mut self, path: &[u8], target: &[u8]) -> Result<(), ImportError> {
        self.tree()?.add_symlink(path, target).map_err(import_error)
    }
}

fn import_error(error: ContentError) -> ImportError {
    match error {
        ContentError::Read { path, source } => ImportError::Read { path: path.to_string(), source },
        ContentError::Sink { .. } => {
            ImportError::Store { code: "E_STORE", reason: with_causes(&error) }
        }
        other => ImportError::Invalid { path: String::new(), reason: with_causes(&other) },
    }
}
