//! A buffer that direct I/O accepts: its bytes start at a multiple of [`ALIGN_BYTES`].

/// What direct I/O needs offsets, lengths and memory to be multiples of; also the unit to which a
/// group commit is padded, so that no synced sector is ever written again.
pub const ALIGN_BYTES: usize = 4096;

/// The next multiple of [`ALIGN_BYTES`] at or above `n`.
#[must_use]
pub const fn align_up(n: u64) -> u64 {
    n.next_multiple_of(ALIGN_BYTES as u64)
}

/// A fixed-capacity byte buffer aligned for direct I/O.
///
/// It over-allocates by one unit and starts at the first aligned byte within; the allocation never
/// moves because it never grows. The default holds nothing and has no room.
#[derive(Default)]
pub struct AlignedBuf {
    storage: Vec<u8>,
    start: usize,
    len: usize,
}

impl std::fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AlignedBuf").field("len", &self.len).finish_non_exhaustive()
    }
}

/// So that it can be shared without a copy.
impl AsRef<[u8]> for AlignedBuf {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AlignedBuf {
    /// An empty buffer that holds up to `capacity` bytes, rounded up to the alignment.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        let capacity = capacity.next_multiple_of(ALIGN_BYTES);
        let storage = vec![0_u8; capacity + ALIGN_BYTES];
        let start = storage.as_ptr().align_offset(ALIGN_BYTES).min(ALIGN_BYTES);
        Self { storage, start, len: 0 }
    }

    /// Bytes it can hold in all.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.storage.len().saturating_sub(ALIGN_BYTES)
    }

    /// Bytes it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that still fit.
    #[must_use]
    pub fn room(&self) -> usize {
        self.capacity() - self.len
    }

    /// Forgets the content.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Appends bytes; the caller has checked [`AlignedBuf::room`].
    ///
    /// # Panics
    /// When they don't fit.
    pub fn extend(&mut self, bytes: &[u8]) {
        let at = self.start + self.len;
        assert!(bytes.len() <= self.room(), "the caller checks the room before it appends");
        self.storage[at..at + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Makes it hold `len` bytes, of which the new ones are to be written over.
    ///
    /// # Panics
    /// When they don't fit.
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity(), "the caller asked for the room before");
        self.len = len;
    }

    /// Appends zeros up to the next multiple of `unit` (a divisor of the alignment).
    pub fn pad_to(&mut self, unit: usize) {
        self.pad(self.len.next_multiple_of(unit));
    }

    /// Appends zeros until it holds `target` bytes.
    ///
    /// # Panics
    /// When they don't fit.
    pub fn pad(&mut self, target: usize) {
        assert!(target <= self.capacity(), "the caller asked for the room before");
        let start = self.start;
        self.storage[start + self.len..start + target].fill(0);
        self.len = target;
    }

    /// The content.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.storage[self.start..self.start + self.len]
    }

    /// The content, for patching in place.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.start + self.len]
    }
}
