//! Making a node's folder: judged first, then written, and a node's only with the last step.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use ipfs_kit_actors::journal::{self, MEMBERSHIP_FILE};
use ipfs_kit_actors::membership;
use ipfs_kit_actors::ports::{Clock, Entropy};
use ipfs_kit_actors::settings::Membership;
use ipfs_kit_core::id::{ClusterId, Incarnation, PeerKey};
use ipfs_kit_core::member::Role;
use ipfs_kit_core::token::JoinToken;
use ipfs_kit_net as net;
use ipfs_kit_store::disk::Disk;
use ipfs_kit_store::files::write_atomic;
use ipfs_kit_store::folder::{NewFolder, UNFINISHED_FILE};

use super::{
    EngineError, JOIN_TOKEN_FILE, KEY_FILE, file_error, folder_error, open_disk, real_disk, spec_of,
};
use crate::adapters::clock::SystemClock;
use crate::adapters::entropy::SystemEntropy;
use crate::config::{FILE_NAME as CONFIG_FILE, Settings};
use crate::http::folder::{ApiToken, TOKEN_FILE};

#[cfg(test)]
mod tests;

/// Everything that `init` writes beside what makes the folder a node's.
const FILES: [&str; 5] = [KEY_FILE, TOKEN_FILE, CONFIG_FILE, JOIN_TOKEN_FILE, MEMBERSHIP_FILE];

/// How a new node gets its place.
#[derive(Clone, Debug)]
pub enum Place {
    /// It works alone.
    Alone,
    /// It founds a cluster.
    Found,
    /// It joins at its first start.
    Join(Box<JoinToken>),
}

/// Makes a new node's folder. Everything is judged before anything is written, and what is written counts
/// only once all of it is durable: where this failed or was interrupted, there is no node, and it can be done
/// again.
pub fn init(settings: &Settings, place: &Place, config: &str) -> Result<PeerKey, EngineError> {
    let path = &settings.folder;
    let keypair = net::Keypair::generate()
        .map_err(|error| file_error(path.join(KEY_FILE), io::Error::other(error)))?;
    let key = PeerKey(keypair.peer_key().into());
    let founded = match place {
        Place::Found => Some(found(settings, key)?),
        Place::Alone | Place::Join(_) => None,
    };
    let disk = open_disk(path, real_disk)?;
    let folder = begin(path, &disk)?;
    write_secret(&path.join(KEY_FILE), &hex::encode(keypair.to_seed()))?;
    ApiToken::create(&path.join(TOKEN_FILE))?;
    if let Place::Join(token) = place {
        write_secret(&path.join(JOIN_TOKEN_FILE), &token.to_text())?;
    }
    if let Some(membership) = founded {
        journal::save_membership(&*disk, &membership)?;
    }
    write_atomic(&*disk, CONFIG_FILE, config.as_bytes())
        .map_err(|error| EngineError::SmallFile(error.into()))?;
    folder.finish().map_err(|source| folder_error(path, source))?;
    Ok(key)
}

/// Removes what an interrupted [`init`] left, so that none of it is taken for the user's; whether there was
/// anything.
pub fn discard_unfinished(path: &Path) -> Result<bool, EngineError> {
    let unfinished = path.join(UNFINISHED_FILE);
    if !unfinished.try_exists().map_err(|source| file_error(unfinished, source))? {
        return Ok(false);
    }
    begin(path, &open_disk(path, real_disk)?)?;
    Ok(true)
}

/// A locked folder without any of the files that are about to be written.
fn begin(path: &Path, disk: &Arc<dyn Disk>) -> Result<NewFolder, EngineError> {
    let folder = NewFolder::begin(Arc::clone(disk)).map_err(|source| folder_error(path, source))?;
    for name in FILES {
        match disk.remove(name) {
            Err(error) if !error.is_not_found() => {
                return Err(EngineError::SmallFile(error.into()));
            }
            _ => {}
        }
    }
    Ok(folder)
}

/// The first master's place in a new cluster.
fn found(settings: &Settings, key: PeerKey) -> Result<Membership, EngineError> {
    let mut id = [0; 16];
    SystemEntropy.fill(&mut id);
    let spec = spec_of(settings, key, Role::Master);
    let now = SystemClock.wall_ms();
    let founded = membership::found(ClusterId(id), &spec, Incarnation(now), now);
    founded.map(|(_, membership)| membership).map_err(EngineError::Spec)
}

/// Writes a file for its owner's eyes only; what it holds is durable on return.
fn write_secret(path: &Path, text: &str) -> Result<(), EngineError> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        writeln!(file, "{text}")?;
        file.sync_all()
    };
    write().map_err(|source| file_error(path.to_owned(), source))
}
