//! The client's way to the socket of an offer, which is not believed before it is looked at.

use std::io;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::{HandoverOffer, SOCKET_FILE, TICKET_LEN_BYTES, WELCOME};

/// How long a client waits for its welcome.
const PATIENCE: Duration = Duration::from_secs(60);
/// The user who may do everything.
const ROOT: u32 = 0;

/// Connects to where an offer leads and shows its ticket. Whoever listens there has to be the client's own
/// user, root, or `node_user`, who is known to run the node.
///
/// An answer that is no node's could name any socket of this machine and what to say there, with the
/// client's rights. So only a ticket goes to a socket of the name that nodes use, and only to those users.
///
/// # Errors
/// The offer or the user is none of these, the socket is another machine's, or its node is gone: nothing
/// can be handed over.
pub async fn take_up(offer: &HandoverOffer, node_user: Option<u32>) -> io::Result<BlockingStream> {
    let socket = Path::new(&offer.socket);
    if !socket.is_absolute() || !socket.ends_with(SOCKET_FILE) || !is_ticket(&offer.ticket) {
        return Err(io::Error::other("the offer is none that a node makes"));
    }
    let stream = tokio::time::timeout(PATIENCE, greet(socket, &offer.ticket, node_user)).await??;
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

async fn greet(socket: &Path, ticket: &str, node_user: Option<u32>) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket).await?;
    let listens = stream.peer_cred()?.uid();
    if !is_trusted(listens, rustix::process::geteuid().as_raw(), node_user) {
        return Err(io::Error::other("the socket is another user's"));
    }
    stream.write_all(ticket.as_bytes()).await?;
    let mut answer = [0];
    stream.read_exact(&mut answer).await?;
    if answer != [WELCOME] {
        return Err(io::Error::other("the socket belongs to another program"));
    }
    Ok(stream)
}

fn is_ticket(text: &str) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.len() == 2 * TICKET_LEN_BYTES && text.bytes().all(is_digit)
}

fn is_trusted(listens: u32, own: u32, node: Option<u32>) -> bool {
    listens == own || listens == ROOT || Some(listens) == node
}

#[cfg(test)]
mod tests;
