//! `cat`, `get`, `ls`: reading content back.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::StreamExt;
use ipfs_kit_actors::api::ByteRange;
use serde_json::json;

use super::args::{CatArgs, GetArgs, PathArgs};
use super::download::{self, refuse_terminal};
use super::error::{CliError, Done, VerbResult};
use super::output::{Column, Show, text};
use super::session::{Session, to_value};
use super::unpack::{self, Unpacked};
use crate::http::pipe::pipe;

static LS: &[Column] = &[
    Column::text("TYPE", "/kind"),
    Column::shown("SIZE", "/size_bytes", Show::Size),
    Column::text("CID", "/cid"),
    Column::shown("NAME", "/name", Show::Custom(name_and_target)),
];

static UNPACKED: &[Column] = &[
    Column::text("PATH", "/path"),
    Column::text("FILES", "/files"),
    Column::text("FOLDERS", "/directories"),
    Column::text("LINKS", "/symlinks"),
    Column::shown("SIZE", "/bytes", Show::Size),
];

static ARCHIVED: &[Column] =
    &[Column::text("PATH", "/path"), Column::shown("SIZE", "/bytes", Show::Size)];

fn name_and_target(row: &serde_json::Value) -> String {
    let name = text(&row["name"]);
    match row.get("target") {
        Some(target) => format!("{name} -> {}", text(target)),
        None => name,
    }
}

/// Runs `cat`.
pub async fn cat<W: Write>(session: &mut Session<W>, args: CatArgs) -> VerbResult {
    let range = ByteRange { offset: args.offset, length: args.length };
    let bytes = match session.out.file()? {
        Some(output) => session.client.cat_into(&args.path, range, output).await?,
        None => Some(session.client.cat(&args.path, range).await?),
    };
    match bytes {
        Some(bytes) => download::print(session, bytes).await,
        None => Ok(Done::Fully),
    }
}

/// Runs `ls`.
pub async fn ls<W: Write>(session: &mut Session<W>, args: PathArgs) -> VerbResult {
    let mut entries = std::pin::pin!(session.client.ls(&args.path).await?);
    let mut rows = session.out.rows(LS);
    while let Some(entry) = entries.next().await {
        rows.push(&to_value(&entry?)?)?;
    }
    rows.finish()?;
    Ok(Done::Fully)
}

/// Runs `get`.
pub async fn get<W: Write>(session: &mut Session<W>, args: GetArgs) -> VerbResult {
    if args.archive {
        return archive(session, args).await;
    }
    let dest = match args.dest {
        Some(dest) => dest,
        None => PathBuf::from(last_name(&args.path)?),
    };
    // Refused before anything is fetched; the unpacking makes sure again.
    unpack::refuse_existing(&dest)?;
    let mut download = session.client.get(&args.path, None).await?;
    let (sender, receiver) = pipe();
    let done_bytes = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&done_bytes);
    let to = dest.clone();
    let unpacking = tokio::task::spawn_blocking(move || {
        unpack::unpack(receiver.into_blocking(), &to, &mut |bytes| {
            counter.store(bytes, Ordering::Relaxed);
        })
    });
    let mut progress = session.progress(format!("getting {}", args.path), None);
    let fetch = async {
        while let Some(chunk) = download.next().await? {
            if sender.send(chunk).await.is_err() {
                // The unpacking ended early and says why.
                return Ok(());
            }
            progress.set(done_bytes.load(Ordering::Relaxed));
        }
        // As above.
        let _ = sender.end().await;
        Ok::<(), CliError>(())
    };
    let fetched = fetch.await;
    let unpacked = unpacking.await.map_err(|error| {
        CliError::new("E_INTERNAL", "unpacking stopped unexpectedly").because(&error)
    })?;
    progress.finish();
    // A stream that broke off is the cause of an archive that ends too early.
    fetched?;
    report(session, &dest, &unpacked?)
}

/// `get --archive`: all of it below one name, as other programs expect it.
async fn archive<W: Write>(session: &mut Session<W>, args: GetArgs) -> VerbResult {
    let name = last_name(&args.path)?;
    let dest = args.dest.unwrap_or_else(|| PathBuf::from(format!("{name}.tar")));
    if dest == Path::new("-") {
        refuse_terminal(&format!("ipfs-kit get --archive {} -o - > FILE.tar", args.path))?;
        let archive = session.client.get(&args.path, Some(name)).await?;
        return download::print(session, archive).await;
    }
    unpack::refuse_existing(&dest)?;
    let archive = session.client.get(&args.path, Some(name)).await?;
    let bytes = download::keep(session, archive, &dest, format!("getting {}", args.path)).await?;
    let report = json!({ "path": dest.to_string_lossy(), "bytes": bytes });
    session.print(&report, ARCHIVED, "/path")?;
    Ok(Done::Fully)
}

fn report<W: Write>(session: &mut Session<W>, dest: &Path, unpacked: &Unpacked) -> VerbResult {
    let mut value = to_value(unpacked)?;
    value["path"] = dest.to_string_lossy().into();
    session.print(&value, UNPACKED, "/path")?;
    Ok(Done::Fully)
}

/// The last name of a path in IPFS.
fn last_name(path: &str) -> Result<&str, CliError> {
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    if name.is_empty() || name == "." || name == ".." {
        return Err(CliError::new("E_USAGE", format!("{path:?} has no name to store it under"))
            .hint(format!("name one: ipfs-kit get {path} -o DEST")));
    }
    Ok(name)
}
