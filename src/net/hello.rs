//! The hello: the first exchange on a connection between members.
//!
//! The dialling end sends its hello, the other answers with a verdict and, to a member only, its own
//! hello. Both ends judge, so that both know the reason of a refusal. A stranger is told the
//! verdict and nothing about this node.
//!
//! Of two live starts of one identity the one that is connected stays. A newer start takes its place
//! only when it does not answer any more: a machine that lost its power leaves connections behind
//! that nobody has closed.

use futures_util::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use std::time::Duration;
use tokio::time::timeout;

use crate::config::ClusterId;
use crate::error::HelloError;
use crate::frame::{self, FrameError};

#[cfg(test)]
mod tests;

const MAGIC: [u8; 4] = *b"IKH1";
const HELLO_LEN: usize = 4 + 16 + 8 + 2 + 8;
const ANSWER_LEN: usize = 1 + HELLO_LEN;

/// How long the refusing end waits for the refused one to read the verdict.
const LINGER: Duration = Duration::from_secs(1);

/// What a node says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) cluster_id: ClusterId,
    pub(crate) epoch: u64,
    pub(crate) wire_version: u16,
    pub(crate) incarnation: u64,
}

/// The answering end's verdict on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Verdict {
    Accepted = 0,
    ForeignCluster = 1,
    NotRegistered = 2,
    WrongEpoch = 3,
    WrongWireVersion = 4,
    StaleIncarnation = 5,
    Malformed = 6,
    IdentityInUse = 7,
    Removed = 8,
}

/// What the answering end knows of the dialling one before it hears its hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Member {
        /// The incarnation of this member that is connected.
        newest: Option<u64>,
    },
    /// It was a member, and was removed for good.
    Removed,
    Stranger,
}

impl Hello {
    pub(crate) fn encode(&self) -> [u8; HELLO_LEN] {
        let mut bytes = [0; HELLO_LEN];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..20].copy_from_slice(&self.cluster_id.0);
        bytes[20..28].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[28..30].copy_from_slice(&self.wire_version.to_be_bytes());
        bytes[30..].copy_from_slice(&self.incarnation.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8; HELLO_LEN]) -> Option<Self> {
        let rest = bytes.strip_prefix(&MAGIC)?;
        let (cluster_id, rest) = rest.split_first_chunk()?;
        let (epoch, rest) = rest.split_first_chunk()?;
        let (wire_version, rest) = rest.split_first_chunk()?;
        let (incarnation, _) = rest.split_first_chunk()?;
        Some(Self {
            cluster_id: ClusterId(*cluster_id),
            epoch: u64::from_be_bytes(*epoch),
            wire_version: u16::from_be_bytes(*wire_version),
            incarnation: u64::from_be_bytes(*incarnation),
        })
    }

    /// What is wrong with `theirs`, seen from this node.
    fn judge(&self, theirs: &Self, standing: Standing) -> Result<(), HelloError> {
        if theirs.cluster_id != self.cluster_id {
            return Err(HelloError::ForeignCluster { theirs: Some(theirs.cluster_id) });
        }
        let newest = match standing {
            Standing::Member { newest } => newest,
            // A newer history may have begun before the removal: what this one says is not for its members.
            Standing::Removed if theirs.epoch <= self.epoch => return Err(HelloError::Removed),
            Standing::Removed | Standing::Stranger => return Err(HelloError::NotRegistered),
        };
        if theirs.epoch != self.epoch {
            return Err(HelloError::WrongEpoch { ours: self.epoch, theirs: theirs.epoch });
        }
        if theirs.wire_version != self.wire_version {
            return Err(HelloError::WrongWireVersion {
                ours: self.wire_version,
                theirs: theirs.wire_version,
            });
        }
        match newest {
            Some(newest) if theirs.incarnation < newest => {
                Err(HelloError::StaleIncarnation { newest })
            }
            _ => Ok(()),
        }
    }
}

/// The dialling end: says hello and returns the other's.
pub(crate) async fn say<S>(
    stream: &mut S,
    ours: Hello,
    limit: Duration,
) -> Result<Hello, HelloError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let exchange = async {
        stream.write_all(&ours.encode()).await.map_err(lost)?;
        stream.flush().await.map_err(lost)?;
        let answer: [u8; ANSWER_LEN] = frame::read_header(stream, limit).await?;
        let _ = stream.close().await; // The verdict is here; a failed close changes nothing.
        read_answer(&ours, &answer)
    };
    timeout(limit, exchange).await.map_err(|_| HelloError::TimedOut)?
}

