//! Ordered lanes: a frame never overtakes the one before it, and is lost only with its connection.

use std::collections::VecDeque;

use bytes::Bytes;
use ipfs_kit_actors::ports::{Inbound, Keep, Lane, PeerEntry, SendError};
use ipfs_kit_core::id::NodeId;
use ipfs_kit_core::rights::may_send_raft;

use super::state::{Arrived, Event, State, fingerprint};
use super::{HostId, LANE_BYTES_MAX, LANE_FRAMES_MAX};

/// How long a lost packet holds up its lane, in milliseconds: TCP's retransmission timer.
const RETRANSMIT_MIN_MS: u64 = 200;
const RETRANSMIT_MAX_MS: u64 = 600;

/// What is under way on a lane, from sending until it has entered the receiver's queue.
#[derive(Debug, Default)]
pub(super) struct LaneQueue {
    conn: u64,
    under_way: VecDeque<Bytes>,
    frames: usize,
    bytes: usize,
    last_due_ms: u64,
}

/// Room that a frame takes on its lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Credit {
    from: HostId,
    lane: Lane,
    conn: u64,
    len_bytes: usize,
}

/// Whether a member has the right to a lane, as the machine that it sends to knows it.
fn may_use(lane: Lane, sender: &PeerEntry) -> bool {
    match lane {
        Lane::Raft => may_send_raft(sender.role, sender.raft),
    }
}

impl State {
    pub fn send(
        &mut self,
        from: HostId,
        node: NodeId,
        lane: Lane,
        bytes: Bytes,
    ) -> Result<(), SendError> {
        let Some(entry) = self.host(from).entry(node) else { return Err(SendError::NotConnected) };
        let (key, keep) = (entry.key, entry.keep);
        let Some(&to) = self.by_key.get(&key) else { return Err(SendError::NotConnected) };
        let Some(conn) = self.open_conn(from, to).filter(|_| self.is_up(from)) else {
            if keep == Keep::OnDemand {
                self.dial(from, to);
            }
            return Err(SendError::NotConnected);
        };
        let queue = self.lanes.entry((from, to, lane)).or_default();
        if queue.conn != conn {
            *queue = LaneQueue { conn, ..LaneQueue::default() };
        }
        if queue.frames >= LANE_FRAMES_MAX || queue.bytes + bytes.len() > LANE_BYTES_MAX {
            return Err(SendError::Full);
        }
        queue.frames += 1;
        queue.bytes += bytes.len();
        let len_bytes = bytes.len();
        queue.under_way.push_back(bytes);
        if self.rng.chance(self.weather.cut_per_mille) {
            self.cut_between(from, to, "the connection was reset");
            return Ok(());
        }
        self.schedule_frame(from, to, conn, lane, len_bytes);
        Ok(())
    }

    /// Lets one frame arrive after a while, not before the one ahead of it. Which one that is shows when it
    /// arrives: the first that is still under way.
    pub fn schedule_frame(
        &mut self,
        from: HostId,
        to: HostId,
        conn: u64,
        lane: Lane,
        len_bytes: usize,
    ) {
        let mut delay_ms = self.delay_ms(from, to, len_bytes);
        if self.rng.chance(self.weather.loss_per_mille) {
            delay_ms += self.rng.within(RETRANSMIT_MIN_MS..=RETRANSMIT_MAX_MS);
        }
        let now_ms = self.now_ms();
        let Some(queue) = self.lanes.get_mut(&(from, to, lane)).filter(|q| q.conn == conn) else {
            return;
        };
        queue.last_due_ms = queue.last_due_ms.max(now_ms + delay_ms);
        let due_ms = queue.last_due_ms;
        self.schedule(due_ms, Event::Frame { from, to, conn, lane });
    }

    pub fn frame_arrives(&mut self, from: HostId, to: HostId, conn: u64, lane: Lane) {
        if self.is_blocked(from, to) {
            self.hold(from, to, Event::Frame { from, to, conn, lane });
            return;
        }
        if !self.is_up(to) || self.open_conn(to, from) != Some(conn) {
            return;
        }
        let key = self.host(from).key;
        let Some(sender) = self.host(to).entry_by_key(&key) else { return };
        let (node, may) = (sender.node, may_use(lane, sender));
        let queue = self.lanes.get_mut(&(from, to, lane)).filter(|queue| queue.conn == conn);
        let Some(bytes) = queue.and_then(|queue| queue.under_way.pop_front()) else { return };
        let len_bytes = bytes.len();
        let credit = Credit { from, lane, conn, len_bytes };
        if !may {
            self.trace.event(format_args!("{to} refuses a frame of {node} on {lane:?}"));
            self.credit(to, credit);
            return;
        }
        let print = fingerprint(&bytes);
        self.stats.frames += 1;
        self.stats.bytes += len_bytes as u64;
        self.trace.event(format_args!("{from}>{to} {lane:?} {len_bytes}B {print}"));
        let inbound = Inbound::Frame { from: node, lane, frame: bytes };
        self.arrive(to, Arrived { inbound, credit: Some(credit) });
    }

    /// Makes room on a lane when a frame has entered the receiver's queue.
    pub fn credit(&mut self, to: HostId, credit: Credit) {
        let Credit { from, lane, conn, len_bytes } = credit;
        let queue = self.lanes.get_mut(&(from, to, lane)).filter(|queue| queue.conn == conn);
        if let Some(queue) = queue {
            queue.frames -= 1;
            queue.bytes -= len_bytes;
        }
    }

    /// Forgets what is under way from one machine to another, their connection being gone.
    pub fn drop_lanes(&mut self, from: HostId, to: HostId) {
        self.lanes.retain(|(lane_from, lane_to, _), _| (*lane_from, *lane_to) != (from, to));
    }
}
