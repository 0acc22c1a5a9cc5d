//! The records of held roots, broken at every point where a disk can break them.

use ipfs_kit_store::disk::SimDisk;
use ipfs_kit_store::trials::{Flippable, Subject, Trials, Trouble, assert_place_named};

use super::*;

const TRIALS: Trials = Trials { steps: 14, seeds: 3 };
const TIGHT: Bounds = Bounds { segment_bytes: 16 * 1024, slack_records: 4 };

/// Does every job at once.
struct Inline;

impl Executor for Inline {
    fn run(&self, _: WorkLane, job: Box<dyn FnOnce() + Send>) {
        job();
    }
}

type Table = BTreeMap<Cid, u64>;

#[derive(Clone, Default)]
struct Roots {
    steps: u64,
    held: Table,
    /// What is held if the record in flight was written.
    doubt: Option<Table>,
    before: Table,
}

fn cid(n: u64) -> Cid {
    let mut bytes = vec![1, 0x55, 0x12, 32];
    bytes.extend([n as u8; 32]);
    Cid::from_bytes(&bytes).unwrap()
}

/// With [`Inline`] every answer is there at once.
fn now<T>(answer: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(answer)
}

fn table(open: &Holdings) -> Table {
    now(open.held()).unwrap().into_iter().map(|held| (held.cid, held.granted)).collect()
}

impl Subject for Roots {
    type Open = Holdings;

    fn open(&mut self, disk: &SimDisk) -> Result<Holdings, Trouble> {
        Holdings::open_within(TIGHT, Arc::new(disk.clone()), Arc::new(Inline), [7; 16])
            .map_err(|error| Trouble::of(&error))
    }

    fn step(&mut self, open: &mut Holdings) -> Result<(), Trouble> {
        self.steps += 1;
        let usable = open.failure().is_none();
        let root = cid(self.steps % 7);
        let mut next = self.held.clone();
        let done = if self.steps.is_multiple_of(3) {
            next.remove(&root);
            now(open.release(&root))
        } else {
            let held = Held { cid: root, granted: self.steps };
            next.insert(held.cid.clone(), held.granted);
            now(open.hold(held))
        };
        match &done {
            Ok(()) => self.before = std::mem::replace(&mut self.held, next),
            Err(_) if usable => self.doubt = Some(next),
            Err(_) => {}
        }
        done.map_err(Trouble::of_text)
    }

    fn settle(&mut self, open: &Holdings) {
        let found = table(open);
        let doubted = self.doubt.take().is_some_and(|doubt| doubt == found);
        assert!(found == self.held || doubted, "{found:?}, not {:?}", self.held);
        self.held = found;
    }

    fn read(&self, open: &Holdings) {
        assert_eq!(table(open), self.held);
        assert_eq!(open.roots(), self.held.keys().cloned().collect::<Vec<_>>());
    }

    fn failure(&self, open: &Holdings) -> Option<String> {
        open.failure().map(str::to_owned)
    }
}

impl Flippable for Roots {
    fn settle_flipped(&mut self, opened: Result<Holdings, Trouble>, path: &str, offset: u64) {
        match opened {
            Ok(open) => {
                let found = table(&open);
                assert!(found == self.held || found == self.before, "{path} {offset}: {found:?}");
            }
            Err(trouble) => assert_place_named(&trouble, path, offset),
        }
    }
}

#[test]
fn a_crash_at_any_point_loses_nothing_acknowledged() {
    TRIALS.crash_everywhere(Roots::default);
}

#[test]
fn what_a_new_process_shows_outlives_a_power_cut() {
    TRIALS.kill_everywhere(Roots::default);
}

#[test]
fn a_failed_sync_closes_the_records_and_a_restart_is_honest() {
    TRIALS.fail_every_sync(Roots::default);
}

#[test]
fn a_full_disk_refuses_and_passes() {
    TRIALS.fill_everywhere(Roots::default);
}

#[test]
fn a_flipped_bit_is_named_or_takes_the_last_record_only() {
    // Around the points where the records are written anew and their front is deleted.
    for steps in 17..30 {
        let trials = Trials { steps, ..TRIALS };
        trials.flip_bits(Roots::default, |_, offset, byte| {
            offset % 4096 < 130 && byte != 0 && offset % 3 == 0
        });
    }
}
