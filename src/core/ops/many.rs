//! Many pins at once: each has its own answer, in the order of the requests.

use serde::{Deserialize, Serialize};

use super::{CidRequest, PinAddRequest, PinInfo};
use crate::id::Cid;
use crate::proto::OperationFailure;

/// Pins to add or change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinsAddRequest {
    /// The pins; at most [`crate::limits::PIN_MANY_MAX`].
    pub pins: Vec<PinAddRequest>,
}

/// What became of each pin.
pub type PinsAdded = Each<PinCommitted>;

/// A pin that is committed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PinCommitted {
    /// The root.
    pub cid: Cid,
    /// The log index.
    pub index: u64,
}

/// Pins to look at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinsStatusRequest {
    /// Their roots; at most [`crate::limits::PIN_MANY_MAX`].
    pub pins: Vec<CidRequest>,
}

/// What is known of each pin.
pub type PinsInfo = Each<PinInfo>;

/// One answer for each item of a request, in the request's order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Each<T> {
    /// The answers.
    pub items: Vec<Line<T>>,
}

/// One item's answer; also a line of a stream of them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line<T> {
    /// It failed and changed nothing, or what became of it is not known; the code tells which.
    Failed {
        /// Why.
        error: OperationFailure,
    },
    /// Its answer.
    Done(T),
}

impl<T> From<Result<T, OperationFailure>> for Line<T> {
    fn from(result: Result<T, OperationFailure>) -> Self {
        match result {
            Ok(answer) => Self::Done(answer),
            Err(error) => Self::Failed { error },
        }
    }
}
