//! What users hear when a node can't be made or started: a code, the reason, what to do next.

use std::io;

use ipfs_kit_actors::journal::JournalError;
use ipfs_kit_actors::membership::JoinFailure;
use ipfs_kit_actors::node::StartError;
use ipfs_kit_store::blocks::{LeaseError, OpenError};
use ipfs_kit_store::checkpoint::CheckpointError;
use ipfs_kit_store::files::FileError;
use ipfs_kit_store::folder::FolderError;
use ipfs_kit_store::raft_log::RaftLogError;
use ipfs_kit_store::wal::WalError;

use super::error::CliError;
use crate::engine::EngineError;
use crate::http::BindError;

/// What to do about two nodes with one identity.
pub const COPIED: &str = "let one of the two run; a copied folder is no new node: \
                          make one with ipfs-kit --folder NEW init";

/// What to do about a folder that the node can't use.
const WRITABLE: &str = "the folder and all in it must belong to the user who runs the node, be writable, and \
                        lie on a disk that is well; nothing was changed";

/// The user's form of an engine's error.
pub fn engine_error(error: &EngineError) -> CliError {
    let (code, hint): (&'static str, Option<String>) = match error {
        EngineError::Folder { path, source } => {
            let (code, hint) = folder_hint(source, &path.display().to_string());
            (code, hint)
        }
        EngineError::Listen { address, source } => listen_hint(address, source),
        EngineError::Api(error) => api_hint(error),
        EngineError::IdentityInUse { .. } => ("E_IDENTITY", Some(COPIED.into())),
        EngineError::OtherCluster { .. } => (
            "E_MISMATCH",
            Some(
                "nothing was changed: make a node of its own with ipfs-kit --folder NEW init --join \
                 TOKEN, or remove join.token from this folder"
                    .into(),
            ),
        ),
        EngineError::Join(JoinFailure::Refused { code, .. }) => match code.as_str() {
            "E_MISMATCH" => (
                "E_MISMATCH",
                Some("the token is of another cluster than the one at that address".into()),
            ),
            _ => (
                "E_TOKEN",
                Some(
                    "ask a master for a new one (ipfs-kit cluster token create), and put that line \
                     into join.token in this folder"
                        .into(),
                ),
            ),
        },
        EngineError::Join(_) => (
            "E_UNREACHABLE",
            Some("check that the masters run and that their port is open from here".into()),
        ),
        EngineError::Network(_) => ("E_NETWORK", None),
        EngineError::Malformed { path, .. } => ("E_CORRUPT", Some(malformed_hint(path))),
        EngineError::SmallFile(FileError::Disk(_))
        | EngineError::Journal(
            JournalError::Disk(_) | JournalError::File(FileError::Disk(_)),
        ) => ("E_STORE", Some(WRITABLE.into())),
        EngineError::Journal(_) | EngineError::SmallFile(_) => {
            ("E_CORRUPT", Some("restore the folder, or join anew with a new folder".into()))
        }
        EngineError::Spec(_) => ("E_USAGE", None),
        EngineError::File { .. } | EngineError::ApiFolder(_) => ("E_IO", None),
        EngineError::Exposed { path, .. } => ("E_EXPOSED", Some(exposed_hint(path))),
        EngineError::Start(error) => start_error(error),
        EngineError::Threads(_) | EngineError::Gateways(_) => ("E_START", None),
    };
    let cli = CliError::new(code, error.to_string()).because_source(error);
    match hint {
        Some(hint) => cli.hint(hint),
        None => cli,
    }
}

