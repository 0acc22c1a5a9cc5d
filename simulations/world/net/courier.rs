//! The one task that moves everything, and the driver of each machine's run.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ipfs_kit_actors::ports::{Inbound, NetworkError, NetworkRun, Verdict};
use tokio::sync::{Notify, mpsc, oneshot};

use super::gossip::Message;
use super::state::{Event, Run, State};
use super::{HostId, INBOUND_CAPACITY, Outage, SimNetwork};

/// Something that a node will say about what it was handed.
#[derive(Debug)]
pub(super) enum Watch {
    Answer {
        exchange: u64,
        from: HostId,
        to: HostId,
        conn: Option<u64>,
        answer: oneshot::Receiver<Bytes>,
    },
    Verdict {
        at: HostId,
        from: HostId,
        message: Arc<Message>,
        answer: oneshot::Receiver<Verdict>,
    },
}

impl SimNetwork {
    /// Delivers everything at its time, for ever. Runs inside a `LocalSet` of a runtime with paused time.
    pub async fn courier(self) {
        loop {
            let next = self.state().next_event();
            match next {
                Ok(event) => {
                    let watch = self.state().deliver(event);
                    if let Some(watch) = watch {
                        tokio::task::spawn_local(self.clone().listen(watch));
                    }
                }
                Err(Some(at_ms)) => {
                    let at = self.state().trace.start() + Duration::from_millis(at_ms);
                    tokio::select! {
                        biased;
                        () = self.wake.notified() => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
                Err(None) => self.wake.notified().await,
            }
        }
    }

    async fn listen(self, watch: Watch) {
        match watch {
            Watch::Answer { exchange, from, to, conn, answer } => {
                let answer = answer.await.ok();
                self.state().answered(exchange, from, to, conn, answer);
            }
            Watch::Verdict { at, from, message, answer } => {
                let verdict = answer.await.ok();
                self.state().judged(at, from, &message, verdict);
            }
        }
    }
}

impl State {
    fn deliver(&mut self, event: Event) -> Option<Watch> {
        match event {
            Event::Request { exchange, from, to, conn, bytes } => {
                return self.request_arrives(exchange, from, to, conn, bytes);
            }
            Event::Gossip { from, to, conn, message, copy } => {
                return self.gossip_arrives(from, to, conn, message, copy);
            }
            Event::Answer { exchange, from, to, conn, outcome } => {
                self.answer_arrives(exchange, from, to, conn, outcome);
            }
            Event::Frame { from, to, conn, lane } => self.frame_arrives(from, to, conn, lane),
            Event::DialArrives { from, to, dial, started_ms } => {
                self.dial_arrives(from, to, dial, started_ms);
            }
            Event::DialTimesOut { from, to, dial } => self.dial_times_out(from, to, dial),
            Event::Redial { from, to, dial } => self.redial(from, to, dial),
            Event::KeepAliveEnds { pair, conn, at, since_ms } => {
                self.keep_alive_ends(pair, conn, at, since_ms);
            }
            Event::Closed { pair, conn, at, reason } => self.close_end(pair, conn, at, reason),
        }
        None
    }
}

/// Begins a run of a machine's network; the one before, if any, ends.
pub(super) fn start_run(net: &SimNetwork, host: HostId) -> NetworkRun {
    let (queue, inbound) = mpsc::channel(INBOUND_CAPACITY);
    let ready = Arc::new(Notify::new());
    let id = {
        let mut state = net.state();
        state.end_run(host, Outage::Process);
        let id = state.number();
        state.trace.event(format_args!("{host} network starts"));
        state.host_mut(host).run = Some(Run {
            id,
            inbox: VecDeque::new(),
            queue: queue.clone(),
            ready: Arc::clone(&ready),
            failed: None,
        });
        state.dial_kept(host);
        id
    };
    let end = EndRun { net: net.clone(), host, id };
    let driver = Box::pin(async move { end.drive(&queue, &ready).await });
    NetworkRun { driver, inbound }
}

/// Ends the run when its driver is dropped, whether it was ever polled or not.
struct EndRun {
    net: SimNetwork,
    host: HostId,
    id: u64,
}

impl EndRun {
    async fn drive(
        &self,
        queue: &mpsc::Sender<Inbound>,
        ready: &Notify,
    ) -> Result<(), NetworkError> {
        let down = |reason: &str| NetworkError { reason: reason.to_owned() };
        loop {
            let taken = self.net.state().take_arrived(self.host, self.id);
            match taken {
                Ok(Some(inbound)) => {
                    queue.send(inbound).await.map_err(|_| down("nobody takes what comes in"))?;
                }
                Ok(None) => ready.notified().await,
                Err(reason) => return Err(down(reason)),
            }
        }
    }
}

impl Drop for EndRun {
    fn drop(&mut self) {
        let mut state = self.net.state();
        if state.host(self.host).run.as_ref().is_some_and(|run| run.id == self.id) {
            state.end_run(self.host, Outage::Process);
        }
    }
}
