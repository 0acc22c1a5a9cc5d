//! Where a name stands in a HAMT directory: its hash, cut into bucket numbers, written in hex.

use crate::limits::MAX_HAMT_FANOUT;

#[cfg(test)]
mod tests;

/// The first 64 bits of MurmurHash3 x64 128 with seed 0.
///
/// After the public-domain reference by Austin Appleby (`MurmurHash3_x64_128`).
pub fn murmur3_x64_64(data: &[u8]) -> u64 {
    const C1: u64 = 0x87c3_7b91_1142_53d5;
    const C2: u64 = 0x4cf5_ad43_2745_937f;
    let mix1 = |k: u64| k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
    let mix2 = |k: u64| k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);
    // The tail is shorter than a word only once; zeros in its place change nothing.
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));

    let (mut h1, mut h2) = (0_u64, 0_u64);
    let mut blocks = data.chunks_exact(16);
    for block in &mut blocks {
        let (low, high) = block.split_at(8);
        h1 ^= mix1(word(low));
        h1 = h1.rotate_left(27).wrapping_add(h2).wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 ^= mix2(word(high));
        h2 = h2.rotate_left(31).wrapping_add(h1).wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let tail = blocks.remainder();
    let (low, high) = tail.split_at(tail.len().min(8));
    h2 ^= mix2(word(high));
    h1 ^= mix1(word(low));

    h1 ^= data.len() as u64;
    h2 ^= data.len() as u64;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    finish(h1).wrapping_add(finish(h2))
}

const fn finish(mut h: u64) -> u64 {
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^= h >> 33;
    h = h.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

/// The width of a HAMT, as its readers and writers need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Width {
    bits: u32,
}

impl Width {
    /// The width with this fanout; `None` if the format forbids it.
    pub(crate) fn from_fanout(fanout: u64) -> Option<Self> {
        let legal = (8..=MAX_HAMT_FANOUT).contains(&fanout) && fanout.is_power_of_two();
        legal.then(|| Self { bits: fanout.trailing_zeros() })
    }

    pub(crate) const fn fanout(self) -> usize {
        1 << self.bits
    }

    /// Levels until the hash is used up.
    pub(crate) const fn levels(self) -> u32 {
        64 / self.bits
    }

    /// The bucket of `hash` at `level`, counted from the root's 0. The hash's first bits come first.
    pub(crate) const fn bucket(self, hash: u64, level: u32) -> usize {
        let bucket = hash << (level * self.bits) >> (64 - self.bits);
        bucket as usize
    }

    /// The first bits of `hash`, those of `levels` levels; at least one.
    pub(crate) const fn prefix(self, hash: u64, levels: u32) -> u64 {
        hash >> (64 - levels * self.bits)
    }

    /// The prefix of one more level.
    pub(crate) const fn extend(self, prefix: u64, bucket: usize) -> u64 {
        prefix << self.bits | bucket as u64
    }

    /// Digits of a bucket number in a link's name.
    pub(crate) const fn prefix_len(self) -> usize {
        self.bits.div_ceil(4) as usize
    }

    /// A link's name: the bucket in upper-case hex, then the entry's name (none for a shard).
    pub(crate) fn link_name(self, bucket: usize, name: &str) -> String {
        format!("{bucket:0digits$X}{name}", digits = self.prefix_len())
    }

    /// Splits a link's name into bucket and entry's name; `None` if it is malformed.
    pub(crate) fn split_name(self, link_name: &[u8]) -> Option<(usize, &[u8])> {
        let (digits, name) = link_name.split_at_checked(self.prefix_len())?;
        let mut bucket = 0;
        for digit in digits {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'A'..=b'F' => digit - b'A' + 10,
                _ => return None,
            };
            bucket = bucket << 4 | usize::from(value);
        }
        (bucket < self.fanout()).then_some((bucket, name))
    }
}

/// Which buckets of a shard hold something: a big-endian number, leading zero bytes left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bitmap {
    bytes: Vec<u8>,
}

impl Bitmap {
    pub(crate) fn empty(width: Width) -> Self {
        Self { bytes: vec![0; width.fanout() / 8] }
    }

    /// Reads a bitmap; `None` if it is wider than the shard.
    pub(crate) fn decode(width: Width, encoded: &[u8]) -> Option<Self> {
        let mut bitmap = Self::empty(width);
        let start = bitmap.bytes.len().checked_sub(encoded.len())?;
        bitmap.bytes[start..].copy_from_slice(encoded);
        Some(bitmap)
    }

    pub(crate) fn set(&mut self, bucket: usize) {
        let last = self.bytes.len() - 1;
        self.bytes[last - bucket / 8] |= 1 << (bucket % 8);
    }

    pub(crate) fn encoded(&self) -> &[u8] {
        let zeros = self.bytes.iter().take_while(|byte| **byte == 0).count();
        &self.bytes[zeros..]
    }
}
