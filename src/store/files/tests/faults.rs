//! Small files in a node's folder, broken at every point where a disk can break them.

use std::collections::BTreeMap;

use super::*;
use crate::folder::{Folder, FolderError, NewFolder};
use crate::test_support::{filler, port};
use crate::trials::{Flippable, Subject, Trials, Trouble};

const TRIALS: Trials = Trials { steps: 6, seeds: 6 };
const NAMES: [&str; 2] = ["view", "membership"];
const MAX_BYTES: u64 = 1 << 16;

/// Each file holds the number of the step that wrote it, and bytes that depend on it.
#[derive(Clone, Default)]
struct Small {
    steps: u64,
    expected: BTreeMap<&'static str, u64>,
    /// What a failed replacement may have left.
    doubt: BTreeMap<&'static str, u64>,
}

struct Opened {
    disk: SimDisk,
    _folder: Folder,
}

impl Small {
    fn content(step: u64) -> Vec<u8> {
        filler(step, 700 + 900 * (step as usize % 6))
    }

    fn found(&self, open: &Opened, name: &str) -> Result<u64, FileError> {
        let Some(record) = read_record(&open.disk, name, MAGIC, MAX_BYTES)? else { return Ok(0) };
        let step = (1..=self.steps).find(|step| Self::content(*step) == record.payload);
        Ok(step.expect("nothing appears that was never written"))
    }
}

impl Subject for Small {
    type Open = Opened;

    fn open(&mut self, disk: &SimDisk) -> Result<Opened, Trouble> {
        let opened = match Folder::open(port(disk)) {
            Err(FolderError::Missing) => NewFolder::begin(port(disk)).and_then(NewFolder::finish),
            opened => opened,
        };
        let folder = opened.map_err(|error| Trouble::of(&error))?;
        Ok(Opened { disk: disk.clone(), _folder: folder })
    }

    fn step(&mut self, open: &mut Opened) -> Result<(), Trouble> {
        self.steps += 1;
        let name = NAMES[self.steps as usize % NAMES.len()];
        let done = write_record(&open.disk, name, MAGIC, 1, &Self::content(self.steps));
        match done {
            Ok(()) => {
                self.expected.insert(name, self.steps);
                self.doubt.remove(name);
            }
            Err(_) => drop(self.doubt.insert(name, self.steps)),
        }
        done.map_err(|error| Trouble::of(&error))
    }

    fn settle(&mut self, open: &Opened) {
        self.read(open);
        for name in NAMES {
            self.expected.insert(name, self.found(open, name).unwrap());
        }
        self.doubt.clear();
    }

    fn read(&self, open: &Opened) {
        for name in NAMES {
            let found = self.found(open, name).unwrap();
            let expected = self.expected.get(name).copied().unwrap_or(0);
            let doubtful = self.doubt.get(name).is_some_and(|doubt| found == *doubt);
            assert!(found == expected || doubtful, "{name}: {found}, not {expected}");
        }
    }

    fn failure(&self, _: &Opened) -> Option<String> {
        None
    }
}

impl Flippable for Small {
    fn settle_flipped(&mut self, opened: Result<Opened, Trouble>, path: &str, offset: u64) {
        let open = match opened {
            Ok(open) => open,
            Err(trouble) => {
                return assert!(trouble.text.contains("version"), "{path} {offset}: {trouble}");
            }
        };
        for name in NAMES {
            match self.found(&open, name) {
                Ok(found) => assert_eq!(found, self.expected[name], "{path} {offset}"),
                Err(error) => assert!(path == name && error.to_string().contains(name), "{error}"),
            }
        }
    }
}

#[test]
fn a_crash_at_any_point_leaves_the_old_or_the_new() {
    TRIALS.crash_everywhere(Small::default);
}

#[test]
fn what_a_new_process_shows_outlives_a_power_cut() {
    TRIALS.kill_everywhere(Small::default);
}

#[test]
fn a_failed_sync_fails_that_replacement() {
    TRIALS.fail_every_sync_and_go_on(Small::default);
}

#[test]
fn a_full_disk_refuses_and_passes() {
    TRIALS.fill_everywhere(Small::default);
}

#[test]
fn every_flipped_bit_is_named() {
    TRIALS.flip_bits(Small::default, |_, _, _| true);
}
