//! The callee's side of unary calls.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use super::{
    CallClass, CallQueue, ClassGates, InboundCall, REQUEST_HEADER_LEN, RESPONSE_HEADER_LEN, Reply,
    Status, asker_gone, wire_len,
};
use crate::config::{MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES, NetLimits};
use crate::frame::{self, FrameError};
use crate::identity::PeerKey;

/// No deadline of a caller is taken for more than this.
const LONGEST_DEADLINE: Duration = Duration::from_secs(600);
/// How long a connection for calls may wait for its next one.
const IDLE: Duration = Duration::from_secs(60);

/// What all inbound calls share.
pub(crate) struct CallServer {
    queue: CallQueue,
    in_flight: Arc<Semaphore>,
    request_bytes: Arc<Semaphore>,
    stall: Duration,
}

/// The places one call holds until it is answered.
struct Places {
    _in_flight: OwnedSemaphorePermit,
    _class: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

struct RequestHead {
    class: CallClass,
    deadline: Duration,
    max_response_bytes: usize,
    len_bytes: usize,
}

impl CallServer {
    pub(crate) fn new(queue: CallQueue, limits: &NetLimits, stall: Duration) -> Self {
        Self {
            queue,
            in_flight: Arc::new(Semaphore::new(limits.inbound_calls.max(1))),
            request_bytes: Arc::new(Semaphore::new(
                limits.inbound_call_bytes.max(MAX_REQUEST_BYTES),
            )),
            stall,
        }
    }

    /// Takes a place in every bound at once, or none.
    fn places(&self, gates: &ClassGates, head: &RequestHead) -> Option<Places> {
        Some(Places {
            _in_flight: self.in_flight.clone().try_acquire_owned().ok()?,
            _class: gates.of(head.class).try_acquire_owned().ok()?,
            _bytes: self
                .request_bytes
                .clone()
                .try_acquire_many_owned(wire_len(head.len_bytes))
                .ok()?,
        })
    }
}

/// Serves one call. An error means that the peer broke the protocol or the stream broke; the
/// stream is reset by being dropped.
pub(crate) async fn serve<S>(
    server: Arc<CallServer>,
    gates: ClassGates,
    from: PeerKey,
    stream: S,
) -> Result<(), FrameError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let stall = server.stall;
    let (mut reader, mut writer) = stream.split();
    let head = read_head(&mut reader, stall).await?;
    serve_one(&server, &gates, from, head, &mut reader, &mut writer).await?;
    Ok(tokio::time::timeout(stall, writer.close()).await.map_err(|_| FrameError::Stalled)??)
}

/// Serves calls one after the other, on a connection that has no other use, until the peer has no more
/// or one was not answered.
pub(crate) async fn serve_all<S>(
    server: &CallServer,
    gates: &ClassGates,
    from: PeerKey,
    stream: S,
) -> Result<(), FrameError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut reader, mut writer) = stream.split();
    loop {
        let head = match read_head(&mut reader, IDLE).await {
            Ok(head) => head,
            Err(FrameError::Stalled) => return Ok(()),
            Err(FrameError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let served = serve_one(server, gates, from, head, &mut reader, &mut writer).await?;
        if served != Some(Status::Answered) {
            // The peer may be in the middle of its request, or gone.
            return Ok(());
        }
    }
}

/// Serves a call whose head was read; gives the status that was sent, if any was.
async fn serve_one<R, W>(
    server: &CallServer,
    gates: &ClassGates,
    from: PeerKey,
    head: RequestHead,
    reader: &mut R,
    writer: &mut W,
) -> Result<Option<Status>, FrameError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let stall = server.stall;
    let Some(_places) = server.places(gates, &head) else {
        return respond(writer, Status::Busy, 0, Bytes::new(), stall).await;
    };
    let request = frame::read_payload(reader, head.len_bytes, stall).await?;
    let deadline = Instant::now() + head.deadline;
    let (reply, answered) = Reply::new(deadline);
    let call = InboundCall { from, class: head.class, request, reply };
    if server.queue.try_send(call).is_err() {
        return respond(writer, Status::Busy, 0, Bytes::new(), stall).await;
    }
    tokio::select! {
        biased;
        answer = answered => match answer {
            Ok(response) if response.len() > head.max_response_bytes => {
                let len = response.len();
                respond(writer, Status::ResponseTooLarge, len, Bytes::new(), stall).await
            }
            Ok(response) => {
                let len = response.len();
                respond(writer, Status::Answered, len, response, stall).await
            }
            Err(_) => respond(writer, Status::Unanswered, 0, Bytes::new(), stall).await,
        },
        () = asker_gone(reader) => Ok(None),
        () = sleep_until(deadline) => Ok(None),
    }
}

async fn read_head<R>(reader: &mut R, stall: Duration) -> Result<RequestHead, FrameError>
where
    R: AsyncRead + Unpin,
{
    let head: [u8; REQUEST_HEADER_LEN] = frame::read_header(reader, stall).await?;
    let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let class =
        CallClass::from_wire(head[0]).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(RequestHead {
        class,
        deadline: Duration::from_millis(u64::from(word(1))).min(LONGEST_DEADLINE),
        max_response_bytes: (word(5) as usize).min(MAX_RESPONSE_BYTES),
        len_bytes: frame::check_len(word(9), MAX_REQUEST_BYTES)?,
    })
}

async fn respond<W>(
    writer: &mut W,
    status: Status,
    len: usize,
    payload: Bytes,
    stall: Duration,
) -> Result<Option<Status>, FrameError>
where
    W: AsyncWrite + Unpin,
{
    let mut head = [0; RESPONSE_HEADER_LEN];
    head[0] = status as u8;
    head[1..].copy_from_slice(&wire_len(len).to_be_bytes());
    frame::write_framed(writer, &head, &payload, stall).await?;
    frame::flush(writer, stall).await?;
    Ok(Some(status))
}
