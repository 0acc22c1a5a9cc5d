//! Checkpoints, saved and received, broken at every point where a disk can break them.

use super::*;
use crate::trials::{Flippable, Subject, Trials, Trouble};

const TRIALS: Trials = Trials { steps: 6, seeds: 3 };

/// Checkpoint `n` is of entry `n` and holds [`small_state`].
#[derive(Clone, Default)]
struct Saved {
    next: u64,
    newest: u64,
    /// Whether a newer one, up to `next`, may be there.
    doubt: bool,
}

struct Opened {
    checkpoints: Checkpoints,
    damaged: Vec<Damaged>,
}

fn small_state(n: u64) -> Vec<u8> {
    filler(n, 3000 + n as usize)
}

fn trouble(error: impl std::error::Error + 'static) -> Trouble {
    Trouble::of(&error)
}

fn receive(n: u64, target: &Checkpoints) -> Result<(), CheckpointError> {
    let source = super::open(&SimDisk::new(0));
    let manifest = source.save(meta(n), &small_state(n)).unwrap();
    let sent = source.get(&manifest.root).unwrap().unwrap();
    let mut receiving = target.receive(manifest, sent.chunk_hashes().clone())?;
    while let Some(chunk) = receiving.next_chunk() {
        receiving.write_chunk(chunk, &sent.read_chunk(chunk).unwrap())?;
    }
    receiving.finish().map(drop)
}

impl Saved {
    /// What is loaded, with what was skipped on the way; everything is right.
    fn loaded(open: &Opened) -> (u64, Vec<Damaged>) {
        let loaded = open.checkpoints.load_newest().unwrap();
        let applied = loaded.checkpoint.as_ref().map_or(0, |checkpoint| {
            let mut bytes = Vec::new();
            checkpoint.reader().read_to_end(&mut bytes).unwrap();
            let applied = checkpoint.manifest().applied_index;
            assert_eq!(bytes, small_state(applied));
            applied
        });
        (applied, loaded.damaged)
    }
}

impl Subject for Saved {
    type Open = Opened;

    fn open(&mut self, disk: &SimDisk) -> Result<Opened, Trouble> {
        let (checkpoints, damaged) = Checkpoints::open(port(disk), "ckpt").map_err(trouble)?;
        Ok(Opened { checkpoints, damaged })
    }

    fn step(&mut self, open: &mut Opened) -> Result<(), Trouble> {
        self.next += 1;
        let n = self.next;
        let done = if n.is_multiple_of(3) {
            receive(n, &open.checkpoints)
        } else {
            open.checkpoints.save(meta(n), &small_state(n)).map(drop)
        };
        match &done {
            Ok(()) => (self.newest, self.doubt) = (n, false),
            Err(_) => self.doubt = true,
        }
        done.map_err(trouble)
    }

    fn settle(&mut self, open: &Opened) {
        assert!(open.damaged.is_empty(), "a crash is no decay: {:?}", open.damaged);
        self.read(open);
        self.newest = Self::loaded(open).0;
        self.doubt = false;
    }

    fn read(&self, open: &Opened) {
        let (applied, damaged) = Self::loaded(open);
        let newer = self.doubt && applied > self.newest && applied <= self.next;
        assert!(applied == self.newest || newer, "{applied} is there, not {}", self.newest);
        assert!(damaged.is_empty(), "a crash is no decay: {damaged:?}");
        for manifest in open.checkpoints.list() {
            let kept = open.checkpoints.get(&manifest.root).unwrap().unwrap();
            kept.verify().unwrap();
        }
    }

    fn failure(&self, _: &Opened) -> Option<String> {
        None
    }
}

impl Flippable for Saved {
    fn settle_flipped(&mut self, opened: Result<Opened, Trouble>, path: &str, offset: u64) {
        let open = opened.unwrap_or_else(|trouble| panic!("{path} {offset}: {trouble}"));
        let (applied, damaged) = Self::loaded(&open);
        let stem = path.rsplit_once('/').unwrap().1.split_once('.').unwrap().0;
        let named = open.damaged.iter().chain(&damaged).any(|damaged| damaged.name.contains(stem));
        assert!(applied == self.newest || named, "{path} {offset}: silently {applied}");
        assert!(applied + 2 > self.newest, "the older one serves");
    }
}

#[test]
fn a_crash_at_any_point_loses_no_checkpoint_and_looks_like_no_decay() {
    TRIALS.crash_everywhere(Saved::default);
}

#[test]
fn what_a_new_process_shows_outlives_a_power_cut() {
    TRIALS.kill_everywhere(Saved::default);
}

#[test]
fn a_failed_sync_fails_that_checkpoint_and_the_next_one_is_a_new_file() {
    TRIALS.fail_every_sync_and_go_on(Saved::default);
}

#[test]
fn a_full_disk_refuses_and_passes() {
    TRIALS.fill_everywhere(Saved::default);
}

#[test]
fn a_flipped_bit_is_named_and_the_older_one_serves() {
    TRIALS.flip_bits(Saved::default, |path, offset, _| {
        path.ends_with(".ckpt") || offset.is_multiple_of(17)
    });
}
