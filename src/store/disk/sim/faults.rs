//! What can go wrong with the simulated disk, and what it leaves behind.

use std::io;
use std::sync::{Arc, Mutex};

use super::SimDisk;
use super::state::{Content, Node, SECTOR_BYTES, State, Unsynced, apply};
use crate::disk::{DiskError, DiskErrorKind, parent_of};

const PAGE_BYTES: usize = 4096;

/// What a power cut does to what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Each write and each name is kept, dropped or (a write) torn, by seed.
    BySeed,
    /// All of it is gone.
    All,
    /// None of it is gone: the disk was quicker than the machine.
    None,
    /// Only the end of the disk's last unsynced write is gone: this many bytes of it are there.
    LastCutAt(usize),
    /// Only the beginning of the last unsynced write, this many bytes, is gone.
    LastFrom(usize),
}

/// What a failed sync leaves behind. The kernel takes the bytes for written in any case: no later sync
/// tries them again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aftermath {
    /// Reads go on showing them; the disk has none of them.
    Shown,
    /// Reads show what the disk has, which is none of them.
    Gone,
    /// Reads go on showing them; the disk has some of them, by seed.
    Some,
    /// They did reach the disk.
    Written,
}

/// What a full disk still takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// Writes within a file's length, as file systems that write in place do.
    Growth,
    /// No write at all, as file systems that copy on write may do.
    Everything,
}

/// What a crash did to the unsynced part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CrashReport {
    /// Unsynced writes that reached the disk whole.
    pub writes_kept: usize,
    /// Unsynced writes that left no trace.
    pub writes_dropped: usize,
    /// Unsynced writes of which a part reached the disk.
    pub writes_torn: usize,
    /// Unsynced creations, renames and removals that were undone.
    pub names_undone: usize,
}

pub(crate) const NO_ROOM: &str = "injected: no space left";
pub(crate) const SYNC_FAILED: &str = "injected: the device failed to sync";

/// The sync that is to fail.
#[derive(Debug, Clone, Copy)]
pub(super) struct FailingSync {
    at: u64,
    /// Counts syncs of folders too.
    names_too: bool,
    aftermath: Aftermath,
}

pub(super) fn sync_failed(op: &'static str, path: &str) -> DiskError {
    DiskError::new(op, path, io::Error::other(SYNC_FAILED)).with_kind(DiskErrorKind::Sync)
}

impl SimDisk {
    /// Cuts the power and turns the machine on again: unsynced data is kept, dropped or torn, open
    /// handles and locks are dead, pending faults are cleared.
    pub fn crash(&self) -> CrashReport {
        self.crash_with(Loss::BySeed)
    }

    /// As [`SimDisk::crash`], with a chosen loss.
    pub fn crash_with(&self, loss: Loss) -> CrashReport {
        self.state().crash(loss)
    }

    /// Ends the process only: handles and locks are dead, but every write survives.
    pub fn kill_process(&self) {
        self.state().kill_process();
    }

    /// Another disk with the same content, as its process's end would leave it.
    #[must_use]
    pub fn fork(&self) -> Self {
        let mut state = self.state().clone();
        state.kill_process();
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Changes made so far (writes, syncs, names); the unit of [`SimDisk::stop_after`].
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    /// Syncs made so far, of files and of folders; the unit of [`SimDisk::fail_sync`].
    #[must_use]
    pub fn syncs(&self) -> u64 {
        let state = self.state();
        state.file_syncs + state.name_syncs
    }

    /// Lets `n` more changes succeed. The next one fails, half done, and so does everything after
    /// it until [`SimDisk::crash`].
    pub fn stop_after(&self, n: u64) {
        let mut state = self.state();
        state.stop_at = Some(state.changes + n);
    }

    /// Makes the `n`-th file sync from now (0 is the next) fail. What it should have made durable is
    /// lost at a crash, and later syncs don't bring it back.
    pub fn fail_sync_after(&self, n: u64) {
        let mut state = self.state();
        let at = state.file_syncs + n;
        state.failing_sync =
            Some(FailingSync { at, names_too: false, aftermath: Aftermath::Shown });
    }

    /// Makes the `n`-th sync from now (0 is the next), of a file or of a folder, fail. Names that a
    /// failed sync did not write may still be written by the next one.
    pub fn fail_sync(&self, n: u64, aftermath: Aftermath) {
        let mut state = self.state();
        let at = state.file_syncs + state.name_syncs + n;
        state.failing_sync = Some(FailingSync { at, names_too: true, aftermath });
    }

    /// Bounds the sum of file lengths; growth beyond fails with [`DiskErrorKind::Full`].
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity_bytes = bytes;
    }

    /// Lets the disk run full after `n` more changes: no new file or folder, and of writes those that
    /// `full` says fail, having written a part by seed. Ends with [`SimDisk::make_room`] or the process.
    pub fn fill_after(&self, n: u64, full: Full) {
        let mut state = self.state();
        state.full_at = Some((state.changes + n, full));
    }

    /// Ends what [`SimDisk::fill_after`] began.
    pub fn make_room(&self) {
        self.state().full_at = None;
    }

    /// Flips one bit of a file, as a decaying medium does.
    ///
    /// # Errors
    /// There is no such file or no such byte.
    pub fn flip_bit(&self, path: &str, offset: u64, bit: u8) -> Result<(), DiskError> {
        let mut state = self.state();
        let inode = state.file_at("flip", path)?;
        if state.flip(inode, offset, bit) {
            Ok(())
        } else {
            let cause = io::Error::new(io::ErrorKind::UnexpectedEof, "no byte at this offset");
            Err(DiskError::new("flip", path, cause))
        }
    }
}

