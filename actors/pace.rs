//! How fast this node fetches what it is to hold.

use std::time::Duration;

use ipfs_kit_core::limits::BLOCKS_ANSWER_BYTES_MAX;
use ipfs_kit_core::throttle::Throttle;
use tokio::time::Instant;

use crate::shared::Shared;

/// What a fetch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// No holder has a durable copy yet.
    FirstCopy,
    /// One has; this makes up for a loss, or adds to it.
    FurtherCopy,
}

/// What an answer is thought to bring, for each block, before it has come.
const BLOCK_BYTES_GUESS: usize = 256 * 1024;

/// What was taken for an answer under way.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Taken {
    errand: Errand,
    bytes: u64,
}

/// The limits of a node; clones share what was moved.
#[derive(Clone)]
pub struct Pace {
    all: Shared<Throttle>,
    further: Shared<Throttle>,
    began: Instant,
}

impl Pace {
    /// Bytes a second for all fetches together, and for those of further copies; 0 is no limit.
    pub fn new(all_bytes_s: u64, further_bytes_s: u64) -> Self {
        Self {
            all: Shared::new(Throttle::new(all_bytes_s)),
            further: Shared::new(Throttle::new(further_bytes_s)),
            began: Instant::now(),
        }
    }

    /// How long to wait before more is asked for; `None`: not at all.
    pub fn wait(&self, errand: Errand) -> Option<Duration> {
        let now_ms = self.now_ms();
        let all = self.all.read(|throttle| throttle.wait_ms(now_ms));
        let further = match errand {
            Errand::FirstCopy => 0,
            Errand::FurtherCopy => self.further.read(|throttle| throttle.wait_ms(now_ms)),
        };
        Some(all.max(further)).filter(|wait_ms| *wait_ms > 0).map(Duration::from_millis)
    }

    /// So many blocks are asked for. What comes is told with [`Pace::came`], nothing if nothing does.
    pub fn asked(&self, errand: Errand, blocks: usize) -> Taken {
        let bytes = (blocks * BLOCK_BYTES_GUESS).min(BLOCKS_ANSWER_BYTES_MAX) as u64;
        let now_ms = self.now_ms();
        self.each(errand, |throttle| throttle.take(now_ms, bytes));
        Taken { errand, bytes }
    }

    /// So many bytes came.
    pub fn came(&self, taken: Taken, bytes: u64) {
        self.each(taken.errand, |throttle| throttle.put_right(taken.bytes, bytes));
    }

    fn each(&self, errand: Errand, change: impl Fn(&mut Throttle)) {
        self.all.write(&change);
        if errand == Errand::FurtherCopy {
            self.further.write(&change);
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
