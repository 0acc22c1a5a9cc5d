//! `block` and `store`: single blocks, and all of them.

use std::io::Write;
use std::path::Path;

use futures_util::StreamExt;
use ipfs_kit_actors::api::{PutOptions, VerifyLine};
use ipfs_kit_core::limits::BLOCK_BYTES_MAX;
use ipfs_kit_core::ops::{BlockRm, BlockStat, CidRequest, Nothing, StoreGc, StoreStat};

use super::args::{BlockCommand, StoreCommand};
use super::dag::Source;
use super::download::refuse_terminal;
use super::error::{CliError, Done, VerbResult};
use super::output::{Column, Format, Show};
use super::session::{Session, to_value};

static BLOCK: &[Column] =
    &[Column::text("CID", "/cid"), Column::shown("SIZE", "/size_bytes", Show::Size)];

static PUT: &[Column] = &[
    Column::text("CID", "/cid"),
    Column::shown("SIZE", "/size_bytes", Show::Size),
    Column::text("PINNED", "/pinned"),
];

static REMOVED: &[Column] = &[Column::text("REMOVED", "/cid")];

static STORE: &[Column] = &[
    Column::text("BLOCKS", "/blocks"),
    Column::shown("SIZE", "/block_bytes", Show::Size),
    Column::shown("USED", "/used_bytes", Show::Size),
    Column::shown("FREE", "/free_bytes", Show::Size),
    Column::shown("MAX", "/max_bytes", Show::Size),
    Column::text("SEGMENTS", "/segments"),
    Column::text("DAMAGED", "/damaged"),
    Column::text("ROOTS", "/roots"),
    Column::text("LEASES", "/leases"),
];

static COLLECTED: &[Column] = &[
    Column::text("REMOVED", "/removed_blocks"),
    Column::shown("SIZE", "/removed_bytes", Show::Size),
    Column::shown("FREED", "/freed_bytes", Show::Size),
    Column::text("SEGMENTS", "/removed_segments"),
    Column::text("MOVED", "/moved_blocks"),
    Column::text("DAMAGED", "/damaged_blocks"),
    Column::text("INCOMPLETE", "/incomplete_roots"),
];

static BAD: &[Column] = &[
    Column::text("BLOCK", "/cid"),
    Column::text("FOUND", "/event"),
    Column::text("SEGMENT", "/segment"),
    Column::text("OFFSET", "/offset"),
];

/// Runs `block …`.
pub async fn run<W: Write>(session: &mut Session<W>, command: BlockCommand) -> VerbResult {
    match command {
        BlockCommand::Get { cid } => {
            refuse_terminal(&format!("ipfs-kit block get {cid} > FILE"))?;
            let bytes = session.client.block(&cid).await?;
            session.out.bytes(&bytes)?;
            session.out.flush()?;
        }
        BlockCommand::Put(args) => {
            let options = PutOptions {
                input_codec: None,
                codec: args.cid_codec,
                hash: args.put.hash,
                pin: args.put.pin,
            };
            return put(session, &args.put.path, options).await;
        }
        BlockCommand::Stat { cid } => {
            let info = session.client.run::<BlockStat>(&CidRequest { cid }).await?;
            session.print(&info, BLOCK, "/size_bytes")?;
        }
        BlockCommand::Rm { cids } => {
            let mut removed = Vec::new();
            for cid in cids {
                removed.push(session.client.run::<BlockRm>(&CidRequest { cid }).await?);
            }
            session.print_all(&removed, REMOVED)?;
        }
    }
    Ok(Done::Fully)
}

/// Stores what a file or standard input has as one block.
pub(super) async fn put<W: Write>(
    session: &mut Session<W>,
    path: &Path,
    options: PutOptions,
) -> VerbResult {
    let path = path.to_owned();
    let read = move || Source::open(&path)?.read_whole(BLOCK_BYTES_MAX as u64);
    let data = tokio::task::spawn_blocking(read).await.map_err(|error| {
        CliError::new("E_INTERNAL", "reading stopped unexpectedly").because(&error)
    })??;
    let put = session.client.put(data, &options).await?;
    session.print(&put, PUT, "/cid")?;
    if !put.pinned {
        session.say("not pinned: the next collection takes it, unless something else keeps it");
    }
    Ok(Done::Fully)
}

/// Runs `store …`.
pub async fn store<W: Write>(session: &mut Session<W>, command: StoreCommand) -> VerbResult {
    match command {
        StoreCommand::Stat => {
            let figures = session.client.run::<StoreStat>(&Nothing {}).await?;
            session.print(&figures, STORE, "/used_bytes")?;
            Ok(Done::Fully)
        }
        StoreCommand::Gc => {
            let report = session.client.run::<StoreGc>(&Nothing {}).await?;
            session.print(&report, COLLECTED, "/freed_bytes")?;
            let incomplete = !report.incomplete_roots.is_empty();
            Ok(if incomplete { Done::Degraded } else { Done::Fully })
        }
        StoreCommand::Verify => verify(session).await,
    }
}

/// Lists what is bad; degraded if anything is.
async fn verify<W: Write>(session: &mut Session<W>) -> VerbResult {
    let mut found = std::pin::pin!(session.client.verify().await?);
    let mut progress = session.progress("checking", None);
    let mut totals = None;
    let all_lines = session.out.format() == Format::Ndjson;
    let mut rows = session.out.rows(BAD);
    while let Some(line) = found.next().await {
        let line = line?;
        let shown = match &line {
            VerifyLine::Progress { bytes, .. } => {
                progress.set(*bytes);
                all_lines
            }
            VerifyLine::Done { blocks, bad, .. } => {
                totals = Some((*blocks, *bad));
                all_lines
            }
            VerifyLine::Damaged { .. } | VerifyLine::Wrong { .. } | VerifyLine::Failed { .. } => {
                true
            }
        };
        if shown {
            rows.push(&to_value(&line)?)?;
        }
    }
    rows.finish()?;
    progress.finish();
    let Some((blocks, bad)) = totals else {
        return Err(CliError::new("E_PROTOCOL", "the node's answer ended without a result").into());
    };
    session.say(&format!("{blocks} blocks are fine, {bad} are not"));
    Ok(if bad > 0 { Done::Degraded } else { Done::Fully })
}
