//! The passing of time: short steps, faults when they are due, checks after every step.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use ipfs_kit_core::invariant::Violation;

use crate::checkers::Checkers;
use crate::cluster::Cluster;
use crate::faults::{Fault, Planned, Schedule, disturb};
use crate::ledger::Ledger;
use crate::trace::Trace;

/// Virtual time between two checks.
const STEP: Duration = Duration::from_millis(20);

/// A run stops at the first step that breaks a promise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} promises are broken, the first: {}", found.len(), first(found))]
pub struct Broken {
    /// What was found.
    pub found: Vec<Violation>,
}

fn first(found: &[Violation]) -> String {
    found.first().map(ToString::to_string).unwrap_or_default()
}

impl Broken {
    /// One broken promise.
    #[must_use]
    pub fn new(id: &'static str, detail: String) -> Self {
        Self { found: vec![Violation { id, detail }] }
    }
}

/// A cluster, its users' ledger, its checkers and what is still to go wrong.
#[derive(Debug)]
pub struct Stage {
    /// The cluster. Borrowed for moments only, never across an await.
    pub cluster: Rc<RefCell<Cluster>>,
    /// What users were told.
    pub ledger: Rc<RefCell<Ledger>>,
    /// The run's seed.
    pub seed: u64,
    trace: Trace,
    checkers: Checkers,
    schedule: VecDeque<Planned>,
}

impl Stage {
    /// A stage without faults.
    #[must_use]
    pub fn new(cluster: Cluster) -> Self {
        Self {
            seed: cluster.world.seed,
            trace: cluster.world.trace.clone(),
            cluster: Rc::new(RefCell::new(cluster)),
            ledger: Rc::default(),
            checkers: Checkers::default(),
            schedule: VecDeque::new(),
        }
    }

    /// Virtual milliseconds since the run began.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.trace.now_ms()
    }

    /// Notes a step of the scenario in the trace.
    pub fn tell(&self, what: &str) {
        self.trace.event(format_args!("— {what}"));
    }

    /// Lets these go wrong at their time.
    pub fn plan(&mut self, schedule: Schedule) {
        self.schedule = schedule.faults.into();
    }

    /// Lets one step of time pass.
    pub async fn step(&mut self) -> Result<(), Broken> {
        tokio::time::sleep(STEP).await;
        let now_ms = self.now_ms();
        while self.schedule.front().is_some_and(|planned| planned.at_ms <= now_ms) {
            if let Some(planned) = self.schedule.pop_front() {
                self.apply(&planned.fault);
            }
        }
        self.cluster.borrow_mut().tend();
        let cluster = self.cluster.borrow();
        let mut found = self.checkers.observe(&cluster, &self.ledger.borrow());
        found.extend(self.ledger.borrow_mut().take_violations());
        if found.is_empty() { Ok(()) } else { Err(Broken { found }) }
    }

    /// Does to the cluster what a fault says.
    pub fn apply(&self, fault: &Fault) {
        self.trace.event(format_args!("fault {fault:?}"));
        let mut cluster = self.cluster.borrow_mut();
        match fault {
            Fault::Crash { host, outage } => cluster.crash(*host, *outage),
            Fault::Restart { host } => cluster.start(*host),
            other => disturb(&cluster, other),
        }
    }

    /// Lets time pass.
    pub async fn pass(&mut self, ms: u64) -> Result<(), Broken> {
        let until_ms = self.now_ms() + ms;
        while self.now_ms() < until_ms {
            self.step().await?;
        }
        Ok(())
    }

    /// Lets time pass until a request is answered.
    pub async fn during<T>(&mut self, request: impl Future<Output = T>) -> Result<T, Broken> {
        let mut request = pin!(request);
        loop {
            tokio::select! {
                biased;
                answer = &mut request => return Ok(answer),
                step = self.step() => step?,
            }
        }
    }

    /// Lets time pass until something is so; not in time is a broken promise of its own. The look says what
    /// is missing as long as something is.
    pub async fn until<T>(
        &mut self,
        what: &str,
        within_ms: u64,
        look: impl FnMut(&Cluster) -> Result<T, String>,
    ) -> Result<T, Broken> {
        self.until_every(0, what, within_ms, look).await
    }

    /// As [`Stage::until`], for a look that costs much: so many milliseconds pass between two of them.
    pub async fn until_every<T>(
        &mut self,
        every_ms: u64,
        what: &str,
        within_ms: u64,
        mut look: impl FnMut(&Cluster) -> Result<T, String>,
    ) -> Result<T, Broken> {
        let until_ms = self.now_ms() + within_ms;
        loop {
            let missing = match look(&self.cluster.borrow()) {
                Ok(seen) => return Ok(seen),
                Err(missing) => missing,
            };
            if self.now_ms() >= until_ms {
                let detail = format!("{what}: not within {within_ms} ms, {missing}");
                return Err(Broken::new("LIVE-1", detail));
            }
            self.step().await?;
            self.pass(every_ms).await?;
        }
    }

    /// What was checked so far.
    #[must_use]
    pub fn checkers(&self) -> &Checkers {
        &self.checkers
    }
}
