//! The join protocol: all that a stranger reaches.
//!
//! ```text
//! request  cluster id 16 | len u32 | payload
//! answer   status u8 | retry_after_ms u32 | len u32 | payload
//! ```
//! One request, one answer, then the connection closes.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use crate::addr::NetAddr;
use crate::calls::Reply;
use crate::config::{ClusterId, MAX_JOIN_BYTES};
use crate::error::JoinError;
use crate::frame::{self, FrameError};
use crate::identity::PeerKey;
use crate::rate::JoinRate;

const REQUEST_HEAD_LEN: usize = 20;
const ANSWER_HEAD_LEN: usize = 9;

/// How long the answering end waits for the other to read and close.
const LINGER: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Status {
    Answered = 0,
    ForeignCluster = 1,
    RateLimited = 2,
    Busy = 3,
    Unanswered = 4,
    TooLarge = 5,
}

/// A node asks to join.
#[derive(Debug)]
pub struct InboundJoin {
    /// Who asks; proven by the connection, in no registry (unless it registers anew).
    pub from: PeerKey,
    /// From where, as this end of the connection sees it.
    pub remote_ip: Option<IpAddr>,
    /// The request.
    pub request: Bytes,
    /// Where the answer goes; at most [`MAX_JOIN_BYTES`].
    pub reply: Reply,
}

/// What came back from [`crate::NetHandle::join`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinAnswer {
    /// Who answered; proven by the connection.
    pub from: PeerKey,
    /// The answer.
    pub answer: Bytes,
}

/// What all inbound joins share.
pub(crate) struct JoinServer {
    pub(crate) cluster_id: ClusterId,
    pub(crate) queue: mpsc::Sender<InboundJoin>,
    pub(crate) rate: Mutex<JoinRate>,
    /// Limit for the whole exchange.
    pub(crate) limit: Duration,
}

/// The asking end.
pub(crate) async fn ask<S>(
    stream: &mut S,
    cluster_id: ClusterId,
    addr: &NetAddr,
    request: &[u8],
    limit: Duration,
) -> Result<Bytes, JoinError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut head = [0; REQUEST_HEAD_LEN];
    head[..16].copy_from_slice(&cluster_id.0);
    head[16..].copy_from_slice(&wire_len(request.len()).to_be_bytes());
    frame::write_framed(stream, &head, request, limit).await?;
    frame::flush(stream, limit).await?;
    let [status, rest @ ..] = frame::read_header::<ANSWER_HEAD_LEN, _>(stream, limit).await?;
    let [a, b, c, d, len @ ..] = rest;
    match status {
        s if s == Status::Answered as u8 => {
            let len = frame::check_len(u32::from_be_bytes(len), MAX_JOIN_BYTES)?;
            Ok(frame::read_payload(stream, len, limit).await?)
        }
        s if s == Status::ForeignCluster as u8 => {
            Err(JoinError::ForeignCluster { addr: addr.clone() })
        }
        s if s == Status::RateLimited as u8 => {
            let retry_after_ms = u64::from(u32::from_be_bytes([a, b, c, d]));
            Err(JoinError::RateLimited { retry_after_ms })
        }
        s if s == Status::Busy as u8 => Err(JoinError::Busy { addr: addr.clone() }),
        s if s == Status::Unanswered as u8 => Err(JoinError::Unanswered { addr: addr.clone() }),
        s if s == Status::TooLarge as u8 => {
            Err(JoinError::TooLarge { len_bytes: request.len(), limit_bytes: MAX_JOIN_BYTES })
        }
        other => Err(JoinError::Lost { detail: format!("unknown join status {other}") }),
    }
}

/// The answering end. An error means that the stream broke.
pub(crate) async fn answer<S>(
    server: Arc<JoinServer>,
    from: PeerKey,
    remote_ip: Option<IpAddr>,
    mut stream: S,
) -> Result<(), FrameError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let deadline = Instant::now() + server.limit;
    let exchange = async {
        let (status, retry_after, payload) =
            judge(&server, from, remote_ip, &mut stream, deadline).await?;
        let retry_after_ms = u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX);
        let mut head = [0; ANSWER_HEAD_LEN];
        head[0] = status as u8;
        head[1..5].copy_from_slice(&retry_after_ms.to_be_bytes());
        head[5..].copy_from_slice(&wire_len(payload.len()).to_be_bytes());
        frame::write_framed(&mut stream, &head, &payload, server.limit).await?;
        stream.close().await?;
        Ok(())
    };
    // The deadline covers the whole exchange, with a little time to say that it passed.
    timeout(server.limit + LINGER, exchange).await.unwrap_or(Err(FrameError::Stalled))?;
    // The connection closes next: first let the answer arrive.
    let _ = timeout(LINGER, stream.read(&mut [0; 1])).await;
    Ok(())
}

async fn judge<S>(
    server: &JoinServer,
    from: PeerKey,
    remote_ip: Option<IpAddr>,
    stream: &mut S,
    deadline: Instant,
) -> Result<(Status, Duration, Bytes), FrameError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let plain = |status| Ok((status, Duration::ZERO, Bytes::new()));
    // Every attempt is charged, also one that turns out to be malformed.
    if let Some(ip) = remote_ip {
        let mut rate = server.rate.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(retry_after) = rate.admit(ip.into(), Instant::now()) {
            return Ok((Status::RateLimited, retry_after, Bytes::new()));
        }
    }
    let head: [u8; REQUEST_HEAD_LEN] = frame::read_header(stream, server.limit).await?;
    let (cluster_id, len) = head.split_at(16);
    if cluster_id != server.cluster_id.0.as_slice() {
        return plain(Status::ForeignCluster);
    }
    let len = u32::from_be_bytes(len.try_into().expect("20 - 16 bytes"));
    let Ok(len) = frame::check_len(len, MAX_JOIN_BYTES) else {
        return plain(Status::TooLarge);
    };
    let request = frame::read_payload(stream, len, server.limit).await?;
    let (reply, answered) = Reply::new(deadline);
    if server.queue.try_send(InboundJoin { from, remote_ip, request, reply }).is_err() {
        return plain(Status::Busy);
    }
    tokio::select! {
        biased;
        answer = answered => match answer {
            Ok(answer) if answer.len() <= MAX_JOIN_BYTES => {
                Ok((Status::Answered, Duration::ZERO, answer))
            }
            Ok(answer) => {
                tracing::error!(len_bytes = answer.len(), "join answer over the limit");
                plain(Status::Unanswered)
            }
            Err(_) => plain(Status::Unanswered),
        },
        () = sleep_until(deadline) => plain(Status::Unanswered),
    }
}

/// A length that was checked against a limit far below 4 GiB; a greater one saturates.
fn wire_len(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

impl From<FrameError> for JoinError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Stalled => Self::TimedOut,
            other => Self::Lost { detail: other.to_string() },
        }
    }
}
