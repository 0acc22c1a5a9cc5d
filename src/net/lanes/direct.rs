//! A lane's own TLS connection, written to by whoever sends.
//!
//! Through the swarm a message wakes the lane's task, which wakes the connection's task, on threads that may
//! be asleep; and it is wrapped twice, by Yamux and by Noise. For messages that somebody waits for, as in
//! consensus, that costs more than the way to the other machine. So such a lane gets a connection like those
//! for bulk calls, and a sender that finds it at rest writes to it at once, on its own thread and without
//! waiting. Everything else goes by way of the lane's queue, to the same connection; where none can be made,
//! the lane is a stream of the swarm.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use futures_util::io::AsyncWrite;
use tokio::sync::Notify;

#[cfg(test)]
mod tests;

/// Largest message that a sender writes itself; with its length it is one TLS record.
const AT_ONCE_BYTES: usize = 15 << 10;
pub(crate) type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// The connection of one lane to one peer, while there is one.
#[derive(Default)]
pub(crate) struct Direct {
    state: Mutex<State>,
    /// Something waits for the socket to take it.
    unflushed: Notify,
}

#[derive(Default)]
enum State {
    /// There is none.
    #[default]
    Missing,
    /// Everything written is on its way.
    Idle(Writer),
    /// Something waits for the socket to take it.
    Unflushed(Writer),
    /// A task writes to it.
    InHand,
}

impl Direct {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a message if that can be done without waiting; false if not.
    pub(crate) fn send(&self, message: &[u8]) -> bool {
        let mut state = self.state();
        let State::Idle(writer) = &mut *state else { return false };
        let Some(len) =
            u32::try_from(message.len()).ok().filter(|_| message.len() <= AT_ONCE_BYTES)
        else {
            return false;
        };
        let mut framed = Vec::with_capacity(size_of_val(&len) + message.len());
        framed.extend_from_slice(&len.to_be_bytes());
        framed.extend_from_slice(message);
        // Nobody waits here: if the socket is full, the lane's task goes on.
        let mut cx = Context::from_waker(Waker::noop());
        let written = Pin::new(&mut *writer).poll_write(&mut cx, &framed);
        let whole = matches!(written, Poll::Ready(Ok(len)) if len == framed.len());
        let flushed = if whole {
            Pin::new(writer).poll_flush(&mut cx)
        } else {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        };
        match flushed {
            Poll::Ready(Ok(())) => true,
            // It goes by the queue, whose task looks for another connection.
            Poll::Ready(Err(_)) => {
                *state = State::Missing;
                false
            }
            Poll::Pending => {
                if let State::Idle(writer) = std::mem::take(&mut *state) {
                    *state = State::Unflushed(writer);
                }
                self.unflushed.notify_one();
                true
            }
        }
    }

    /// Whether there is no connection.
    pub(super) fn is_missing(&self) -> bool {
        matches!(*self.state(), State::Missing)
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        matches!(*self.state(), State::Idle(_))
    }

    /// Takes the connection for a task that may wait for it.
    pub(super) fn take(&self) -> Option<Writer> {
        let mut state = self.state();
        match std::mem::replace(&mut *state, State::InHand) {
            State::Idle(writer) | State::Unflushed(writer) => Some(writer),
            other => {
                *state = other;
                None
            }
        }
    }

    /// Gives it back flushed, or says that it broke.
    pub(super) fn give_back(&self, writer: Option<Writer>) {
        *self.state() = writer.map_or(State::Missing, State::Idle);
    }

    /// Flushes whenever a sender could not; for ever. Can be dropped at any point and called again.
    pub(super) async fn flush_when_needed<T>(&self) -> T {
        loop {
            self.unflushed.notified().await;
            poll_fn(|cx| {
                let mut state = self.state();
                let State::Unflushed(writer) = &mut *state else { return Poll::Ready(()) };
                let flushed = ready!(Pin::new(writer).poll_flush(cx));
                if let State::Unflushed(writer) = std::mem::take(&mut *state)
                    && flushed.is_ok()
                {
                    *state = State::Idle(writer);
                }
                Poll::Ready(())
            })
            .await;
        }
    }
}
