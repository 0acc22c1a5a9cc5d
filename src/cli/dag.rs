//! `dag`: values and CARs, in and out.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ipfs_kit_actors::api::{AddEvent, CarImported, CarOptions, PutOptions};
use ipfs_kit_core::ops::{CidRequest, DagStat};
use serde_json::json;

use super::args::{DagCommand, DagExportArgs, DagGetArgs, DagImportArgs};
use super::block;
use super::download::{self, refuse_terminal};
use super::error::{CliError, Done, Halt, VerbResult};
use super::output::{Column, Show};
use super::session::{Session, to_value};
use super::unpack::refuse_existing;
use crate::http::pipe::BlockingWriter;

/// Bytes read from a source at once.
const READ_LEN_BYTES: usize = 256 * 1024;

static FIGURES: &[Column] = &[
    Column::text("CID", "/cid"),
    Column::text("BLOCKS", "/blocks"),
    Column::shown("SIZE", "/size_bytes", Show::Size),
];

static ROOTS: &[Column] = &[
    Column::text("ROOT", "/cid"),
    Column::text("PINNED", "/pinned"),
    Column::text("COPIES", "/copies"),
    Column::text("FILE", "/file"),
    Column::text("BLOCKS", "/blocks"),
    Column::text("NEW", "/stored_blocks"),
    Column::shown("SIZE", "/bytes", Show::Size),
];

/// Runs `dag …`.
pub async fn run<W: Write>(session: &mut Session<W>, command: DagCommand) -> VerbResult {
    match command {
        DagCommand::Export(args) => export(session, args).await,
        DagCommand::Import(args) => import(session, args).await,
        DagCommand::Get(args) => get(session, args).await,
        DagCommand::Put(args) => {
            let options = PutOptions {
                input_codec: Some(args.input_codec),
                codec: args.store_codec,
                hash: args.put.hash,
                pin: args.put.pin,
            };
            block::put(session, &args.put.path, options).await
        }
        DagCommand::Stat { cid } => {
            let figures = session.client.run::<DagStat>(&CidRequest { cid }).await?;
            session.print(&figures, FIGURES, "/size_bytes")?;
            Ok(Done::Fully)
        }
    }
}

async fn get<W: Write>(session: &mut Session<W>, args: DagGetArgs) -> VerbResult {
    let is_text = args.output_codec == "dag-json";
    if !is_text {
        refuse_terminal(&format!("ipfs-kit dag get {} > FILE", args.path))?;
    }
    let value = session.client.value(&args.path, &args.output_codec).await?;
    session.out.bytes(&value)?;
    // A file gets exactly the value, so that it can be put again; a terminal gets a line.
    if is_text && io::stdout().is_terminal() {
        session.out.bytes(b"\n")?;
    }
    session.out.flush()?;
    Ok(Done::Fully)
}

async fn export<W: Write>(session: &mut Session<W>, args: DagExportArgs) -> VerbResult {
    let Some(dest) = args.dest else {
        refuse_terminal(&format!("ipfs-kit dag export {} > FILE.car", args.cid))?;
        let car = session.client.export_car(&args.cid).await?;
        return download::print(session, car).await;
    };
    refuse_existing(&dest)?;
    let car = session.client.export_car(&args.cid).await?;
    let bytes = download::keep(session, car, &dest, format!("exporting {}", args.cid)).await?;
    let report = json!({ "cid": args.cid, "file": dest.to_string_lossy(), "bytes": bytes });
    let fields = &[Column::text("FILE", "/file"), Column::shown("SIZE", "/bytes", Show::Size)];
    session.print(&report, fields, "/file")?;
    Ok(Done::Fully)
}

async fn import<W: Write>(session: &mut Session<W>, args: DagImportArgs) -> VerbResult {
    let options = CarOptions {
        pin_roots: args.pin_roots,
        name: args.name,
        replicas_min: args.replicas.map(|replicas| replicas.min),
        replicas_max: args.replicas.map(|replicas| replicas.max),
        expires_in_ms: args.expire.map(super::millis),
        ack: args.ack.into(),
    };
    let mut done = Vec::new();
    for path in &args.paths {
        let imported = import_one(session, path, &options).await?;
        if imported.roots.is_empty() && options.pin_roots {
            session.say(&format!(
                "{} names no roots: nothing is pinned, and the next collection takes its blocks",
                path.display()
            ));
        }
        done.push((path, imported));
    }
    let mut rows = session.out.rows(ROOTS);
    for (path, imported) in done {
        let CarImported { roots, blocks, bytes, stored_blocks } = imported;
        let shared = json!({
            "file": path.to_string_lossy(), "blocks": blocks, "bytes": bytes,
            "stored_blocks": stored_blocks,
        });
        if roots.is_empty() {
            rows.push(&shared)?;
        }
        for root in roots {
            let mut row = to_value(&root)?;
            if let (Some(row), Some(shared)) = (row.as_object_mut(), shared.as_object()) {
                row.extend(shared.clone());
            }
            rows.push(&row)?;
        }
    }
    rows.finish()?;
    Ok(Done::Fully)
}

