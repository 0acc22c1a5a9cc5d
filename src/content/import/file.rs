//! Importing one file.

use std::convert::Infallible;
use std::io::Read;

use super::assembly::{Assembly, Consumer};
use super::emit::Emitter;
use super::{BlockSink, Child, Hashing, ImportError};
use crate::cid::Cid;
use crate::profile::ImportParams;

/// A finished file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportedFile {
    /// Its root.
    pub cid: Cid,
    /// Bytes of its content.
    pub size_bytes: u64,
    /// Bytes of all its blocks, repetitions included.
    pub dag_size_bytes: u64,
    /// Blocks given to the sink, repetitions included.
    pub blocks: u64,
}

/// Imports single files, one after the other.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileImporter {
    params: ImportParams,
    hashing: Hashing,
}

impl FileImporter {
    /// An importer with these parameters.
    pub const fn new(params: ImportParams, hashing: Hashing) -> Self {
        Self { params, hashing }
    }

    /// Reads `reader` to its end and gives its blocks to `sink`, in constant memory: one chunk, the
    /// leaves being hashed (about 1 MiB for each of `2 * threads + 2` batches) and the open nodes.
    ///
    /// # Errors
    /// [`ImportError::Params`], [`ImportError::Thread`], [`ImportError::Read`],
    /// [`ImportError::Sink`].
    pub fn import(
        &self,
        mut reader: impl Read,
        sink: &dyn BlockSink,
    ) -> Result<ImportedFile, ImportError> {
        let mut assembly = Assembly::new(self.params, self.hashing, sink)?;
        let mut root = Root { file: None };
        assembly.file(&mut reader, b"", (), &mut root)?;
        assembly.finish(&mut root)?;
        let file = root.file.expect("finishing carries out the end of the only file");
        Ok(ImportedFile {
            cid: file.cid,
            size_bytes: file.content_len_bytes,
            dag_size_bytes: file.tsize,
            blocks: assembly.out.blocks,
        })
    }
}

struct Root {
    file: Option<Child>,
}

impl Consumer for Root {
    type File = ();
    type Other = Infallible;

    fn file(&mut self, (): (), file: Child) -> Result<(), ImportError> {
        self.file = Some(file);
        Ok(())
    }

    fn other(&mut self, never: Infallible, _: &mut Emitter<'_>) -> Result<(), ImportError> {
        match never {}
    }
}
