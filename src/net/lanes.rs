//! Ordered lanes: one long-lived stream for each peer, lane and direction.
//!
//! A frame is a big-endian `u32` length and the message. The sender's queue is bounded in messages
//! and bytes; the receiver stops reading when its owner falls behind, and so the queue at the
//! sender fills: that is the back-pressure. What is queued when the last connection breaks is lost
//! and counted.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::{LaneLimits, MAX_RAFT_MESSAGE_BYTES};
use crate::error::SendError;
use crate::frame::{self, FrameError};
use crate::identity::PeerKey;
use crate::links::Opener;
use crate::registry::Rights;
use crate::streams::{OpenError, Proto};

pub(crate) mod direct;
#[cfg(test)]
mod tests;

use direct::{Direct, Writer};

/// Small messages that wait together are written together, up to this size.
const BATCH_BYTES: usize = 64 << 10;

/// How long the first messages wait for the lane's own connection; then the swarm carries them.
const DIRECT_WITHIN: Duration = Duration::from_secs(1);

/// A kind of ordered traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Raft messages between masters; only members with [`Rights::RAFT`] may open it.
    Raft,
}

impl Lane {
    pub(crate) fn proto(self) -> Proto {
        match self {
            Self::Raft => Proto::Raft,
        }
    }

    /// Largest message, in bytes.
    pub const fn max_message_bytes(self) -> usize {
        match self {
            Self::Raft => MAX_RAFT_MESSAGE_BYTES,
        }
    }

    /// What a member needs to open it.
    pub(crate) const fn right(self) -> Rights {
        match self {
            Self::Raft => Rights::RAFT,
        }
    }
}

/// The sending end of a lane to one peer.
pub(crate) struct LaneSender {
    lane: Lane,
    queue: mpsc::Sender<Bytes>,
    queued_bytes: Arc<AtomicUsize>,
    max_queued_bytes: usize,
    direct: Arc<Direct>,
}

/// The other end of a [`LaneSender`], for [`write_lane`].
pub(crate) struct LaneQueue {
    lane: Lane,
    queue: mpsc::Receiver<Bytes>,
    queued_bytes: Arc<AtomicUsize>,
    direct: Arc<Direct>,
}

/// Messages that were accepted and lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LaneLoss {
    pub(crate) peer: PeerKey,
    pub(crate) lane: Lane,
    pub(crate) messages: u64,
}

pub(crate) fn lane_queue(lane: Lane, limits: LaneLimits) -> (LaneSender, LaneQueue) {
    let direct = Arc::new(Direct::default());
    let (sender, receiver) = mpsc::channel(limits.queue_messages.max(1));
    let queued_bytes = Arc::new(AtomicUsize::new(0));
    let sender = LaneSender {
        lane,
        queue: sender,
        queued_bytes: queued_bytes.clone(),
        max_queued_bytes: limits.queue_bytes.max(lane.max_message_bytes()),
        direct: direct.clone(),
    };
    (sender, LaneQueue { lane, queue: receiver, queued_bytes, direct })
}

impl LaneSender {
    /// Whether messages go over the lane's own connection, which is at rest.
    #[cfg(test)]
    pub(crate) fn is_direct(&self) -> bool {
        self.direct.is_idle()
    }

    pub(crate) fn send(&self, message: Bytes) -> Result<(), SendError> {
        let len_bytes = message.len();
        let limit_bytes = self.lane.max_message_bytes();
        if len_bytes > limit_bytes {
            return Err(SendError::TooLarge { len_bytes, limit_bytes });
        }
        if self.queue.is_closed() {
            return Err(SendError::NotConnected);
        }
        // Nothing that was sent before waits.
        if self.queued_bytes.load(Ordering::Acquire) == 0 && self.direct.send(&message) {
            return Ok(());
        }
        let queued = self.queued_bytes.fetch_add(len_bytes, Ordering::AcqRel);
        let sent = match queued + len_bytes > self.max_queued_bytes {
            true => Err(SendError::Full),
            false => self.queue.try_send(message).map_err(|refused| match refused {
                mpsc::error::TrySendError::Full(_) => SendError::Full,
                mpsc::error::TrySendError::Closed(_) => SendError::NotConnected,
            }),
        };
        if sent.is_err() {
            self.queued_bytes.fetch_sub(len_bytes, Ordering::AcqRel);
        }
        sent
    }
}

impl LaneQueue {
    /// The next message. Until it is [`LaneQueue::taken`] it counts as queued, and no sender passes it.
    async fn next(&mut self) -> Option<Bytes> {
        self.queue.recv().await
    }