async fn import_one<W: Write>(
    session: &mut Session<W>,
    path: &Path,
    options: &CarOptions,
) -> Result<CarImported, Halt> {
    let source = Source::open(path)?;
    let sent_bytes = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent_bytes);
    let mut progress = session.progress(format!("importing {}", path.display()), source.len_bytes);
    let produce = move |writer: &mut BlockingWriter| {
        source.copy(writer, &mut |bytes| counter.store(bytes, Ordering::Relaxed))
    };
    let on_event = |event: AddEvent| {
        progress.set(sent_bytes.load(Ordering::Relaxed));
        match event {
            AddEvent::Committed { .. } => progress.stage("pinned, waiting for copies"),
            AddEvent::Replicated { copies, needed } => {
                progress.stage(format!("{copies} of {needed} copies"));
            }
            AddEvent::Blocks { .. } | AddEvent::Progress { .. } | AddEvent::Imported { .. } => {}
        }
    };
    let imported = session.client.import_car(options, produce, on_event).await?;
    progress.finish();
    Ok(imported)
}

/// A local file or standard input.
pub(super) struct Source {
    input: Box<dyn Read + Send>,
    path: PathBuf,
    /// Where it is known.
    pub(super) len_bytes: Option<u64>,
}

impl Source {
    /// Opens a path; `-` is standard input.
    pub(super) fn open(path: &Path) -> Result<Self, CliError> {
        if path == Path::new("-") {
            let input = Box::new(io::stdin());
            return Ok(Self { input, path: "standard input".into(), len_bytes: None });
        }
        let unreadable = |error: &io::Error| {
            let code = if error.kind() == io::ErrorKind::NotFound { "E_PATH" } else { "E_SOURCE" };
            CliError::new(code, format!("cannot read {}", path.display()))
                .because(error)
                .hint("give a file that exists and can be read, or - for standard input")
        };
        let file = File::open(path).map_err(|error| unreadable(&error))?;
        let metadata = file.metadata().map_err(|error| unreadable(&error))?;
        if metadata.is_dir() {
            let message = format!("{} is a folder, and a file is needed", path.display());
            return Err(CliError::new("E_SOURCE", message).hint("ipfs-kit add takes folders"));
        }
        let len_bytes = metadata.is_file().then_some(metadata.len());
        Ok(Self { input: Box::new(file), path: path.to_owned(), len_bytes })
    }

    /// Everything, of which there may be `max` bytes.
    pub(super) fn read_whole(self, max: u64) -> Result<Vec<u8>, CliError> {
        let mut bytes = Vec::new();
        let name = self.path.display();
        let mut bounded = self.input.take(max + 1);
        bounded.read_to_end(&mut bytes).map_err(|error| {
            CliError::new("E_SOURCE", format!("cannot read {name}")).because(&error)
        })?;
        if bytes.len() as u64 > max {
            let message = format!("{name} has more than the {max} bytes of a block");
            return Err(
                CliError::new("E_TOO_LARGE", message).hint("larger data is split: ipfs-kit add")
            );
        }
        Ok(bytes)
    }

    /// Copies everything; `on_bytes` hears how many bytes so far.
    pub(super) fn copy(
        mut self,
        out: &mut dyn Write,
        on_bytes: &mut dyn FnMut(u64),
    ) -> Result<(), CliError> {
        let mut buffer = vec![0; READ_LEN_BYTES];
        let mut copied_bytes = 0;
        loop {
            let read = match self.input.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(|error| {
                    let message = format!("cannot read {}", self.path.display());
                    CliError::new("E_SOURCE", message).because(&error)
                })?,
            };
            if read == 0 {
                return out.flush().map_err(|error| upload_broken(&error));
            }
            out.write_all(&buffer[..read]).map_err(|error| upload_broken(&error))?;
            copied_bytes += read as u64;
            on_bytes(copied_bytes);
        }
    }
}

fn upload_broken(error: &io::Error) -> CliError {
    CliError::new("E_UPLOAD", "the node stopped taking the upload").because(error)
}
