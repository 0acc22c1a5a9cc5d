//! The bare log, whose front is deleted now and then, broken at every point.

use super::*;
use crate::trials::{Flippable, Subject, Trials, Trouble};

const TRIALS: Trials = Trials { steps: 14, seeds: 4 };

/// Batch `n` holds the payload `n`.
#[derive(Clone, Default)]
struct Plain {
    steps: u64,
    next: u64,
    /// Whether batch `next` may be there.
    doubt: bool,
    /// The first batch that must be there.
    kept_from: u64,
    segments: Vec<u64>,
}

struct Opened {
    wal: Wal,
    recovery: Recovery,
    shown: Shown,
}

impl Opened {
    /// The numbers of the batches that are there, checked.
    fn range(&self) -> (u64, u64) {
        let Some((_, first)) = self.shown.first() else { return (0, 0) };
        let first =
            (0..10_000).find(|n| numbered(*n) == *first).expect("a payload of the workload");
        for (n, (_, bytes)) in (first..).zip(&self.shown) {
            assert!(*bytes == numbered(n), "batch {n}");
        }
        (first, first + self.shown.len() as u64)
    }
}

fn numbered(n: u64) -> Vec<u8> {
    [n.to_le_bytes().to_vec(), payload(n)].concat()
}

impl Plain {
    fn delete_front(&mut self, wal: &mut Wal) -> Result<(), WalError> {
        let keep = self.next.saturating_sub(2);
        let segment = self.segments[keep as usize];
        let first = self.segments.iter().position(|of| *of == segment).unwrap() as u64;
        self.kept_from = self.kept_from.max(first);
        wal.truncate_front(segment)
    }
}

impl Subject for Plain {
    type Open = Opened;

    fn open(&mut self, disk: &SimDisk) -> Result<Opened, Trouble> {
        let (wal, recovery, shown) = super::open(disk).map_err(|error| Trouble::of(&error))?;
        Ok(Opened { wal, recovery, shown })
    }

    fn step(&mut self, open: &mut Opened) -> Result<(), Trouble> {
        self.steps += 1;
        let usable = open.wal.failure().is_none();
        let done = if usable && self.steps.is_multiple_of(5) && self.next > 2 {
            self.delete_front(&mut open.wal)
        } else {
            let done = append(&mut open.wal, &numbered(self.next));
            match &done {
                Ok(at) => {
                    self.segments.push(at.segment);
                    self.next += 1;
                    self.doubt = false;
                }
                Err(_) => self.doubt |= usable,
            }
            done.map(drop)
        };
        done.map_err(|error| Trouble::of(&error))
    }

    fn settle(&mut self, open: &Opened) {
        let (first, end) = open.range();
        assert!(first <= self.kept_from, "{first} is the first, not {}", self.kept_from);
        assert!(end == self.next || (self.doubt && end == self.next + 1), "it ends before {end}");
        if end > self.next {
            self.segments.push(open.wal.tail_segment());
            self.next = end;
        }
        self.doubt = false;
    }

    fn read(&self, _: &Opened) {}

    fn failure(&self, open: &Opened) -> Option<String> {
        open.wal.failure().map(str::to_owned)
    }
}

impl Flippable for Plain {
    fn settle_flipped(&mut self, opened: Result<Opened, Trouble>, path: &str, offset: u64) {
        let open = match opened {
            Ok(open) => open,
            Err(trouble) => return crate::trials::assert_place_named(&trouble, path, offset),
        };
        let (first, end) = open.range();
        let shortened = end + 1 == self.next && open.recovery.cut.is_some();
        let whole = first <= self.kept_from && (end == self.next || shortened);
        assert!(whole, "{path} {offset}: silently only {first}..{end}");
    }
}

#[test]
fn a_crash_at_any_point_loses_nothing_acknowledged() {
    TRIALS.crash_everywhere(Plain::default);
}

#[test]
fn what_a_new_process_shows_outlives_a_power_cut() {
    TRIALS.kill_everywhere(Plain::default);
}

#[test]
fn a_failed_sync_closes_the_log_and_a_restart_is_honest() {
    TRIALS.fail_every_sync(Plain::default);
}

#[test]
fn a_full_disk_refuses_and_passes() {
    TRIALS.fill_everywhere(Plain::default);
}

#[test]
fn a_flipped_bit_is_named_or_cuts_the_last_batch_only() {
    let trials = Trials { steps: 60, ..TRIALS };
    trials.flip_bits(Plain::default, |_, offset, byte| match offset % 4096 {
        // Every byte of a header, and of the payload some.
        0..120 => byte != 0 || offset.is_multiple_of(7),
        _ => offset.is_multiple_of(331),
    });
}

#[test]
fn a_cut_is_reported_until_the_log_goes_on_whatever_a_crash_leaves_behind_it() {
    let mut unfinished = 0;
    for seed in 0..60 {
        let disk = SimDisk::new(seed);
        let (mut wal, ..) = open(&disk).unwrap();
        append(&mut wal, b"first").unwrap();
        append(&mut wal, b"acknowledged, and then it decays").unwrap();
        drop(wal);
        disk.flip_bit("wal/0000000000000001.wal", 4096 + 85, 0).unwrap();
        let (mut wal, recovery, _) = open(&disk).unwrap();
        let cut = Some(CutTail { segment: 1, offset: 4096 });
        assert_eq!(recovery.cut, cut);
        // The next batch needs a new segment, of which a crash may leave the name only.
        disk.stop_after(3);
        append(&mut wal, b"never acknowledged").unwrap_err();
        disk.crash();
        unfinished += usize::from(disk.list("wal").unwrap().len() == 2);
        let (_, recovery, shown) = open(&disk).unwrap();
        assert!(recovery.cut == cut || shown.len() == 2, "seed {seed}");
    }
    assert!(unfinished > 10, "only {unfinished} unfinished segments");
}

#[test]
fn deleting_the_front_can_be_repeated_after_it_failed() {
    let disk = SimDisk::new(1);
    let (mut wal, ..) = open(&disk).unwrap();
    for n in 0..30 {
        append(&mut wal, &payload(n)).unwrap();
    }
    let before = wal.segments();
    // Removed, but nobody knows whether for good.
    disk.fail_sync(0, crate::disk::Aftermath::Shown);
    assert!(wal.truncate_front(3).is_err());
    assert!(wal.failure().is_some(), "a failed sync is final");
    disk.kill_process();
    let (mut wal, ..) = open(&disk).unwrap();
    wal.truncate_front(3).unwrap();
    assert_eq!(wal.segments(), before - 2);
}