    fn taken(&self, message: &Bytes) {
        self.queued_bytes.fetch_sub(message.len(), Ordering::AcqRel);
    }

    fn try_next(&mut self) -> Option<Bytes> {
        let message = self.queue.try_recv().ok()?;
        self.taken(&message);
        Some(message)
    }
}

/// Writes a lane's messages until `closed`, opening a stream when there is something to send and
/// a new one after each loss. Tells `losses` of every message that it took and could not write.
/// `connect` makes a connection for a lane that may have its own.
pub(crate) async fn write_lane<F: Future<Output = Option<Writer>>>(
    mut queue: LaneQueue,
    opener: Opener,
    connect: impl Fn() -> F,
    closed: CancellationToken,
    stall: Duration,
    losses: mpsc::Sender<LaneLoss>,
) {
    let (peer, lane) = (opener.peer, queue.lane);
    let report = |messages| {
        let losses = losses.clone();
        // Without a driver there is nobody left to tell.
        async move { losses.send(LaneLoss { peer, lane, messages }).await.unwrap_or_default() }
    };
    let direct = Some(queue.direct.clone());
    let mut out = LaneOut { lane, direct, connected: false, stream: None, opener, connect };
    let mut batch = BytesMut::new();
    let mut in_hand = 0;
    let work = async {
        while let Some(first) = flushing(out.direct.clone(), queue.next()).await {
            in_hand = 1;
            let (mut writer, is_direct) = out.writer().await;
            queue.taken(&first);
            let written = async {
                let writer =
                    writer.as_mut().map_err(|error| io::Error::other(error.to_string()))?;
                batch.clear();
                put_frame(writer, &mut batch, &first).await?;
                while let Some(next) = queue.try_next() {
                    in_hand += 1;
                    put_frame(writer, &mut batch, &next).await?;
                }
                write_patiently(writer, &batch).await?;
                frame::flush(writer, stall).await
            };
            let result = written.await;
            out.give_back(writer.ok().filter(|_| result.is_ok()), is_direct);
            if let Err(error) = result {
                tracing::debug!(?lane, is_direct, %error, "lane stream lost");
                report(in_hand).await;
            }
            in_hand = 0;
        }
    };
    tokio::select! {
        biased;
        () = closed.cancelled() => {}
        () = work => {}
    }
    queue.queue.close();
    let mut lost = in_hand;
    while queue.try_next().is_some() {
        lost += 1;
    }
    if lost > 0 {
        report(lost).await;
    }
}

/// Where a lane's task writes to.
struct LaneOut<C> {
    lane: Lane,
    /// The lane's own connection, until it can't be made or breaks.
    direct: Option<Arc<Direct>>,
    /// The one attempt to make it was made.
    connected: bool,
    stream: Option<Writer>,
    opener: Opener,
    connect: C,
}

impl<C: Fn() -> F, F: Future<Output = Option<Writer>>> LaneOut<C> {
    /// A writer, and whether it is the lane's own connection.
    async fn writer(&mut self) -> (Result<Writer, OpenError>, bool) {
        if let Some(direct) = self.direct.clone() {
            let writer = match (direct.is_missing(), self.connected) {
                (false, _) => direct.take(),
                (true, false) => timeout(DIRECT_WITHIN, (self.connect)()).await.ok().flatten(),
                (true, true) => None,
            };
            self.connected = true;
            match writer {
                Some(writer) => return (Ok(writer), true),
                // Messages must not wait for another attempt, nor change their way to and fro: from here on
                // the swarm carries them, until the peer is connected anew.
                None => self.direct = None,
            }
        }
        let writer = match self.stream.take() {
            Some(stream) => Ok(stream),
            None => {
                let opened = self.opener.open(self.lane.proto()).await;
                opened.map(|stream| Box::new(stream) as Writer)
            }
        };
        (writer, false)
    }

    fn give_back(&mut self, writer: Option<Writer>, is_direct: bool) {
        match self.direct.as_ref().filter(|_| is_direct) {
            Some(direct) => direct.give_back(writer),
            None => self.stream = writer,
        }
    }
}