impl State {
    pub(super) fn sync_fails(&mut self) -> Option<Aftermath> {
        self.file_syncs += 1;
        let (files, all) = (self.file_syncs, self.file_syncs + self.name_syncs);
        let due =
            |failing: &FailingSync| failing.at + 1 == if failing.names_too { all } else { files };
        Some(self.failing_sync.take_if(|failing| due(failing))?.aftermath)
    }

    pub(super) fn name_sync_fails(&mut self) -> Option<Aftermath> {
        self.name_syncs += 1;
        let all = self.file_syncs + self.name_syncs;
        let due = |failing: &FailingSync| failing.names_too && failing.at + 1 == all;
        Some(self.failing_sync.take_if(|failing| due(failing))?.aftermath)
    }

    pub(super) fn end_failed_sync(&mut self, inode: u64, aftermath: Aftermath) {
        let mut file = std::mem::take(self.inode(inode));
        let mut report = CrashReport::default();
        for change in std::mem::take(&mut file.unsynced) {
            match aftermath {
                Aftermath::Written => apply(&mut file.durable, &change),
                Aftermath::Some => self.keep_some(&mut file.durable, &change, &mut report),
                Aftermath::Shown | Aftermath::Gone => {}
            }
        }
        if aftermath == Aftermath::Gone {
            // The length stands in memory apart from the pages.
            let len = file.seen.len();
            file.seen = file.durable.clone();
            file.seen.set_len(len);
        }
        *self.inode(inode) = file;
    }

    /// What a write that ran out of room leaves: some of its first pages, since room is given by the page.
    pub(super) fn write_some_pages(&mut self, inode: u64, offset: u64, data: &[u8]) {
        let pages = self.below(data.len().div_ceil(PAGE_BYTES));
        if pages > 0 {
            self.write(inode, offset, &data[..pages * PAGE_BYTES]);
        }
    }

    fn crash(&mut self, loss: Loss) -> CrashReport {
        let mut report = CrashReport::default();
        self.kill_process();
        for change in std::mem::take(&mut self.unsynced_names) {
            let kept = match loss {
                Loss::BySeed => self.coin(),
                Loss::All => false,
                Loss::None | Loss::LastCutAt(_) | Loss::LastFrom(_) => true,
            };
            if kept {
                change.apply(&mut self.durable);
            } else {
                report.names_undone += 1;
            }
        }
        let last = self.last_unsynced_write();
        let mut inodes = std::mem::take(&mut self.inodes);
        for file in inodes.values_mut() {
            for change in std::mem::take(&mut file.unsynced) {
                self.lose(&mut file.durable, &change, loss, last, &mut report);
            }
            file.seen = file.durable.clone();
        }
        // Names whose folder was never durable are unreachable, and so are nameless files.
        let durable = self.durable.clone();
        self.durable.retain(|path, _| {
            std::iter::successors(Some(parent_of(path)), |dir| {
                (!dir.is_empty()).then(|| parent_of(dir))
            })
            .all(|dir| dir.is_empty() || durable.get(dir) == Some(&Node::Dir))
        });
        self.seen.clone_from(&self.durable);
        inodes.retain(|inode, _| self.durable.values().any(|node| *node == Node::File(*inode)));
        self.inodes = inodes;
        report
    }

    fn last_unsynced_write(&self) -> Option<u64> {
        let changes = self.inodes.values().flat_map(|file| &file.unsynced);
        let orders = changes.filter_map(|change| match change {
            Unsynced::Write { order, .. } => Some(*order),
            Unsynced::SetLen(_) => None,
        });
        orders.max()
    }

    fn lose(
        &mut self,
        durable: &mut Content,
        change: &Unsynced,
        loss: Loss,
        last: Option<u64>,
        report: &mut CrashReport,
    ) {
        let torn = match change {
            Unsynced::Write { order, offset, data } if Some(*order) == last => match loss {
                Loss::LastCutAt(at) => Some((*offset, &data[..at.min(data.len())])),
                Loss::LastFrom(at) => {
                    let at = at.min(data.len());
                    Some((*offset + at, &data[at..]))
                }
                _ => None,
            },
            _ => None,
        };
        match (loss, torn) {
            (Loss::BySeed, _) => self.keep_some(durable, change, report),
            (Loss::All, _) => report.writes_dropped += 1,
            (_, Some((offset, part))) => {
                report.writes_torn += 1;
                if !part.is_empty() {
                    durable.write(offset, part);
                }
            }
            (_, None) => {
                report.writes_kept += 1;
                apply(durable, change);
            }
        }
    }

    fn keep_some(&mut self, durable: &mut Content, change: &Unsynced, report: &mut CrashReport) {
        let fate = self.below(4);
        let (offset, data) = match change {
            Unsynced::Write { offset, data, .. } if fate > 1 => (*offset, data),
            _ if fate == 0 => {
                report.writes_dropped += 1;
                return;
            }
            _ => {
                report.writes_kept += 1;
                return apply(durable, change);
            }
        };
        report.writes_torn += 1;
        if fate == 2 {
            let cut = self.below(data.len());
            durable.write(offset, &data[..cut]);
        } else {
            // The device may write sectors in any order.
            for (index, sector) in data.chunks(SECTOR_BYTES).enumerate() {
                if self.coin() {
                    durable.write(offset + index * SECTOR_BYTES, sector);
                }
            }
        }
    }
}
