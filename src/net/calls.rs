//! Unary calls: one request, one response, one stream, a deadline.
//!
//! ```text
//! request   class u8 | deadline_ms u32 | max_response u32 | len u32 | payload
//! response  status u8 | len u32 | payload
//! ```
//! All numbers are big-endian. The caller keeps its half open until it has the response, so that the
//! callee sees a stream that ends earlier as a cancelled call.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::config::{MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES, NetLimits};
use crate::error::CallError;
use crate::frame::{self, FrameError};
use crate::identity::PeerKey;

pub(crate) mod serve;

pub(crate) use serve::{CallServer, serve, serve_all};

const REQUEST_HEADER_LEN: usize = 13;
const RESPONSE_HEADER_LEN: usize = 5;

/// What a call is for, as its number on the wire; each class has its own bounds, so that bulk can't starve
/// control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum CallClass {
    /// Small and urgent: proposals, leases, membership, reads of the cluster's state.
    Control = 0,
    /// Large responses.
    Bulk = 2,
}

impl CallClass {
    const ALL: [Self; 2] = [Self::Control, Self::Bulk];

    fn from_wire(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|class| *class as u8 == byte)
    }
}

/// A response's status on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Status {
    Answered = 0,
    Busy = 1,
    Unanswered = 2,
    /// The response is over the caller's limit; its size stands in the length, no payload follows.
    ResponseTooLarge = 3,
}

/// One place for each call class.
#[derive(Clone)]
pub(crate) struct ClassGates {
    control: Arc<Semaphore>,
    bulk: Arc<Semaphore>,
}

impl ClassGates {
    pub(crate) fn new(limits: &NetLimits) -> Self {
        let gate = |class| Arc::new(Semaphore::new(limits.calls(class).concurrent_per_peer.max(1)));
        Self { control: gate(CallClass::Control), bulk: gate(CallClass::Bulk) }
    }

    pub(crate) fn of(&self, class: CallClass) -> Arc<Semaphore> {
        match class {
            CallClass::Control => self.control.clone(),
            CallClass::Bulk => self.bulk.clone(),
        }
    }
}

/// A call that a member made.
#[derive(Debug)]
pub struct InboundCall {
    /// Who calls; proven by the connection.
    pub from: PeerKey,
    /// What for.
    pub class: CallClass,
    /// The request.
    pub request: Bytes,
    /// Where the answer goes.
    pub reply: Reply,
}

/// Where one answer goes. Dropped without an answer, it tells the asking node so.
#[derive(Debug)]
pub struct Reply {
    answer: oneshot::Sender<Bytes>,
    deadline: Instant,
}

/// The asking node is gone or its deadline has passed; the answer went nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody waits for the answer any more")]
pub struct NobodyWaits;

impl Reply {
    pub(crate) fn new(deadline: Instant) -> (Self, oneshot::Receiver<Bytes>) {
        let (answer, answered) = oneshot::channel();
        (Self { answer, deadline }, answered)
    }

    /// Answers. A response over the caller's limit becomes
    /// [`CallError::ResponseTooLarge`] there.
    ///
    /// # Errors
    /// [`NobodyWaits`] when the asking node gave up.
    pub fn send(self, response: Bytes) -> Result<(), NobodyWaits> {
        self.answer.send(response).map_err(|_| NobodyWaits)
    }

    /// Whether the asking node gave up.
    pub fn is_cancelled(&self) -> bool {
        self.answer.is_closed()
    }

    /// Ends when the asking node gives up.
    pub async fn cancelled(&mut self) {
        self.answer.closed().await;
    }

    /// When the asking node gives up at the latest.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }
}

/// What the caller asks for.
pub(crate) struct Request {
    pub(crate) class: CallClass,
    pub(crate) payload: Bytes,
    pub(crate) max_response_bytes: usize,
    pub(crate) deadline: Duration,
}

