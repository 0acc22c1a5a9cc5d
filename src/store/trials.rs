//! Trials: one workload, broken at every point where a disk can break it.
//!
//! A [`Subject`] is something that keeps data on a disk, together with a model of what it promised. The
//! trials run it over the simulated disk and break that at every change, at every sync, and by every
//! way in which an interrupted write can be torn; then they open it again and ask the subject to compare
//! itself with its model. What the subject must never do, whatever the disk does: miss what it
//! acknowledged, show what was never written, take a failed sync for a success, or panic.

use std::{fmt, io};

use crate::disk::{Aftermath, DiskErrorKind, Full, Loss, NO_ROOM, SYNC_FAILED, SimDisk};

/// Why an operation failed, as far as a trial judges it.
#[derive(Debug)]
pub struct Trouble {
    /// The disk's part in it; `None` where the subject refused by itself.
    pub kind: Option<DiskErrorKind>,
    /// The message.
    pub text: String,
}

impl Trouble {
    /// From any error: the simulated disk's part is looked for among its causes.
    #[must_use]
    pub fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut causes = std::iter::successors(Some(error), |error| error.source());
        let kind = causes.find_map(|cause| cause.downcast_ref::<io::Error>()).map(|cause| {
            match cause.kind() {
                io::ErrorKind::StorageFull => DiskErrorKind::Full,
                _ if cause.to_string() == SYNC_FAILED => DiskErrorKind::Sync,
                _ => DiskErrorKind::Other,
            }
        });
        Self { kind, text: error.to_string() }
    }

    /// From a message that has lost its cause on the way: the simulated disk's words are looked for.
    #[must_use]
    pub fn of_text(text: String) -> Self {
        let kind = if text.contains(NO_ROOM) {
            Some(DiskErrorKind::Full)
        } else if text.contains(SYNC_FAILED) {
            Some(DiskErrorKind::Sync)
        } else {
            None
        };
        Self { kind, text }
    }

    fn is(&self, kind: DiskErrorKind) -> bool {
        self.kind == Some(kind)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Something on a disk, with its model.
pub trait Subject: Clone {
    /// It while it is open.
    type Open;

    /// Opens it.
    ///
    /// # Errors
    /// What opening says.
    fn open(&mut self, disk: &SimDisk) -> Result<Self::Open, Trouble>;

    /// Does the next operation of the workload and notes in the model what was promised, or what is in
    /// doubt now.
    ///
    /// # Errors
    /// What the operation says.
    fn step(&mut self, open: &mut Self::Open) -> Result<(), Trouble>;

    /// Asserts that what is shown right after opening is what was promised, and settles what was in
    /// doubt: what is shown now must stay.
    fn settle(&mut self, open: &Self::Open);

    /// Asserts that what was promised can be read, in the middle of a life.
    fn read(&self, open: &Self::Open);

    /// Why it takes no writes until it is opened again.
    fn failure(&self, open: &Self::Open) -> Option<String>;
}

/// A subject that knows what a flipped bit may do to it.
pub trait Flippable: Subject {
    /// Asserts that after one bit at this place was flipped everything shown is right, and that what is
    /// missing was named. `opened` is what opening said.
    fn settle_flipped(&mut self, opened: Result<Self::Open, Trouble>, path: &str, offset: u64);
}

/// A workload of this many steps.
#[derive(Debug, Clone, Copy)]
pub struct Trials {
    /// Steps of one life.
    pub steps: usize,
    /// Distinct seeds for losses that are drawn.
    pub seeds: u64,
}

/// Where the last write is torn: around sectors, headers and pages.
const TEARS: [usize; 12] = [1, 8, 36, 64, 79, 80, 83, 511, 512, 1024, 4095, 4096];

/// A stop takes every so-manieth tear.
const SHARES: u64 = 5;

impl Trials {
    /// Stops the machine at every change, tears the last write in every way, lets it run on and stops it
    /// again, and at last lets it run undisturbed.
    ///
    /// # Panics
    /// When a promise is broken.
    pub fn crash_everywhere<S: Subject>(self, make: impl Fn() -> S) {
        let changes = self.undisturbed(&make).changes();
        for stop in 0..=changes {
            let losses = self.losses(stop);
            for (n, loss) in losses.iter().enumerate() {
                let disk = SimDisk::new(stop * 1000 + n as u64);
                let mut subject = make();
                disk.stop_after(stop);
                self.live_until_stopped(&mut subject, &disk);
                disk.crash_with(*loss);
                // Again while it recovers, or soon after.
                disk.stop_after((stop + 5 * n as u64) % 23);
                self.live_until_stopped(&mut subject, &disk);
                disk.crash_with(losses[(n + stop as usize) % losses.len()]);
                self.live_on(&mut subject, &disk);
            }
        }
    }

    /// Kills the process at every change, and then cuts the power: what a new process has shown must
    /// not be lost any more.
    ///
    /// # Panics
    /// When a promise is broken.
    pub fn kill_everywhere<S: Subject>(self, make: impl Fn() -> S) {
        let changes = self.undisturbed(&make).changes();
        for stop in 0..=changes {
            for loss in [Loss::All, Loss::BySeed] {
                let disk = SimDisk::new(stop);
                let mut subject = make();
                disk.stop_after(stop);
                self.live_until_stopped(&mut subject, &disk);
                disk.kill_process();
                let open = opened(&mut subject, &disk);
                subject.settle(&open);
                drop(open);
                disk.crash_with(loss);
                self.live_on(&mut subject, &disk);
            }
        }
    }

    /// Lets every sync fail, with every aftermath. From then on the subject must refuse to write, and
    /// must still be readable; after a new start it must be honest, be it the process's or the machine's.
    ///
    /// # Panics
    /// When a promise is broken.
    pub fn fail_every_sync<S: Subject>(self, make: impl Fn() -> S) {
        let syncs = self.undisturbed(&make).syncs();
        for sync in 0..syncs {
            for aftermath in
                [Aftermath::Shown, Aftermath::Gone, Aftermath::Some, Aftermath::Written]
            {
                for killed in [true, false] {
                    let disk = SimDisk::new(sync);
                    let mut subject = make();
                    disk.fail_sync(sync, aftermath);
                    self.live_until_sync_fails(&mut subject, &disk);
                    if killed {
                        disk.kill_process();
                        let open = opened(&mut subject, &disk);
                        subject.settle(&open);
                    }
                    disk.crash_with(Loss::All);
                    self.live_on(&mut subject, &disk);
                }
            }
        }
    }

    /// Lets every sync fail, with every aftermath, for a subject that writes a new file each time and may
    /// so go on: the failure must be reported, the next steps succeed, and a new start is honest.
    ///
    /// # Panics
    /// When a promise is broken.
    pub fn fail_every_sync_and_go_on<S: Subject>(self, make: impl Fn() -> S) {
        let syncs = self.undisturbed(&make).syncs();
        for sync in 0..syncs {
            for aftermath in
                [Aftermath::Shown, Aftermath::Gone, Aftermath::Some, Aftermath::Written]
            {
                for steps_after in [0, 1] {
                    let disk = SimDisk::new(sync);
                    let mut subject = make();
                    disk.fail_sync(sync, aftermath);
                    self.report_failed_sync(&mut subject, &disk, steps_after);
                    disk.crash_with(Loss::All);
                    self.live_on(&mut subject, &disk);
                }
            }
        }
    }

    fn report_failed_sync<S: Subject>(self, subject: &mut S, disk: &SimDisk, steps_after: usize) {
        let mut open = match subject.open(disk) {
            Ok(open) => open,
            Err(trouble) => return assert!(trouble.is(DiskErrorKind::Sync), "{trouble}"),
        };
        subject.settle(&open);
        let failed = (0..self.steps).find_map(|_| subject.step(&mut open).err());
        let trouble = failed.expect("a failed sync is reported");
        assert!(trouble.is(DiskErrorKind::Sync), "{trouble}");
        for _ in 0..steps_after {
            subject.step(&mut open).unwrap_or_else(|trouble| panic!("a new file: {trouble}"));
        }
        subject.read(&open);
    }

    /// Lets the disk run full at every change: writes are refused, reads go on, a restart works, and
    /// once there is room all goes on.
    ///
    /// # Panics
    /// When a promise is broken.
    pub fn fill_everywhere<S: Subject>(self, make: impl Fn() -> S) {
        let changes = self.undisturbed(&make).changes();
        for change in 0..=changes {
            for full in [Full::Growth, Full::Everything] {
                {
                    let restarted = change.is_multiple_of(2) == (full == Full::Growth);
                    let disk = SimDisk::new(change);
                    let mut subject = make();
                    disk.fill_after(change, full);
                    let open = self.live_while_full(&mut subject, &disk);
                    let open = open.filter(|_| !restarted);
                    if open.is_none() {
                        disk.kill_process();
                        if full == Full::Growth {
                            disk.fill_after(0, full);
                            open_while_full(&mut subject, &disk);
                        }
                    }
                    disk.make_room();
                    let mut open = open.unwrap_or_else(|| {
                        let open = opened(&mut subject, &disk);
                        subject.settle(&open);
                        open
                    });
                    for _ in 0..self.steps {
                        let done = subject.step(&mut open);
                        done.unwrap_or_else(|trouble| panic!("there is room again: {trouble}"));
                    }
                    subject.read(&open);
                    drop(open);
                    disk.crash_with(Loss::All);
                    self.live_on(&mut subject, &disk);
                }
            }
        }
    }

    /// Flips one bit of each byte that `pick` wants, one after the other, in what an undisturbed life
    /// left behind.
    ///
    /// # Panics
    /// When a promise is broken.
    pub fn flip_bits<S: Flippable>(
        self,
        make: impl Fn() -> S,
        pick: impl Fn(&str, u64, u8) -> bool,
    ) {
        let disk = SimDisk::new(1);
        let mut subject = make();
        self.live_on(&mut subject, &disk);
        for (path, bytes) in disk.dump() {
            for (offset, byte) in bytes.iter().enumerate() {
                let offset = offset as u64;
                if !pick(&path, offset, *byte) {
                    continue;
                }
                let disk = disk.fork();
                disk.flip_bit(&path, offset, (offset % 8) as u8).expect("the byte is there");
                let mut subject = subject.clone();
                let opened = subject.open(&disk);
                subject.settle_flipped(opened, &path, offset);
            }
        }
    }

    /// What happens to the unsynced at this stop: nothing, everything, some draws, and a share of the
    /// tears, of which the stops after it get the others.
    fn losses(self, stop: u64) -> Vec<Loss> {
        let whole = [Loss::All, Loss::None];
        let drawn = (0..self.seeds).map(|_| Loss::BySeed);
        let tears = TEARS.iter().flat_map(|at| [Loss::LastCutAt(*at), Loss::LastFrom(*at)]);
        let tears = tears.skip((stop % SHARES) as usize).step_by(SHARES as usize);
        whole.into_iter().chain(drawn).chain(tears).collect()
    }

    fn undisturbed<S: Subject>(self, make: impl Fn() -> S) -> SimDisk {
        let disk = SimDisk::new(0);
        let mut subject = make();
        let mut open = opened(&mut subject, &disk);
        subject.settle(&open);
        for _ in 0..self.steps {
            subject.step(&mut open).unwrap_or_else(|trouble| panic!("undisturbed: {trouble}"));
        }
        disk
    }

    fn live_until_stopped<S: Subject>(self, subject: &mut S, disk: &SimDisk) {
        let mut open = match subject.open(disk) {
            Ok(open) => open,
            // Whatever a crash leaves, only the disk may refuse.
            Err(trouble) => return assert!(trouble.kind.is_some(), "at opening: {trouble}"),
        };
        subject.settle(&open);
        for _ in 0..self.steps {
            if subject.step(&mut open).is_err() {
                return;
            }
        }
    }

    fn live_until_sync_fails<S: Subject>(self, subject: &mut S, disk: &SimDisk) {
        let mut open = match subject.open(disk) {
            Ok(open) => open,
            Err(trouble) => return assert!(trouble.is(DiskErrorKind::Sync), "{trouble}"),
        };
        subject.settle(&open);
        let failed = (0..self.steps).find_map(|_| subject.step(&mut open).err());
        let cause = subject.failure(&open);
        assert!(cause.is_some(), "a sync failed, and it goes on: {failed:?}");
        for _ in 0..self.steps {
            let refused = subject.step(&mut open);
            assert!(refused.is_err(), "it writes on after a failed sync");
        }
        subject.read(&open);
    }

    /// Runs until something is refused, and some steps more. `None` where it could not even open.
    fn live_while_full<S: Subject>(self, subject: &mut S, disk: &SimDisk) -> Option<S::Open> {
        let mut open = match subject.open(disk) {
            Ok(open) => open,
            Err(trouble) => {
                assert!(trouble.is(DiskErrorKind::Full), "at opening: {trouble}");
                return None;
            }
        };
        subject.settle(&open);
        for _ in 0..self.steps {
            if let Err(trouble) = subject.step(&mut open) {
                assert!(trouble.is(DiskErrorKind::Full), "not for a full disk: {trouble}");
                subject.read(&open);
            }
        }
        let cause = subject.failure(&open);
        assert!(cause.is_none(), "a full disk is no reason to give up: {cause:?}");
        Some(open)
    }

    /// An undisturbed life, the end of which is a power cut.
    fn live_on<S: Subject>(self, subject: &mut S, disk: &SimDisk) {
        let mut open = opened(subject, disk);
        subject.settle(&open);
        for _ in 0..self.steps {
            subject.step(&mut open).unwrap_or_else(|trouble| panic!("nothing is wrong: {trouble}"));
        }
        subject.read(&open);
        drop(open);
        disk.crash_with(Loss::All);
        let open = opened(subject, disk);
        subject.settle(&open);
    }
}

fn opened<S: Subject>(subject: &mut S, disk: &SimDisk) -> S::Open {
    subject.open(disk).unwrap_or_else(|trouble| panic!("it does not open: {trouble}"))
}

/// A restart on a full disk works, or is refused for want of room.
fn open_while_full<S: Subject>(subject: &mut S, disk: &SimDisk) {
    match subject.open(disk) {
        Ok(open) => subject.settle(&open),
        Err(trouble) => assert!(trouble.is(DiskErrorKind::Full), "at opening: {trouble}"),
    }
    disk.kill_process();
}

/// Asserts that a message names the segment of a log that was damaged, and an offset at or a little
/// before the damage.
///
/// # Panics
/// When it does not.
pub fn assert_place_named(trouble: &Trouble, path: &str, offset: u64) {
    const MAX_BATCH_BYTES: u64 = 64 << 10;
    let place = || {
        let name = path.strip_suffix(".wal")?.rsplit_once('/')?.1;
        let segment = u64::from_str_radix(name, 16).ok()?;
        let (_, rest) = trouble.text.split_once(&format!("segment {segment}, offset "))?;
        rest.split_once(':')?.0.parse::<u64>().ok()
    };
    let named = place().unwrap_or_else(|| panic!("{path} {offset} is not named: {trouble}"));
    let near = named <= offset && offset < named + MAX_BATCH_BYTES;
    assert!(near, "{path} {offset} is not named: {trouble}");
}
