//! A thread that writes full frames, so that who fills them goes on meanwhile.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Weak};
use std::thread::Builder;

use super::{Inner, PutError, lock};

/// Wakes the thread. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct WriteBehind {
    wake: SyncSender<()>,
}

impl WriteBehind {
    /// What wakes the thread, and what the thread waits for.
    pub(super) fn new() -> (Self, Receiver<()>) {
        // One word is enough: it writes everything that was handed over.
        let (wake, woken) = sync_channel(1);
        (Self { wake }, woken)
    }

    /// Starts the thread; `None` where there can be none, so that frames are written by who fills them.
    pub(super) fn start(inner: &Arc<Inner>) -> Option<Self> {
        let (behind, woken) = Self::new();
        let inner = Arc::downgrade(inner);
        match Builder::new().name("block-write".into()).spawn(move || run(&inner, &woken)) {
            Ok(_) => Some(behind),
            Err(error) => {
                tracing::warn!(%error, "no thread for writing; blocks are written by who puts them");
                None
            }
        }
    }

    fn wake(&self) -> bool {
        !matches!(self.wake.try_send(()), Err(TrySendError::Disconnected(())))
    }
}

fn run(inner: &Weak<Inner>, woken: &Receiver<()>) {
    while woken.recv().is_ok() {
        let Some(inner) = inner.upgrade() else { return };
        inner.write_behind();
    }
}

impl Inner {
    /// What the thread does when it is woken.
    pub(super) fn write_behind(&self) {
        if let Err(error) = self.flush_handed_over() {
            // The frame stays in memory; the next put or sync tries it again, and hears of it.
            tracing::debug!(%error, "a frame could not be written");
        }
    }

    /// Makes room behind the frame that is full: hands it over, or writes it here where nobody else does
    /// or where an earlier one still waits.
    pub(super) fn make_room(&self, sequence: u64) -> Result<(), PutError> {
        if let Some(behind) = self.behind.get() {
            let flusher = lock(&self.flusher);
            self.check_usable()?;
            let handed_over = self.hand_over(&flusher, sequence);
            drop(flusher);
            if handed_over && behind.wake() {
                return Ok(());
            }
        }
        self.flush_through(sequence).map(drop)
    }
}