impl Request {
    /// Refuses what is over a limit before anything is sent.
    pub(crate) fn check(&self) -> Result<(), CallError> {
        let len_bytes = self.payload.len();
        if len_bytes > MAX_REQUEST_BYTES {
            return Err(CallError::RequestTooLarge { len_bytes, limit_bytes: MAX_REQUEST_BYTES });
        }
        Ok(())
    }

    fn header(&self, remaining: Duration) -> [u8; REQUEST_HEADER_LEN] {
        let deadline_ms = u32::try_from(remaining.as_millis()).unwrap_or(u32::MAX);
        let mut header = [0; REQUEST_HEADER_LEN];
        header[0] = self.class as u8;
        header[1..5].copy_from_slice(&deadline_ms.to_be_bytes());
        header[5..9].copy_from_slice(&wire_len(self.max_response_bytes).to_be_bytes());
        header[9..].copy_from_slice(&wire_len(self.payload.len()).to_be_bytes());
        header
    }
}

/// A length that was checked against a limit far below 4 GiB; a greater one saturates.
fn wire_len(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// The caller's side of one call, on a stream of its own. Runs inside [`within`].
pub(crate) async fn exchange<S>(
    stream: S,
    request: &Request,
    remaining: Duration,
    stall: Duration,
) -> Result<Bytes, CallError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut reader, mut writer) = stream.split();
    let send = async {
        let header = request.header(remaining);
        frame::write_framed(&mut writer, &header, &request.payload, stall).await?;
        frame::flush(&mut writer, stall).await
    };
    // A callee that is busy answers before it has read the request: read while writing. When the
    // write fails, the status that explains it may still be on its way.
    let head = {
        // The callee may think for as long as the deadline allows; `within` ends the wait.
        let receive = frame::read_header::<RESPONSE_HEADER_LEN, _>(&mut reader, Duration::MAX);
        tokio::pin!(send, receive);
        let mut sent = false;
        loop {
            tokio::select! {
                biased;
                head = &mut receive => break head?,
                result = &mut send, if !sent => {
                    sent = true;
                    if let Err(error) = result {
                        tracing::debug!(%error, "request not sent whole");
                    }
                }
            }
        }
    };
    let [status, len @ ..] = head;
    let len = u32::from_be_bytes(len);
    let limit_bytes = request.max_response_bytes.min(MAX_RESPONSE_BYTES);
    match status {
        s if s == Status::Answered as u8 => {
            let len = frame::check_len(len, limit_bytes)?;
            Ok(frame::read_payload(&mut reader, len, stall).await?)
        }
        s if s == Status::Busy as u8 => Err(CallError::Busy),
        s if s == Status::Unanswered as u8 => Err(CallError::Unanswered),
        s if s == Status::ResponseTooLarge as u8 => {
            Err(CallError::ResponseTooLarge { len_bytes: len as usize, limit_bytes })
        }
        _ => Err(CallError::Malformed),
    }
}

impl From<FrameError> for CallError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::TooLarge { len_bytes, limit_bytes } => {
                Self::ResponseTooLarge { len_bytes, limit_bytes }
            }
            FrameError::Stalled => Self::Lost { detail: "the stream stalled".to_owned() },
            FrameError::Io(error) => Self::Lost { detail: error.to_string() },
        }
    }
}

/// Waits for the end of the asking node's half. Bytes after the request are a violation and end
/// the call as well.
async fn asker_gone<R: AsyncRead + Unpin>(reader: &mut R) {
    let _ = reader.read(&mut [0; 1]).await; // Whatever came, nobody waits any more.
}

/// The queue of inbound calls.
pub(crate) type CallQueue = mpsc::Sender<InboundCall>;

/// Bounds `work` by `deadline`.
pub(crate) async fn within<T>(
    deadline: Duration,
    work: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    let deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
    timeout(deadline, work).await.unwrap_or(Err(CallError::DeadlineExceeded { deadline_ms }))
}
