//! What users add: trees whose every byte follows from a number, so that nobody has to keep them.

use std::collections::BTreeMap;

use ipfs_kit_actors::api::{ImportError, ImportSink, ImportSource};

use crate::rng::Rng;

/// Files that several trees share, so that collecting one tree must spare another's blocks.
const SHARED_FILES: u64 = 12;
/// A file of several blocks: the profile cuts at 1 MiB.
const LARGE_BYTES: u64 = 2_500_000;

/// A tree to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    seed: u64,
    number: u64,
    files: BTreeMap<String, FileOf>,
}

/// Where a file's bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileOf {
    source: u64,
    len_bytes: u64,
}

impl Content {
    /// The run's tree of a number: one to six files, some of them shared with other trees.
    #[must_use]
    pub fn of(seed: u64, number: u64) -> Self {
        let mut rng = Rng::new(seed, &format!("content {number}"));
        let mut files = BTreeMap::new();
        // Its own file makes every tree another one.
        let own = FileOf { source: SHARED_FILES + number, len_bytes: size(&mut rng) };
        files.insert(format!("own-{number}.bin"), own);
        for _ in 0..rng.within(0..=5) {
            let source = rng.within(0..=SHARED_FILES - 1);
            let len_bytes = size(&mut Rng::new(seed, &format!("shared size {source}")));
            files.insert(format!("shared-{source}.bin"), FileOf { source, len_bytes });
        }
        Self { seed, number, files }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> String {
        format!("tree-{}", self.number)
    }

    /// Its files by name.
    pub fn files(&self) -> impl Iterator<Item = (&str, Vec<u8>)> {
        self.files.iter().map(|(name, file)| (name.as_str(), self.bytes(*file)))
    }

    /// What to hand to a node.
    #[must_use]
    pub fn source(&self) -> Box<dyn ImportSource> {
        Box::new(Source(self.clone()))
    }

    fn bytes(&self, file: FileOf) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(file.len_bytes).unwrap_or_default()];
        Rng::new(self.seed, &format!("file {}", file.source)).fill(&mut bytes);
        bytes
    }
}

/// Mostly small, sometimes empty, seldom large.
fn size(rng: &mut Rng) -> u64 {
    match rng.within(0..=19) {
        0 => 0,
        1 => LARGE_BYTES,
        2..=6 => rng.within(1..=200),
        _ => rng.within(1..=40_000),
    }
}

struct Source(Content);

impl ImportSource for Source {
    fn drive(self: Box<Self>, sink: &mut dyn ImportSink) -> Result<(), ImportError> {
        sink.directory(&[])?;
        for (name, bytes) in self.0.files() {
            sink.file(name.as_bytes(), &mut bytes.as_slice())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
