//! Every target over its seeds, over what was once found, and over simple mutations of both.

use std::path::Path;

use ipfs_kit_fuzz::{TARGETS, Target};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Mutations of every seed.
const MUTATIONS: usize = 60;

/// Inputs on which a target failed once.
fn regressions(target: &Target) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions").join(target.name);
    let Ok(files) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = files.map(|file| file.expect("a readable folder").path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("a readable input")).collect()
}

/// One to four small changes: a bit, a byte, a cut, a piece of another input, a length that lies.
fn mutate(rng: &mut ChaCha8Rng, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let below = |rng: &mut ChaCha8Rng, bound: usize| rng.next_u32() as usize % bound.max(1);
    for _ in 0..=below(rng, 4) {
        let at = below(rng, bytes.len());
        match below(rng, 6) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << below(rng, 8),
            1 if !bytes.is_empty() => bytes[at] = rng.next_u32() as u8,
            2 => bytes.truncate(at),
            3 => bytes.insert(at, rng.next_u32() as u8),
            4 => {
                let from = below(rng, other.len());
                let to = (from + below(rng, 32)).min(other.len());
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            _ => {
                let end = (at + 4).min(bytes.len());
                bytes[at..end].fill(0xff);
            }
        }
    }
    bytes
}

#[test]
fn every_target_bears_its_seeds_what_was_found_and_mutations() {
    for (number, target) in TARGETS.iter().enumerate() {
        let mut rng = ChaCha8Rng::seed_from_u64(number as u64);
        let mut inputs = (target.seeds)();
        assert!(!inputs.is_empty(), "{} has no seeds", target.name);
        inputs.extend(regressions(target));
        inputs.push(Vec::new());
        for input in &inputs {
            (target.run)(input);
        }
        for input in &inputs {
            for _ in 0..MUTATIONS {
                let other = &inputs[rng.next_u32() as usize % inputs.len()];
                (target.run)(&mutate(&mut rng, input, other));
            }
        }
    }
}

#[test]
fn names_are_unique_and_sorted() {
    assert!(TARGETS.is_sorted_by(|a, b| a.name < b.name));
}