fn start_error(error: &StartError) -> (&'static str, Option<String>) {
    match error {
        StartError::RaftLost => (
            "E_CORRUPT",
            Some(
                "bring the folder raft back (is its disk mounted?), or take the member out (ipfs-kit node \
                 rm) and join anew with a new folder"
                    .into(),
            ),
        ),
        StartError::SmallFile(FileError::Disk(_)) => ("E_STORE", Some(WRITABLE.into())),
        error if is_damage(error) => (
            "E_CORRUPT",
            Some(
                "nothing was changed; check the disk, then restore the folder, or take the member out \
                 (ipfs-kit node rm) and join anew with a new folder"
                    .into(),
            ),
        ),
        _ => ("E_START", None),
    }
}

fn malformed_hint(path: &std::path::Path) -> String {
    format!(
        "nothing was changed; restore {}, or take the member out (ipfs-kit node rm) and join anew with a new \
         folder",
        path.display()
    )
}

fn exposed_hint(path: &std::path::Path) -> String {
    format!(
        "chmod 600 {} and let it belong to the user who runs the node; if others may have read it, take \
         the member out (ipfs-kit node rm) and join anew with a new folder",
        path.display()
    )
}

/// Whether what is stored is damaged, so that every further start fails in the same way.
fn is_damage(error: &StartError) -> bool {
    let wal =
        |error: &WalError| matches!(error, WalError::Corrupt { .. } | WalError::Foreign { .. });
    let file = |error: &FileError| !matches!(error, FileError::Disk(_));
    match error {
        StartError::Blocks(OpenError::File(error)) | StartError::SmallFile(error) => file(error),
        StartError::Blocks(OpenError::Leases(LeaseError::Wal(error)))
        | StartError::Holdings(error)
        | StartError::Log(RaftLogError::Wal(error)) => wal(error),
        StartError::Blocks(OpenError::Leases(LeaseError::Malformed))
        | StartError::Log(RaftLogError::Inconsistent { .. })
        | StartError::Checkpoints(
            CheckpointError::BadChunk { .. } | CheckpointError::BadManifest { .. },
        ) => true,
        _ => false,
    }
}

fn listen_hint(address: &str, error: &io::Error) -> (&'static str, Option<String>) {
    match error.kind() {
        io::ErrorKind::AddrInUse => (
            "E_PORT_IN_USE",
            Some(format!("stop what listens on {address}, or set another port with `listen`")),
        ),
        io::ErrorKind::AddrNotAvailable => (
            "E_NETWORK",
            Some("set `listen` to an address of this machine; `advertise` may be another".into()),
        ),
        _ => ("E_NETWORK", Some("set another address with `listen`".into())),
    }
}

fn api_hint(error: &BindError) -> (&'static str, Option<String>) {
    let another =
        "set another address with --api or api.listen; 127.0.0.1:0 lets the kernel choose";
    match error {
        BindError::InUse { .. } => ("E_PORT_IN_USE", Some(another.into())),
        BindError::Exposed { .. } => {
            ("E_CONFIG", Some("use a loopback address, or set api.expose: true".into()))
        }
        BindError::Refused { .. } => ("E_NETWORK", Some(another.into())),
    }
}

fn folder_hint(error: &FolderError, folder: &str) -> (&'static str, Option<String>) {
    match error {
        FolderError::Missing => (
            "E_NOT_FOUND",
            Some(format!("make a node there first: ipfs-kit --folder {folder} init")),
        ),
        FolderError::Exists => (
            "E_CONFLICT",
            Some(format!("start it with ipfs-kit --folder {folder} up, or choose another folder")),
        ),
        FolderError::Foreign { .. } => ("E_CONFLICT", Some("choose an empty folder".into())),
        FolderError::Locked { .. } => {
            ("E_CONFLICT", Some("a node of this folder runs already; stop it first".into()))
        }
        FolderError::Newer { .. } => {
            ("E_VERSION", Some("use the program that wrote it, or a newer one".into()))
        }
        FolderError::Older { .. } => ("E_VERSION", Some("use the program that wrote it".into())),
        FolderError::BadVersion => ("E_CORRUPT", None),
        FolderError::Disk(_) => ("E_STORE", Some(WRITABLE.into())),
    }
}
