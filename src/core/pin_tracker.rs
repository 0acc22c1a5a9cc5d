//! One holder's machine: makes what is durable here match what the cluster asks this node to hold, for
//! ever, and tells the cluster the truth about it.
//!
//! Desired comes from the node's view, actual from its journal and its fetches; every step is a
//! consequence of the difference, so a restart at any point continues where things stand. Three rules:
//!
//! - An outcome is reported only when it is durable: `Fetch`, then `Record`, then `Report`.
//! - Whenever the truth differs from what is committed, it is reported, again and again until the
//!   committed word agrees: also that a copy is gone that was thought to be there.
//! - Nothing is forgotten merely because it is not known to be desired: only an explicit word, or a
//!   whole view that does not contain it, releases content. A word older than the assignment under which
//!   content was recorded says nothing of it: after a restart, or from a master that lags, a view may be
//!   one that did not know of it yet.
//!
//! Slow content has a lane of its own, and whatever holds a place for too long gives its turn to those
//! that wait, so content that nobody can deliver never keeps the rest from being fetched.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::id::Cid;
use crate::pin::{ReplicaReport, ReplicaState};

mod lanes;
mod messages;

use lanes::{Lane, Lanes, Place};
pub use messages::{Config, Desire, Effect, FailureClass, Glance, Held, Input, Trouble};

/// Entries looked at in one step, for each of two reasons.
pub const SLICE: usize = 256;

#[derive(Clone, PartialEq, Eq, Debug)]
enum Want {
    /// Recorded here, and no view that is new enough has said anything of it yet.
    Unknown,
    Held(Desire),
    Released,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Local {
    Absent,
    Queued(Place),
    Fetching { attempt: u64, lane: Lane, sources_grew: bool },
    Recording { again_ms: u64 },
    Complete,
    Forgetting { again_ms: u64 },
    GivenUp { reason: String },
}

#[derive(Clone, Debug)]
struct Entry {
    want: Want,
    local: Local,
    /// The newest assignment that stands in the journal; 0: none.
    recorded: u64,
    /// When a newer one may be written there again; 0: at once.
    record_ms: u64,
    failures: u32,
    last_failure: Option<String>,
    /// When the truth may be reported again; 0: at once.
    report_ms: u64,
    /// When the timeline looks at it again.
    due_ms: Option<u64>,
}

impl Entry {
    fn new(want: Want, local: Local) -> Self {
        Self {
            want,
            local,
            recorded: 0,
            record_ms: 0,
            failures: 0,
            last_failure: None,
            report_ms: 0,
            due_ms: None,
        }
    }

    fn truth(&self) -> ReplicaState {
        match &self.local {
            Local::Complete => ReplicaState::Pinned,
            Local::GivenUp { reason } => ReplicaState::failed(reason),
            _ => ReplicaState::Assigned,
        }
    }

    fn trouble<'a>(&'a self, cid: &'a Cid) -> Option<Trouble<'a>> {
        let reason = self.last_failure.as_deref()?;
        let next_ms = match &self.local {
            Local::Queued(place) => Some(place.ready_ms),
            _ => None,
        };
        Some(Trouble { cid, failures: self.failures, reason, next_ms })
    }

