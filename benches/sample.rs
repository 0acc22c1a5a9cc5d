//! Files to add: unique bytes that nothing can compress or find again.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

const PIECE_BYTES: usize = 1 << 20;
/// Files in one folder.
const FOLDER_FILES: u64 = 500;

/// A file of so many bytes, in the page cache afterwards and on the disk.
pub fn file(path: &Path, seed: u64, len_bytes: u64) -> Result<()> {
    let mut file = File::create(path)?;
    bytes(&mut file, seed, len_bytes)?;
    file.sync_all()?;
    Ok(())
}

/// So many bytes.
pub fn bytes(out: &mut dyn Write, seed: u64, len_bytes: u64) -> Result<()> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut piece = vec![0; PIECE_BYTES];
    let mut left = len_bytes;
    while left > 0 {
        let len = left.min(PIECE_BYTES as u64) as usize;
        random.fill_bytes(&mut piece[..len]);
        out.write_all(&piece[..len])?;
        left -= len as u64;
    }
    Ok(())
}

/// A tree of so many files of one size.
pub fn tree(path: &Path, seed: u64, files: u64, len_bytes: u64) -> Result<()> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut content = vec![0; len_bytes as usize];
    for number in 0..files {
        let folder = path.join(format!("d{}", number / FOLDER_FILES));
        if number % FOLDER_FILES == 0 {
            std::fs::create_dir_all(&folder)?;
        }
        random.fill_bytes(&mut content);
        std::fs::write(folder.join(format!("f{number}")), &content)?;
    }
    rustix::fs::sync();
    Ok(())
}
