//! A body cut into lines, and lines into batches of requests.

use axum::body::Bytes;
use bytes::{Buf, BytesMut};
use ipfs_kit_actors::api::Failure;
use ipfs_kit_core::limits;
use serde::de::DeserializeOwned;

use crate::http::server::usage;

/// Longest line: a pin with all the metadata that it may have, written with escapes.
const LINE_BYTES_MAX: usize = 512 * 1024;
/// Bytes of the lines of one batch, unless one alone is longer.
const BATCH_BYTES: usize = 256 * 1024;

/// A request, or why the line is none.
pub(super) type Asked<Q> = Result<Q, Failure>;

/// What came of a body and has not been run yet.
#[derive(Default)]
pub(super) struct Lines {
    text: BytesMut,
    over: Over,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Over {
    /// More may come.
    #[default]
    No,
    /// It ended; what is left is the last line.
    Ended,
    /// A line is too long to be read; this is yet to be said.
    Overlong,
    /// Nothing more is read.
    Closed,
}

impl Lines {
    /// Whether no more of the body is wanted. What came before may still have to be run.
    pub fn is_over(&self) -> bool {
        self.over != Over::No
    }

    /// Whether there is room for more without waiting.
    pub fn wants_more(&self) -> bool {
        !self.is_over() && self.text.len() < BATCH_BYTES
    }

    /// Takes the next piece of the body, or its end.
    pub fn take<E>(&mut self, piece: Option<Result<Bytes, E>>) {
        match piece {
            Some(Ok(bytes)) => self.text.extend_from_slice(&bytes),
            None => self.over = Over::Ended,
            // It broke off: what stands behind the last line end is no request.
            Some(Err(_)) => {
                let end = self.text.iter().rposition(|byte| *byte == b'\n');
                self.text.truncate(end.map_or(0, |end| end + 1));
                self.over = Over::Closed;
            }
        }
    }

    /// The next lines as requests, as many as may run together; empty lines are none.
    pub fn next_batch<Q: DeserializeOwned>(&mut self) -> Option<Vec<Asked<Q>>> {
        let mut batch = Vec::new();
        let mut len_bytes = 0;
        while batch.len() < limits::PIN_MANY_MAX && len_bytes < BATCH_BYTES {
            let Some(line) = self.next_line() else { break };
            len_bytes += line.len();
            if !line.trim_ascii().is_empty() {
                let parsed = serde_json::from_slice(&line);
                batch.push(
                    parsed.map_err(|error| usage(format!("the line is no request: {error}"))),
                );
            }
        }
        if batch.is_empty() && self.over == Over::Overlong {
            self.over = Over::Closed;
            batch.push(Err(overlong()));
        }
        (!batch.is_empty()).then_some(batch)
    }

    fn next_line(&mut self) -> Option<Bytes> {
        let end = self.text.iter().position(|byte| *byte == b'\n');
        let is_whole = end.is_some() || (self.over == Over::Ended && !self.text.is_empty());
        let len = end.unwrap_or(self.text.len());
        if len > LINE_BYTES_MAX {
            self.text.clear();
            self.over = Over::Overlong;
            return None;
        }
        if !is_whole {
            return None;
        }
        let line = self.text.split_to(len).freeze();
        self.text.advance(usize::from(end.is_some()));
        Some(line)
    }
}

fn overlong() -> Failure {
    Failure {
        code: "E_TOO_LARGE".into(),
        message: format!("a line is longer than {LINE_BYTES_MAX} bytes; the stream ends here"),
        hint: None,
        retryable: false,
    }
}