    /// What the cluster must still learn.
    fn news(&self) -> Option<ReplicaReport> {
        let Want::Held(desire) = &self.want else { return None };
        if self.local == Local::Complete && desire.granted > self.recorded {
            // Said when it is durable that this copy is held for this assignment.
            return None;
        }
        let state = self.truth();
        (!state.is_same_kind(&desire.committed)).then(|| ReplicaReport {
            cid: desire.cid.clone(),
            granted: desire.granted,
            state,
        })
    }
}

/// The tracker; see the module. It has an entry for each pin in the node's view and for each root that is
/// being forgotten; everything else in it is bounded by that.
pub struct PinTracker {
    config: Config,
    random: ChaCha8Rng,
    restored: bool,
    entries: BTreeMap<Cid, Entry>,
    lanes: Lanes,
    last_attempt: u64,
    /// Entries to look at now.
    dirty: BTreeSet<Cid>,
    /// Entries to look at again at a time.
    timeline: BTreeSet<(u64, Cid)>,
    /// Entries whose truth is not committed.
    unconfirmed: BTreeSet<Cid>,
    /// Where the next heartbeat's reports begin.
    told_up_to: Option<Cid>,
}

impl PinTracker {
    /// A tracker that knows nothing yet; `seed` makes its jitter.
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            config,
            random: ChaCha8Rng::seed_from_u64(seed),
            restored: false,
            entries: BTreeMap::new(),
            lanes: Lanes::default(),
            last_attempt: 0,
            dirty: BTreeSet::new(),
            timeline: BTreeSet::new(),
            unconfirmed: BTreeSet::new(),
            told_up_to: None,
        }
    }

    /// Takes one input. A step looks at no more than twice [`SLICE`] entries and emits no more than two
    /// effects for each, two for each place in the lanes, and one `WakeAt`; what is left asks for the next
    /// step at once.
    pub fn step(&mut self, now_ms: u64, input: Input, out: &mut Vec<Effect>) {
        self.take(now_ms, input);
        if !self.restored {
            return;
        }
        let due: Vec<Cid> = self.take_due(now_ms);
        for cid in due {
            self.reconcile(now_ms, &cid, out);
        }
        for _ in 0..SLICE {
            let Some(cid) = self.dirty.pop_first() else { break };
            self.reconcile(now_ms, &cid, out);
        }
        self.pass_turns(now_ms, out);
        self.start_fetches(now_ms, out);
        out.push(Effect::WakeAt(self.next_wake_ms(now_ms)));
    }

    /// Outcomes that are not committed yet, for the next heartbeat: at most `limit`, going on where the
    /// last call ended, so that none is left out for ever.
    pub fn next_unconfirmed(&mut self, limit: usize) -> Vec<ReplicaReport> {
        let from = self.told_up_to.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.unconfirmed.range::<Cid, _>((from, Bound::Unbounded));
        let start = self.unconfirmed.iter();
        let cids: Vec<Cid> =
            rest.chain(start).take(limit.min(self.unconfirmed.len())).cloned().collect();
        self.told_up_to = cids.last().cloned();
        cids.iter().filter_map(|cid| self.entries.get(cid)?.news()).collect()
    }

    /// What it is at.
    pub fn glance(&self) -> Glance {
        Glance {
            tracked: self.entries.len(),
            fetching_fast: self.lanes.fetching(Lane::Fast),
            fetching_slow: self.lanes.fetching(Lane::Slow),
            queued: self.lanes.queued(),
            unconfirmed: self.unconfirmed.len(),
        }
    }

    /// Whether every block below the root is durable and recorded here.
    pub fn is_complete(&self, cid: &Cid) -> bool {
        self.entries.get(cid).is_some_and(|entry| entry.local == Local::Complete)
    }

    /// Roots that failed at least once and are not complete, at most `limit` after `after`.
    pub fn troubles(&self, after: Option<&Cid>, limit: usize) -> Vec<Trouble<'_>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let entries = self.entries.range::<Cid, _>((from, Bound::Unbounded));
        entries.filter_map(|(cid, entry)| entry.trouble(cid)).take(limit).collect()
    }
}

/// Taking inputs in: what changes, and which entries have to be looked at.
impl PinTracker {
    fn take(&mut self, now_ms: u64, input: Input) {
        match input {
            Input::Restored { complete } => self.restore(complete),
            Input::View { index, desires } => self.take_view(now_ms, index, desires),
            Input::Desired(desire) => self.desire(now_ms, desire),
            Input::NotDesired { index, cid } => self.release(index, &cid),
            Input::FetchDone { cid, attempt } => {
                self.finish_fetch(&cid, attempt, |entry| {
                    entry.last_failure = None;
                    entry.local = Local::Recording { again_ms: 0 };
                });
            }
            Input::FetchFailed { cid, attempt, reason, class } => {
                self.fail(now_ms, &cid, attempt, reason, class);
            }
            Input::Recorded(Held { cid, granted }) => self.advance(&cid, |entry| {
                if matches!(entry.local, Local::Recording { .. }) {
                    entry.local = Local::Complete;
                }
                if entry.local == Local::Complete {
                    entry.recorded = entry.recorded.max(granted);
                    entry.record_ms = 0;
                }
            }),
            Input::Forgotten { cid } => self.advance(&cid, |entry| {
                if matches!(entry.local, Local::Forgetting { .. }) {
                    entry.local = Local::Absent;
                    entry.recorded = 0;
                }
            }),
            Input::Damaged { cid } => self.advance(&cid, |entry| {
                if entry.local == Local::Complete {
                    entry.local = Local::Forgetting { again_ms: 0 };
                    entry.report_ms = 0;
                }
            }),
            Input::Tick => {}
        }
    }

