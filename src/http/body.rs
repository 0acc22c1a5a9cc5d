//! What comes with a request. A client may be slow; one that says nothing any more is not waited for, since
//! its request keeps a place, and an import keeps collections from beginning.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use bytes::BytesMut;
use futures_util::StreamExt;
use ipfs_kit_actors::api::Failure;

/// Why a body was not taken in. Nothing of it was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is larger than the bound, or says that it will be.
    TooLarge,
    /// It broke off, or is no HTTP.
    CutOff,
    /// Nothing came of it for so long.
    Idle(Duration),
}

impl Unread {
    /// What the client is told; `what` is the thing that it sent.
    pub fn failure(self, what: &str, max_bytes: usize) -> Failure {
        let (code, message) = match self {
            Self::TooLarge => ("E_TOO_LARGE", format!("{what} is larger than {max_bytes} bytes")),
            Self::CutOff => ("E_USAGE", format!("{what} broke off, or is malformed")),
            Self::Idle(patience) => ("E_READ", format!("{what} stalled: {}", stalled(patience))),
        };
        Failure { code: code.into(), message, hint: None, retryable: false }
    }
}

/// The error of a reader whose next bytes did not come.
pub(super) fn stalled(patience: Duration) -> io::Error {
    let message = format!("nothing has come for {} s", patience.as_secs_f32());
    io::Error::new(io::ErrorKind::TimedOut, message)
}

/// All of a body, up to a bound.
pub(super) async fn whole(
    body: Body,
    max_bytes: usize,
    patience: Duration,
) -> Result<Bytes, Unread> {
    if body.size_hint().lower() > max_bytes as u64 {
        return Err(Unread::TooLarge);
    }
    let mut data = body.into_data_stream();
    let mut bytes = BytesMut::new();
    loop {
        match tokio::time::timeout(patience, data.next()).await {
            Err(_) => return Err(Unread::Idle(patience)),
            Ok(None) => return Ok(bytes.freeze()),
            Ok(Some(Err(_))) => return Err(Unread::CutOff),
            Ok(Some(Ok(more))) if bytes.len() + more.len() > max_bytes => {
                return Err(Unread::TooLarge);
            }
            Ok(Some(Ok(more))) => bytes.extend_from_slice(&more),
        }
    }
}

#[cfg(test)]
mod tests;
