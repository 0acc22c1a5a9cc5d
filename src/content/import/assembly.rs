//! The one place where chunks, leaves, files and directories meet, in the order of the input.
//!
//! Leaves get their CIDs later than they come, so everything that follows a leaf is written down as
//! a step and carried out when its turn comes. That lets the leaves of many small files share a batch.

use std::collections::VecDeque;
use std::io::Read;

use super::chunks::Chunker;
use super::emit::Emitter;
use super::layout::FileLayout;
use super::leaves::LeafHasher;
use super::{BlockSink, Child, Hashing, ImportError};
use crate::cid::Block;
use crate::profile::ImportParams;

/// Steps that may wait; beyond them leaves are hashed at once, full batch or not.
const MAX_STEPS: usize = 32_768;

/// What the assembly tells whoever feeds it.
pub(super) trait Consumer {
    /// What is written down with a file.
    type File;
    /// Something without leaves.
    type Other;

    /// A file is complete.
    fn file(&mut self, tag: Self::File, file: Child) -> Result<(), ImportError>;
    /// It is the turn of something without leaves.
    fn other(&mut self, tag: Self::Other, out: &mut Emitter<'_>) -> Result<(), ImportError>;
}

enum Step<C: Consumer> {
    /// The next hashed leaf holds this many bytes of content.
    Leaf { content_len_bytes: u64 },
    /// The file whose leaves came last is complete.
    FileEnd { tag: C::File },
    /// Something without leaves.
    Other { tag: C::Other },
}

/// The pipeline from readers to blocks.
pub(super) struct Assembly<'s, C: Consumer> {
    chunker: Chunker,
    hasher: LeafHasher,
    steps: VecDeque<Step<C>>,
    layout: FileLayout,
    pub(super) out: Emitter<'s>,
}

impl<'s, C: Consumer> Assembly<'s, C> {
    pub(super) fn new(
        params: ImportParams,
        hashing: Hashing,
        sink: &'s dyn BlockSink,
    ) -> Result<Self, ImportError> {
        params.validate()?;
        Ok(Self {
            chunker: Chunker::new(&params),
            hasher: LeafHasher::new(&params, hashing)?,
            steps: VecDeque::new(),
            layout: FileLayout::new(&params),
            out: Emitter::new(sink, params.cid_version),
        })
    }

    /// Takes a whole file.
    pub(super) fn file(
        &mut self,
        reader: &mut dyn Read,
        path: &[u8],
        tag: C::File,
        consumer: &mut C,
    ) -> Result<(), ImportError> {
        let mut is_first = true;
        loop {
            let leaf = self.chunker.next(reader).map_err(|source| {
                let path = String::from_utf8_lossy(path).into_owned();
                ImportError::Read { path, source }
            })?;
            let content_len_bytes = leaf.content_len_bytes;
            let is_full = self.chunker.is_full(&leaf);
            // An empty file is one empty leaf.
            if content_len_bytes > 0 || is_first {
                self.hasher.push(leaf.block);
                self.steps.push_back(Step::Leaf { content_len_bytes });
                self.advance(consumer)?;
            }
            if !is_full {
                break;
            }
            is_first = false;
        }
        self.steps.push_back(Step::FileEnd { tag });
        self.advance(consumer)
    }

    /// Takes something without leaves.
    pub(super) fn other(&mut self, tag: C::Other, consumer: &mut C) -> Result<(), ImportError> {
        self.steps.push_back(Step::Other { tag });
        self.advance(consumer)
    }

    /// Carries out everything that still waits and empties the emitter.
    pub(super) fn finish(&mut self, consumer: &mut C) -> Result<(), ImportError> {
        while let Some(batch) = self.hasher.wait()? {
            self.carry_out(batch, consumer)?;
        }
        self.carry_out(Vec::new(), consumer)?;
        self.out.flush()
    }

    fn advance(&mut self, consumer: &mut C) -> Result<(), ImportError> {
        while let Some(batch) = self.hasher.poll()? {
            self.carry_out(batch, consumer)?;
        }
        while self.steps.len() > MAX_STEPS {
            let batch = self.hasher.wait()?.unwrap_or_default();
            self.carry_out(batch, consumer)?;
        }
        if !matches!(self.steps.front(), Some(Step::Leaf { .. }) | None) {
            self.carry_out(Vec::new(), consumer)?;
        }
        Ok(())
    }

    /// Carries out steps until one needs a leaf that is not in `batch`.
    fn carry_out(&mut self, batch: Vec<Block>, consumer: &mut C) -> Result<(), ImportError> {
        let mut leaves = batch.into_iter();
        while let Some(step) = self.steps.pop_front() {
            match step {
                Step::Leaf { content_len_bytes } => {
                    let Some(block) = leaves.next() else {
                        self.steps.push_front(step);
                        break;
                    };
                    let tsize = block.data.len() as u64;
                    let leaf = Child { cid: block.cid, tsize, content_len_bytes };
                    self.out.block(block)?;
                    self.layout.push(leaf, &mut self.out)?;
                }
                Step::FileEnd { tag } => {
                    let file = self.layout.finish(&mut self.out)?;
                    consumer.file(tag, file)?;
                }
                Step::Other { tag } => consumer.other(tag, &mut self.out)?,
            }
        }
        Ok(())
    }
}