    fn restore(&mut self, complete: Vec<Held>) {
        self.restored = true;
        for Held { cid, granted } in complete {
            let entry =
                self.entries.entry(cid).or_insert_with(|| Entry::new(Want::Unknown, Local::Absent));
            entry.local = Local::Complete;
            entry.recorded = granted;
        }
        self.dirty.extend(self.entries.keys().cloned());
    }

    fn take_view(&mut self, now_ms: u64, index: u64, desires: Vec<Desire>) {
        let named: BTreeSet<&Cid> = desires.iter().map(|desire| &desire.cid).collect();
        let unnamed = self.entries.keys().filter(|cid| !named.contains(cid)).cloned();
        let unnamed: Vec<Cid> = unnamed.collect();
        unnamed.iter().for_each(|cid| self.release(index, cid));
        desires.into_iter().for_each(|desire| self.desire(now_ms, desire));
    }

    fn desire(&mut self, now_ms: u64, desire: Desire) {
        let cid = desire.cid.clone();
        let entry = self
            .entries
            .entry(cid.clone())
            .or_insert_with(|| Entry::new(Want::Released, Local::Absent));
        let (anew, grew) = match &entry.want {
            Want::Held(old) if desire.granted < old.granted => return,
            Want::Held(old) if desire.granted == old.granted => {
                (false, desire.sources.iter().any(|node| !old.sources.contains(node)))
            }
            _ => (true, true),
        };
        if anew {
            entry.failures = 0;
            entry.report_ms = 0;
            entry.record_ms = 0;
            if matches!(entry.local, Local::GivenUp { .. }) {
                entry.local = Local::Absent;
            }
        }
        match &mut entry.local {
            // Whoever has a new source need not wait for its next attempt.
            Local::Queued(place) if grew => self.lanes.hurry(&cid, place, now_ms),
            Local::Fetching { sources_grew, .. } => *sources_grew |= grew,
            _ => {}
        }
        entry.want = Want::Held(desire);
        self.dirty.insert(cid);
    }

    /// Whether a root is asked for or held here: whatever happens to another is none of its business.
    pub fn is_tracking(&self, cid: &Cid) -> bool {
        self.entries.contains_key(cid)
    }

    fn release(&mut self, index: u64, cid: &Cid) {
        self.advance(cid, |entry| {
            let is_old = index < entry.recorded;
            entry.want = if is_old { Want::Unknown } else { Want::Released };
        });
    }

    fn advance(&mut self, cid: &Cid, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.entries.get_mut(cid) {
            change(entry);
            self.dirty.insert(cid.clone());
        }
    }

    /// Takes the answer of a fetch, unless the fetch was cancelled or replaced.
    fn finish_fetch(&mut self, cid: &Cid, attempt: u64, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.entries.get_mut(cid) else { return };
        match entry.local {
            Local::Fetching { attempt: current, lane, .. } if current == attempt => {
                self.lanes.leave(cid, lane);
                change(entry);
                self.dirty.insert(cid.clone());
            }
            _ => {}
        }
    }

