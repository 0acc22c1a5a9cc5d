//! Never above the bound, and better than first-in-first-out on the traces that matter.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::*;
use crate::fixture::cid;

const COST: u64 = 1_000;

/// Reads through the cache; returns how many reads were hits.
fn hits(trace: &[u64], entries: u64) -> u64 {
    let mut cache = CachePolicy::new(entries * COST);
    for n in trace {
        let cid = cid(*n);
        if !cache.read(&cid) {
            cache.insert(&cid, COST - ENTRY_OVERHEAD_BYTES, &mut Vec::new());
        }
    }
    assert_eq!(cache.stats().hits + cache.stats().misses, trace.len() as u64);
    cache.stats().hits
}

fn fifo_hits(trace: &[u64], entries: u64) -> u64 {
    let mut queue = VecDeque::new();
    let mut there = BTreeSet::new();
    let mut hits = 0;
    for n in trace {
        if there.contains(n) {
            hits += 1;
            continue;
        }
        if there.len() as u64 == entries {
            there.remove(&queue.pop_front().unwrap());
        }
        queue.push_back(*n);
        there.insert(*n);
    }
    hits
}

/// Popularity falls with the rank: the n-th is asked for in proportion to 1/n.
fn zipf(seed: u64, universe: u64, len: usize) -> Vec<u64> {
    let mut sums = Vec::new();
    let mut sum = 0.0;
    for rank in 1..=universe {
        sum += 1.0 / rank as f64;
        sums.push(sum);
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let draw = |_| {
        let at = random.next_u64() as f64 / u64::MAX as f64 * sum;
        sums.partition_point(|sum| *sum < at) as u64
    };
    (0..len).map(draw).collect()
}

#[test]
fn it_beats_fifo_on_popular_blocks() {
    for seed in 0..5 {
        let trace = zipf(seed, 2_000, 20_000);
        let (ours, fifo) = (hits(&trace, 100), fifo_hits(&trace, 100));
        assert!(ours * 100 > fifo * 110, "{ours} hits, fifo has {fifo}");
    }
}

#[test]
fn a_scan_does_not_empty_it() {
    let mut trace = Vec::new();
    for round in 0..50u64 {
        for popular in 0..30 {
            trace.extend([popular, popular]);
        }
        trace.extend((0..200).map(|n| 10_000 + round * 200 + n));
    }
    let (ours, fifo) = (hits(&trace, 100), fifo_hits(&trace, 100));
    // Half of the popular reads are immediate repetitions, which both serve.
    assert!(ours > fifo + 1_000, "{ours} hits, fifo has {fifo}");
}

#[test]
fn what_is_too_large_or_no_room_at_all_is_refused_and_evicts_nothing() {
    let mut evicted = Vec::new();
    let mut cache = CachePolicy::new(10 * COST);
    cache.insert(&cid(1), 10, &mut evicted);
    assert_eq!(cache.insert(&cid(2), 10 * COST, &mut evicted), Admission::TooLarge);
    assert!(evicted.is_empty() && cache.len() == 1);
    let mut none = CachePolicy::new(0);
    assert_eq!(none.insert(&cid(1), 0, &mut evicted), Admission::TooLarge);
}

#[test]
fn what_comes_back_soon_after_it_left_is_kept_longer() {
    let mut cache = CachePolicy::new(10 * COST);
    let len_bytes = COST - ENTRY_OVERHEAD_BYTES;
    let mut evicted = Vec::new();
    for n in 0..11 {
        cache.insert(&cid(n), len_bytes, &mut evicted);
    }
    assert_eq!(evicted, [cid(0)]);
    cache.insert(&cid(0), len_bytes, &mut evicted);
    for n in 20..28 {
        cache.insert(&cid(n), len_bytes, &mut evicted);
    }
    assert!(cache.entries.contains_key(&cid(0)), "it skipped the small queue");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_is_never_above_its_bound_and_knows_what_it_keeps(
        max_bytes in 0u64..20_000,
        words in prop::collection::vec((0u8..4, 0u64..60, 0u64..5_000), 1..400),
    ) {
        let mut cache = CachePolicy::new(max_bytes);
        // What the owner of the bytes keeps, by doing as it is told.
        let mut kept: BTreeMap<Cid, u64> = BTreeMap::new();
        for (word, n, len_bytes) in words {
            let cid = cid(n);
            match word {
                0 => prop_assert_eq!(cache.read(&cid), kept.contains_key(&cid)),
                1 => prop_assert_eq!(cache.remove(&cid), kept.remove(&cid).is_some()),
                _ => {
                    let mut evicted = Vec::new();
                    let verdict = cache.insert(&cid, len_bytes, &mut evicted);
                    for gone in evicted {
                        prop_assert!(kept.remove(&gone).is_some());
                    }
                    if verdict == Admission::Admitted {
                        kept.entry(cid).or_insert(len_bytes + ENTRY_OVERHEAD_BYTES);
                    }
                }
            }
            prop_assert!(cache.used_bytes() <= max_bytes);
            prop_assert_eq!(cache.used_bytes(), kept.values().sum::<u64>());
            prop_assert_eq!(cache.len(), kept.len());
            prop_assert_eq!(cache.small.len() + cache.main.len(), kept.len());
            prop_assert!(cache.ghost_bytes <= max_bytes);
            prop_assert_eq!(cache.ghosts.len(), cache.ghost_order.len());
        }
    }
}
