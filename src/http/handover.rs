//! Large files of a client on this machine: it hands them over open, and the node reads or writes them itself.
//!
//! Sending a file over the API copies each of its bytes four times more than hashing and storing it needs.
//! So a client asks for an *offer* (`POST /handover`): the path of a unix socket in the node's folder and a
//! ticket. It connects there, shows the ticket, hears a byte of welcome, and names the ticket in the header
//! [`TICKET_HEADER`](super::wire::TICKET_HEADER) of its upload. Where the archive has an entry of type
//! [`EntryKind::Handed`](super::tarball::EntryKind::Handed), the client sends the size in 8 bytes (little
//! endian) together with the open file, and hears what became of it: an [`Outcome`]. A client that can't
//! connect, because the node is another machine's or another user's, sends its bytes as ever: the ticket
//! proves that both ends of the socket are those of the API, and being able to open a file proves that the
//! client may read it. In the other direction a client hands over its output with a `cat`, and the answer says
//! how much the node has written there. Nor does a client connect to whatever an answer names: see [`take_up`].

use std::collections::VecDeque;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use rustix::net::SendFlags;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::connections::CONNECTIONS_MAX;
use super::wire::HandoverOffer;

mod files;
mod output;
mod visit;

pub use files::{HandedFiles, Outcome, give};
pub use output::{lend, never_waits};
pub use visit::take_up;

/// The socket's name in the node's folder.
const SOCKET_FILE: &str = "handover.sock";
/// Answers a ticket that is good.
const WELCOME: u8 = 1;
/// Random bytes of a ticket; it is written in hexadecimal.
const TICKET_LEN_BYTES: usize = 16;
/// Offers that wait for their use, each by an upload: as many as can be under way.
const OFFERS_MAX: usize = CONNECTIONS_MAX;
/// Connections that have not shown their ticket yet.
const STRANGERS_MAX: usize = 16;
/// How long showing it may take.
const GREETING: Duration = Duration::from_secs(5);
/// Pause after a failed accept, as when file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the socket of a node until it is dropped, and takes its file away then: before a successor
/// listens there, however long the streams of an API that has ended still hold its [`Handovers`].
pub struct Listening {
    /// The file; `None` where there is none.
    socket: Option<PathBuf>,
    _serving: JoinSet<()>,
}

/// The offers of a node.
pub struct Handovers {
    /// `None` if nothing can be offered.
    socket: Option<PathBuf>,
    offers_max: usize,
    offers: Mutex<VecDeque<Offer>>,
}

struct Offer {
    ticket: String,
    /// Once the client has shown its ticket. From then on it counts on the offer.
    client: Option<UnixStream>,
}

impl Offer {
    /// Whether its client came, and went before its upload.
    fn is_abandoned(&self) -> bool {
        let ready = self.client.as_ref().map(|client| client.ready(Interest::READABLE));
        let ready = ready.and_then(FutureExt::now_or_never);
        ready.is_some_and(|ready| ready.is_ok_and(|ready| ready.is_read_closed()))
    }
}

impl Handovers {
    /// Listens in the node's folder. Where that is not possible, as in a folder whose path is too long for
    /// a socket, nothing is offered: clients send bytes.
    pub fn listen(folder: &Path) -> (Arc<Self>, Listening) {
        Self::listen_within(OFFERS_MAX, folder)
    }

    fn listen_within(offers_max: usize, folder: &Path) -> (Arc<Self>, Listening) {
        let path = folder.join(SOCKET_FILE);
        let listener = match bind(&path) {
            Ok(listener) => Some(listener),
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "files can't be handed over");
                None
            }
        };
        let socket = listener.is_some().then_some(path);
        let handovers = Self { socket: socket.clone(), offers_max, offers: Mutex::default() };
        let handovers = Arc::new(handovers);
        let mut serving = JoinSet::new();
        if let Some(listener) = listener {
            serving.spawn(Arc::clone(&handovers).serve(listener));
        }
        (handovers, Listening { socket, _serving: serving })
    }

    /// A new offer, if there can be one more. Then one that nobody has taken up yet may end.
    pub(super) fn offer(&self) -> Option<HandoverOffer> {
        let socket = self.socket.as_ref()?.to_str()?.to_owned();
        let mut random = [0; TICKET_LEN_BYTES];
        getrandom::fill(&mut random).ok()?;
        let ticket = hex::encode(random);
        let mut offers = self.offers();
        if offers.len() == self.offers_max {
            offers.retain(|offer| !offer.is_abandoned());
        }
        if offers.len() == self.offers_max {
            let oldest = offers.iter().position(|offer| offer.client.is_none())?;
            offers.remove(oldest);
        }
        offers.push_back(Offer { ticket: ticket.clone(), client: None });
        Some(HandoverOffer { socket, ticket })
    }

    /// The connection of whoever showed this ticket. It is good once.
    pub(super) fn take(&self, ticket: &str) -> Option<HandedFiles> {
        let mut offers = self.offers();
        let at = offers.iter().position(|offer| offer.ticket == ticket)?;
        let client = offers.remove(at)?.client?.into_std().ok()?;
        client.set_nonblocking(false).ok()?;
        Some(HandedFiles::new(client))
    }

    async fn serve(self: Arc<Self>, listener: UnixListener) {
        let mut strangers = JoinSet::new();
        loop {
            if strangers.len() >= STRANGERS_MAX {
                strangers.join_next().await;
            }
            match listener.accept().await {
                Ok((stream, _)) => {
                    let handovers = Arc::clone(&self);
                    strangers.spawn(async move {
                        let greeted = tokio::time::timeout(GREETING, handovers.greet(stream)).await;
                        if let Ok(Err(error)) = greeted {
                            tracing::debug!(%error, "nothing will be handed over");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "files can't be handed over for a moment");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
            while strangers.try_join_next().is_some() {}
        }
    }

    async fn greet(&self, mut stream: UnixStream) -> io::Result<()> {
        let mut ticket = [0; 2 * TICKET_LEN_BYTES];
        stream.read_exact(&mut ticket).await?;
        let mut offers = self.offers();
        let offer = offers.iter_mut().find(|offer| offer.ticket.as_bytes() == ticket);
        let offer = offer.ok_or_else(|| io::Error::other("nobody was given this ticket"))?;
        // One byte finds room in an empty buffer.
        rustix::net::send(&stream, &[WELCOME], SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
        offer.client = Some(stream);
        Ok(())
    }

    fn offers(&self) -> MutexGuard<'_, VecDeque<Offer>> {
        // It is never left half changed.
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(socket) = &self.socket {
            // It may have gone with its folder; a stale one is replaced by the next node.
            let _ = fs::remove_file(socket);
        }
    }
}

/// The folder has one node at a time, so a socket that is there already is one that was left behind.
fn bind(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

#[cfg(test)]
mod tests;