    fn fail(&mut self, now_ms: u64, cid: &Cid, attempt: u64, reason: String, class: FailureClass) {
        let Self { entries, lanes, random, config, dirty, .. } = self;
        let Some(entry) = entries.get_mut(cid) else { return };
        let Local::Fetching { attempt: current, lane, sources_grew } = entry.local else { return };
        if current != attempt {
            return;
        }
        lanes.leave(cid, lane);
        entry.failures = entry.failures.saturating_add(1);
        let lasting = matches!(class, FailureClass::Full | FailureClass::Permanent);
        entry.local = if lasting || entry.failures >= config.attempts {
            Local::GivenUp { reason: reason.clone() }
        } else {
            let wait_ms =
                if sources_grew { 0 } else { back_off_ms(config, random, entry.failures) };
            Local::Queued(lanes.enqueue(cid, Lane::Slow, now_ms.saturating_add(wait_ms)))
        };
        entry.last_failure = Some(reason);
        dirty.insert(cid.clone());
    }
}

/// Acting on the difference between desired and actual.
impl PinTracker {
    fn reconcile(&mut self, now_ms: u64, cid: &Cid, out: &mut Vec<Effect>) {
        let Some(mut entry) = self.entries.remove(cid) else { return };
        if let Some(due_ms) = entry.due_ms.take() {
            self.timeline.remove(&(due_ms, cid.clone()));
        }
        let mut due_ms = self.act(now_ms, cid, &mut entry, out);
        match entry.news() {
            Some(report) => {
                self.unconfirmed.insert(cid.clone());
                if entry.report_ms <= now_ms {
                    entry.report_ms = now_ms.saturating_add(self.config.repeat_ms);
                    out.push(Effect::Report(report));
                }
                due_ms = Some(due_ms.map_or(entry.report_ms, |at_ms| at_ms.min(entry.report_ms)));
            }
            None => {
                self.unconfirmed.remove(cid);
                entry.report_ms = 0;
            }
        }
        if let Some(due_ms) = due_ms {
            self.timeline.insert((due_ms, cid.clone()));
        }
        entry.due_ms = due_ms;
        if entry.want != Want::Released || entry.local != Local::Absent {
            self.entries.insert(cid.clone(), entry);
        }
    }

    /// Moves one entry on; returns when an unanswered intent is repeated.
    fn act(
        &mut self,
        now_ms: u64,
        cid: &Cid,
        entry: &mut Entry,
        out: &mut Vec<Effect>,
    ) -> Option<u64> {
        let again_ms = now_ms.saturating_add(self.config.repeat_ms);
        match (&entry.want, &mut entry.local) {
            (Want::Held(desire), Local::Absent) => {
                entry.local = match &desire.committed {
                    // It gave up on this very assignment, perhaps in an earlier run.
                    ReplicaState::Failed { reason } => Local::GivenUp { reason: reason.clone() },
                    _ => Local::Queued(self.lanes.enqueue(cid, self.lane(desire), now_ms)),
                };
                None
            }
            (Want::Released, Local::Queued(place)) => {
                self.lanes.dequeue(cid, place);
                entry.local = Local::Absent;
                None
            }
            (Want::Released, Local::Fetching { attempt, lane, .. }) => {
                self.lanes.leave(cid, *lane);
                out.push(Effect::Cancel { cid: cid.clone(), attempt: *attempt });
                entry.local = Local::Absent;
                None
            }
            (Want::Released, Local::GivenUp { .. }) => {
                entry.local = Local::Absent;
                None
            }
            (Want::Released, Local::Complete) => {
                out.push(Effect::Forget { cid: cid.clone() });
                entry.local = Local::Forgetting { again_ms };
                Some(again_ms)
            }
            (want, Local::Recording { again_ms: due_ms }) => {
                if *due_ms <= now_ms {
                    let granted = if let Want::Held(desire) = want { desire.granted } else { 0 };
                    out.push(Effect::Record(Held { cid: cid.clone(), granted }));
                    *due_ms = again_ms;
                }
                Some(*due_ms)
            }
            (Want::Held(desire), Local::Complete) if desire.granted > entry.recorded => {
                if entry.record_ms <= now_ms {
                    out.push(Effect::Record(Held { cid: cid.clone(), granted: desire.granted }));
                    entry.record_ms = again_ms;
                }
                Some(entry.record_ms)
            }
            (_, Local::Forgetting { again_ms: due_ms }) => {
                if *due_ms <= now_ms {
                    out.push(Effect::Forget { cid: cid.clone() });
                    *due_ms = again_ms;
                }
                Some(*due_ms)
            }
            _ => None,
        }
    }