fn read_answer(ours: &Hello, answer: &[u8; ANSWER_LEN]) -> Result<Hello, HelloError> {
    let (verdict, theirs) = answer.split_first().ok_or(HelloError::Malformed)?;
    let theirs = theirs.try_into().ok().and_then(Hello::decode);
    let known = theirs.ok_or(HelloError::Malformed);
    match *verdict {
        v if v == Verdict::Accepted as u8 => {
            // The other end accepted; this end judges too, for both must agree.
            let theirs = known?;
            ours.judge(&theirs, Standing::Member { newest: None })?;
            Ok(theirs)
        }
        v if v == Verdict::ForeignCluster as u8 => Err(HelloError::ForeignCluster { theirs: None }),
        v if v == Verdict::NotRegistered as u8 => Err(HelloError::NotRegistered),
        v if v == Verdict::WrongEpoch as u8 => {
            Err(HelloError::WrongEpoch { ours: ours.epoch, theirs: known?.epoch })
        }
        v if v == Verdict::WrongWireVersion as u8 => Err(HelloError::WrongWireVersion {
            ours: ours.wire_version,
            theirs: known?.wire_version,
        }),
        v if v == Verdict::StaleIncarnation as u8 => {
            // The refused end's own other start is told in the incarnation field.
            Err(HelloError::StaleIncarnation { newest: known?.incarnation })
        }
        v if v == Verdict::IdentityInUse as u8 => {
            Err(HelloError::IdentityInUse { other: known?.incarnation })
        }
        v if v == Verdict::Removed as u8 => Err(HelloError::Removed),
        // One of a later program, too: it is refused, and nobody here knows why.
        _ => Err(HelloError::Malformed),
    }
}

/// The answering end: hears a hello, judges it, answers. `rival_answers` asks the start of this
/// member that is connected for a sign of life; it runs only if a newer one says hello.
pub(crate) async fn hear<S>(
    stream: &mut S,
    ours: Hello,
    standing: Standing,
    rival_answers: impl Future<Output = bool>,
    limit: Duration,
) -> Result<Hello, HelloError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let exchange = async {
        let bytes: [u8; HELLO_LEN] = frame::read_header(stream, limit).await?;
        let mut judged = match Hello::decode(&bytes) {
            None => Err(HelloError::Malformed),
            Some(theirs) => ours.judge(&theirs, standing).map(|()| theirs),
        };
        if let (Ok(theirs), Standing::Member { newest: Some(other) }) = (&judged, standing)
            && theirs.incarnation > other
            // Half of the limit, so that the verdict still arrives in time.
            && timeout(limit / 2, rival_answers).await.unwrap_or(false)
        {
            judged = Err(HelloError::IdentityInUse { other });
        }
        stream.write_all(&encode_answer(&ours, standing, &judged)).await.map_err(lost)?;
        stream.flush().await.map_err(lost)?;
        judged
    };
    let judged = timeout(limit, exchange).await.map_err(|_| HelloError::TimedOut)?;
    let _ = stream.close().await; // The answer is flushed; a failed close changes nothing.
    if judged.is_err() {
        // The caller closes the connection next: first let the verdict arrive.
        let _ = timeout(LINGER, stream.read(&mut [0; 1])).await;
    }
    judged
}

fn encode_answer(
    ours: &Hello,
    standing: Standing,
    judged: &Result<Hello, HelloError>,
) -> [u8; ANSWER_LEN] {
    let verdict = match judged {
        Ok(_) => Verdict::Accepted,
        Err(HelloError::ForeignCluster { .. }) => Verdict::ForeignCluster,
        Err(HelloError::NotRegistered) => Verdict::NotRegistered,
        Err(HelloError::WrongEpoch { .. }) => Verdict::WrongEpoch,
        Err(HelloError::WrongWireVersion { .. }) => Verdict::WrongWireVersion,
        Err(HelloError::StaleIncarnation { .. }) => Verdict::StaleIncarnation,
        Err(HelloError::IdentityInUse { .. }) => Verdict::IdentityInUse,
        Err(HelloError::Removed) => Verdict::Removed,
        Err(HelloError::Malformed | HelloError::TimedOut | HelloError::Lost { .. }) => {
            Verdict::Malformed
        }
    };
    let told = match (judged, standing) {
        (Err(HelloError::StaleIncarnation { newest: other }), _)
        | (Err(HelloError::IdentityInUse { other }), _) => Hello { incarnation: *other, ..*ours },
        (Err(HelloError::ForeignCluster { .. }), _)
        | (_, Standing::Removed | Standing::Stranger) => {
            Hello { cluster_id: ClusterId([0; 16]), epoch: 0, wire_version: 0, incarnation: 0 }
        }
        _ => *ours,
    };
    let mut answer = [0; ANSWER_LEN];
    answer[0] = verdict as u8;
    answer[1..].copy_from_slice(&told.encode());
    answer
}

fn lost(error: std::io::Error) -> HelloError {
    HelloError::Lost { detail: error.to_string() }
}

impl From<FrameError> for HelloError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Stalled => Self::TimedOut,
            FrameError::TooLarge { .. } => Self::Malformed,
            FrameError::Io(error) => lost(error),
        }
    }
}
