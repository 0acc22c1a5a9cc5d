//! The log, broken at every point where a disk can break it.

use super::*;
use crate::trials::{Flippable, Subject, Trials, Trouble, assert_place_named};

const TRIALS: Trials = Trials { steps: 16, seeds: 3 };

#[derive(Clone, Default)]
struct Log {
    count: usize,
    model: Model,
    /// The model if the operation in flight has happened.
    doubt: Option<Model>,
    /// The model before the last change.
    before: Model,
}

impl Model {
    /// As far as the log tells from memory.
    fn is_shown_by(&self, log: &RaftLog) -> bool {
        (log.base(), log.last_index(), log.hard_state())
            == (self.base, self.last(), self.hard_state)
    }

    fn brief(&self) -> String {
        let places: Vec<_> = self.entries.iter().map(|entry| (entry.index, entry.term)).collect();
        format!("{:?} {:?} {places:?}", self.base, self.hard_state)
    }
}

impl Log {
    fn next_action(&mut self) -> Action {
        const ACTIONS: [Action; 16] = [
            Action::Append { back: 0, count: 2, size: 300 },
            Action::Append { back: 1, count: 2, size: 5000 },
            Action::Commit { ahead: 2 },
            Action::Append { back: 0, count: 1, size: 14_000 },
            Action::Append { back: 2, count: 3, size: 50 },
            Action::Commit { ahead: 9 },
            Action::Append { back: 0, count: 5, size: 2500 },
            Action::Compact { behind: 0 },
            Action::Append { back: 0, count: 1, size: 33_000 },
            Action::Commit { ahead: 4 },
            Action::Compact { behind: 1 },
            Action::Append { back: 0, count: 2, size: 9000 },
            Action::Restart { ahead: 3 },
            Action::Append { back: 0, count: 3, size: 9000 },
            Action::Commit { ahead: 1 },
            Action::Append { back: 1, count: 2, size: 4000 },
        ];
        self.count += 1;
        ACTIONS[(self.count - 1) % ACTIONS.len()].clone()
    }
}

impl Subject for Log {
    type Open = RaftLog;

    fn open(&mut self, disk: &SimDisk) -> Result<RaftLog, Trouble> {
        super::open(disk).map_err(|error| Trouble::of(&error))
    }

    fn step(&mut self, log: &mut RaftLog) -> Result<(), Trouble> {
        let usable = log.failure().is_none();
        // A compaction that has nothing to do would be no test of a closed log.
        let action =
            if usable { self.next_action() } else { Action::Append { back: 0, count: 1, size: 9 } };
        let (next, done) = self.model.step(&action, log);
        match &done {
            Ok(()) => self.before = std::mem::replace(&mut self.model, next),
            // A compaction counts once its marker is written, even if the space does not come back.
            Err(_) if next.is_shown_by(log) && !self.model.is_shown_by(log) => self.model = next,
            Err(_) if usable => self.doubt = Some(next),
            Err(_) => {}
        }
        done.map_err(|error| Trouble::of(&error))
    }

    fn settle(&mut self, log: &RaftLog) {
        let found = Model::of(log);
        if self.doubt.take().is_some_and(|doubt| doubt == found) {
            self.model = found;
        }
        self.read(log);
        assert!(log.cut().is_none() || log.is_suspect());
    }

    fn read(&self, log: &RaftLog) {
        let found = Model::of(log);
        assert!(
            found == self.model,
            "found {}\nexpected {}\nin doubt {}",
            found.brief(),
            self.model.brief(),
            self.doubt.as_ref().map(Model::brief).unwrap_or_default()
        );
    }

    fn failure(&self, log: &RaftLog) -> Option<String> {
        log.failure()
    }
}

impl Flippable for Log {
    fn settle_flipped(&mut self, opened: Result<RaftLog, Trouble>, path: &str, offset: u64) {
        let log = match opened {
            Ok(log) => log,
            Err(trouble) => return assert_place_named(&trouble, path, offset),
        };
        let found = Model::of(&log);
        let shortened = found == self.before && log.is_suspect();
        assert!(found == self.model || shortened, "{path} {offset}: silently something else");
    }
}

#[test]
fn a_crash_at_any_point_loses_nothing_acknowledged() {
    TRIALS.crash_everywhere(Log::default);
}

#[test]
fn what_a_new_process_shows_outlives_a_power_cut() {
    TRIALS.kill_everywhere(Log::default);
}

#[test]
fn a_failed_sync_closes_the_log_and_a_restart_is_honest() {
    TRIALS.fail_every_sync(Log::default);
}

#[test]
fn a_full_disk_refuses_and_passes() {
    TRIALS.fill_everywhere(Log::default);
}

#[test]
fn a_flipped_bit_is_named_or_makes_the_log_suspect() {
    let trials = Trials { steps: 45, ..TRIALS };
    trials.flip_bits(Log::default, |_, offset, byte| match offset % 4096 {
        // Every byte of a header, and of the payload some.
        0..120 => byte != 0 || offset.is_multiple_of(7),
        _ => offset.is_multiple_of(331),
    });
}