    fn lane(&self, desire: &Desire) -> Lane {
        match desire.size_bytes {
            Some(size_bytes) if size_bytes >= self.config.slow_bytes => Lane::Slow,
            _ => Lane::Fast,
        }
    }

    fn take_due(&mut self, now_ms: u64) -> Vec<Cid> {
        let due = self.timeline.iter().take_while(|(at_ms, _)| *at_ms <= now_ms);
        due.take(SLICE).map(|(_, cid)| cid.clone()).collect()
    }

    /// Takes places from fetches that have had their turn while others wait. They go on later where they
    /// stopped, in the slow lane, and it does not count as a failure.
    fn pass_turns(&mut self, now_ms: u64, out: &mut Vec<Effect>) {
        for (lane, turn_ms) in self.turns() {
            let free = self.places(lane).saturating_sub(self.lanes.fetching(lane));
            let ready = self.lanes.ready(lane, now_ms, self.places(lane));
            let waiting = ready.saturating_sub(free);
            for cid in self.lanes.overdue(lane, now_ms, turn_ms, waiting) {
                let Some(entry) = self.entries.get_mut(&cid) else { continue };
                let Local::Fetching { attempt, lane, .. } = entry.local else { continue };
                self.lanes.leave(&cid, lane);
                out.push(Effect::Cancel { cid: cid.clone(), attempt });
                entry.local = Local::Queued(self.lanes.enqueue(&cid, Lane::Slow, now_ms));
            }
        }
    }

    fn start_fetches(&mut self, now_ms: u64, out: &mut Vec<Effect>) {
        for lane in [Lane::Fast, Lane::Slow] {
            while self.lanes.fetching(lane) < self.places(lane) {
                let Some(cid) = self.lanes.pop_ready(lane, now_ms) else { break };
                let Some(entry) = self.entries.get_mut(&cid) else { continue };
                let Want::Held(desire) = &entry.want else {
                    // Released a moment ago; reconciling it finds it out of the queue.
                    entry.local = Local::Absent;
                    self.dirty.insert(cid);
                    continue;
                };
                self.last_attempt += 1;
                let attempt = self.last_attempt;
                entry.local = Local::Fetching { attempt, lane, sources_grew: false };
                let (granted, sources) = (desire.granted, desire.sources.clone());
                self.lanes.enter(&cid, lane, now_ms);
                out.push(Effect::Fetch { cid, attempt, granted, sources });
            }
        }
    }

    fn turns(&self) -> [(Lane, u64); 2] {
        [(Lane::Fast, self.config.fast_turn_ms), (Lane::Slow, self.config.slow_turn_ms)]
    }

    fn places(&self, lane: Lane) -> usize {
        match lane {
            Lane::Fast => self.config.fast.max(1),
            Lane::Slow => self.config.slow.max(1),
        }
    }

    fn next_wake_ms(&self, now_ms: u64) -> Option<u64> {
        if !self.dirty.is_empty() {
            return Some(now_ms);
        }
        let timeline = self.timeline.first().map(|(at_ms, _)| *at_ms);
        let lanes = self
            .turns()
            .into_iter()
            .filter_map(|(lane, turn_ms)| self.lanes.next_ms(lane, self.places(lane), turn_ms));
        timeline.into_iter().chain(lanes).min().map(|at_ms| at_ms.max(now_ms))
    }
}

/// Doubling wait with jitter: between half of it and all of it.
fn back_off_ms(config: &Config, random: &mut ChaCha8Rng, failures: u32) -> u64 {
    let doublings = failures.saturating_sub(1).min(20);
    let wait_ms = config.retry_ms.saturating_mul(1 << doublings).min(config.retry_ms_max);
    let half_ms = wait_ms / 2;
    wait_ms - half_ms + random.next_u64() % (half_ms + 1)
}

#[cfg(test)]
mod tests;