/// Waits, and finishes meanwhile what senders wrote and the socket did not take.
async fn flushing<T>(direct: Option<Arc<Direct>>, done: impl Future<Output = T>) -> T {
    let flush = async {
        match direct {
            Some(direct) => direct.flush_when_needed().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        done = done => done,
        never = flush => never,
    }
}

/// Adds a frame to the batch, which goes out when it is large enough.
async fn put_frame<W>(
    writer: &mut W,
    batch: &mut BytesMut,
    message: &[u8],
) -> Result<(), FrameError>
where
    W: AsyncWrite + Unpin,
{
    let len = u32::try_from(message.len()).expect("checked against the lane's limit");
    batch.put_u32(len);
    if message.len() <= frame::SMALL_BYTES {
        batch.put_slice(message);
        if batch.len() < BATCH_BYTES {
            return Ok(());
        }
    }
    write_patiently(writer, batch).await?;
    batch.clear();
    match message.len() <= frame::SMALL_BYTES {
        true => Ok(()),
        false => write_patiently(writer, message).await,
    }
}

/// Writes without a stall limit: a receiver that does not read is back-pressure, and a dead
/// connection is found by the pings.
async fn write_patiently<W>(writer: &mut W, bytes: &[u8]) -> Result<(), FrameError>
where
    W: AsyncWrite + Unpin,
{
    frame::write_bytes(writer, bytes, Duration::MAX).await
}

/// A received message that waits for the owner; holds its bytes' places in the bound until taken.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) from: PeerKey,
    pub(crate) bytes: Bytes,
    pub(crate) _places: OwnedSemaphorePermit,
}

/// Takes a lane's messages where they are read.
pub struct LaneSink {
    /// Takes a message; must not wait.
    pub take: Box<dyn Fn(PeerKey, Bytes) + Send + Sync>,
    /// Where connections of the lane's own are read; elsewhere than the network if that is where messages are
    /// needed, so that one thread less is woken for each. Streams of the swarm are read where the network runs.
    pub runtime: Option<Handle>,
}

/// Where a lane's messages go instead of its queue, once it is known.
#[derive(Clone, Default)]
pub(crate) struct SinkPlace(Arc<OnceLock<LaneSink>>);

impl SinkPlace {
    /// Fills it, unless it was filled before.
    pub(crate) fn fill(&self, sink: LaneSink) {
        // The first one stays.
        let _ = self.0.set(sink);
    }

    /// Where connections are to be read, if not here.
    pub(crate) fn runtime(&self) -> Option<&Handle> {
        self.0.get()?.runtime.as_ref()
    }
}

impl fmt::Debug for SinkPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SinkPlace").field(&self.0.get().is_some()).finish()
    }
}

/// The receiving end of one lane, shared by the readers of all peers.
#[derive(Clone)]
pub(crate) struct LaneInlet {
    lane: Lane,
    queue: mpsc::Sender<Delivery>,
    bytes: Arc<Semaphore>,
    pub(crate) sink: SinkPlace,
}

impl LaneInlet {
    pub(crate) fn new(lane: Lane, limits: LaneLimits) -> (Self, mpsc::Receiver<Delivery>) {
        let (queue, receiver) = mpsc::channel(limits.inbound_messages.max(1));
        let bytes = Semaphore::new(limits.inbound_bytes.max(lane.max_message_bytes()));
        let sink = SinkPlace::default();
        (Self { lane, queue, bytes: Arc::new(bytes), sink }, receiver)
    }
}

/// Reads one peer's lane until the stream ends or the owner is gone.
///
/// # Errors
/// [`FrameError::TooLarge`] when the peer states a length over the limit; otherwise the stream
/// broke.
pub(crate) async fn read_lane<R>(
    inlet: LaneInlet,
    from: PeerKey,
    reader: R,
    stall: Duration,
) -> Result<(), FrameError>
where
    R: AsyncRead + Unpin,
{
    let mut reader = BufReader::with_capacity(BATCH_BYTES, reader);
    loop {
        // Between two messages silence is normal.
        let len = match frame::read_header::<4, _>(&mut reader, Duration::MAX).await {
            Ok(len) => u32::from_be_bytes(len),
            Err(FrameError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let len_bytes = frame::check_len(len, inlet.lane.max_message_bytes())?;
        let bytes = frame::read_payload(&mut reader, len_bytes, stall).await?;
        if let Some(sink) = inlet.sink.0.get() {
            (sink.take)(from, bytes);
            continue;
        }
        // Places are taken after the read: a slow sender can't hold those of the others.
        let Ok(places) = inlet.bytes.clone().acquire_many_owned(len).await else { return Ok(()) };
        let delivery = Delivery { from, bytes, _places: places };
        if inlet.queue.send(delivery).await.is_err() {
            return Ok(());
        }
    }
}
