//! Cutting a byte stream into the blocks of its leaves.
//!
//! A full chunk is read straight to its place in a block and never copied. Once the last holder of the
//! block lets go, its memory comes back for another one, already mapped and initialised.

use std::io::{self, ErrorKind, Read};
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::profile::{ImportParams, Layout, LeafFormat};
use crate::protobuf::number_field_len;
use crate::unixfs::{Data, DataType};

/// Bytes of memory kept for reuse.
const SPARE_LEN_BYTES: usize = 16 * 1024 * 1024;

/// A leaf whose identifier is still to be computed.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) block: Bytes,
    pub(super) content_len_bytes: u64,
}

/// Cuts readers into leaves.
#[derive(Debug)]
pub(super) struct Chunker {
    /// How a leaf is wrapped; `None` for raw ones.
    wrap: Option<DataType>,
    chunk_len_bytes: usize,
    /// Where content starts in the block of a full chunk.
    content_start: usize,
    /// The block of a full chunk, but for its content.
    template: Vec<u8>,
    current: Buffer,
    spares: Arc<Spares>,
}

impl Chunker {
    pub(super) fn new(params: &ImportParams) -> Self {
        let chunk_len_bytes = params.chunk_len_bytes;
        let wrap = match (params.leaves, params.layout) {
            (LeafFormat::Raw, _) => None,
            // Kubo's balanced builder marks leaves as files, its trickle builder as raw.
            (LeafFormat::DagPb, Layout::Balanced) => Some(DataType::File),
            (LeafFormat::DagPb, Layout::Trickle) => Some(DataType::Raw),
        };
        let zeros = vec![0; chunk_len_bytes];
        let (template, content_start) = match wrap {
            None => (zeros, 0),
            Some(data_type) => {
                let block = Data::leaf(data_type, &zeros).encode_node();
                // The size of the content follows it.
                let end = block.len() - number_field_len(chunk_len_bytes as u64);
                (block, end - chunk_len_bytes)
            }
        };
        let limit = (SPARE_LEN_BYTES / template.len()).max(1);
        let spares = Arc::new(Spares { free: Mutex::default(), limit });
        let current = spares.take(&template);
        Self { wrap, chunk_len_bytes, content_start, template, current, spares }
    }

    /// The next leaf; at the end of the reader one with less than a full chunk, perhaps with nothing.
    pub(super) fn next(&mut self, reader: &mut dyn Read) -> io::Result<Leaf> {
        let content = self.content_start..self.content_start + self.chunk_len_bytes;
        let len = fill(reader, &mut self.current.bytes[content.clone()])?;
        let block = if len == self.chunk_len_bytes {
            let next = self.spares.take(&self.template);
            Bytes::from_owner(mem::replace(&mut self.current, next))
        } else {
            let short = &self.current.bytes[content.start..content.start + len];
            match self.wrap {
                None => Bytes::copy_from_slice(short),
                Some(data_type) => Data::leaf(data_type, short).encode_node().into(),
            }
        };
        Ok(Leaf { block, content_len_bytes: len as u64 })
    }

    pub(super) const fn is_full(&self, leaf: &Leaf) -> bool {
        leaf.content_len_bytes == self.chunk_len_bytes as u64
    }
}

/// Reads until `chunk` is full or the reader ends.
fn fill(reader: &mut dyn Read, chunk: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < chunk.len() {
        match reader.read(&mut chunk[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

/// Memory that waits for its next block.
#[derive(Debug)]
struct Spares {
    free: Mutex<Vec<Vec<u8>>>,
    limit: usize,
}

impl Spares {
    fn take(self: &Arc<Self>, template: &[u8]) -> Buffer {
        // A list of buffers is whole whatever panicked beside it.
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = free.unwrap_or_else(|| template.to_vec());
        Buffer { bytes, spares: Arc::clone(self) }
    }

    fn put(&self, bytes: Vec<u8>) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < self.limit {
            free.push(bytes);
        }
    }
}

/// A block's memory, which goes back when it is dropped.
#[derive(Debug)]
struct Buffer {
    bytes: Vec<u8>,
    spares: Arc<Spares>,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.spares.put(mem::take(&mut self.bytes));
    }
}
