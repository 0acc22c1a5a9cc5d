//! What lands on a disk before anybody syncs it.

/// Whether anything lands without a sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landing {
    /// Nothing does.
    Never,
    /// Now and then a part of what waits does.
    Sometimes,
}

/// One change in so many makes a part of what waits land.
const ONE_IN: u64 = 8;
/// What a disk writes as a whole.
const SECTOR_BYTES: usize = 512;

/// A small generator (SplitMix64, Steele et al. 2014): it draws accidents, not secrets.
#[derive(Debug)]
pub struct Luck {
    landing: Landing,
    state: u64,
}

impl Luck {
    pub fn new(landing: Landing, seed: u64) -> Self {
        Self { landing, state: seed }
    }

    /// Another one for one file.
    pub fn fork(&mut self) -> Self {
        Self { landing: self.landing, state: self.next() }
    }

    /// How many of so many changes land now.
    pub fn lands(&mut self, waiting: usize) -> usize {
        if self.landing == Landing::Never || !self.next().is_multiple_of(ONE_IN) {
            return 0;
        }
        (self.next() % (waiting as u64 + 1)) as usize
    }

    /// How many bytes of a write land now, torn at a sector.
    pub fn tears(&mut self, len_bytes: usize) -> usize {
        if self.landing == Landing::Never || !self.next().is_multiple_of(ONE_IN) {
            return 0;
        }
        let sectors = (len_bytes / SECTOR_BYTES) as u64;
        (self.next() % (sectors + 1)) as usize * SECTOR_BYTES
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
