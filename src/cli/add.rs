//! `add`: walks local paths, uploads them as one stream, and says what became of it.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ipfs_kit_actors::api::{AddEvent, AddOptions, Added};
use serde::Serialize;
use serde_json::json;

use super::args::{AckArg, AddArgs};
use super::dag::Source;
use super::error::{CliError, Done, Halt, VerbResult};
use super::output::{Column, Format, Show};
use super::progress::Progress;
use super::session::{Session, to_value};
use super::walk::{Hidden, Survey, Walk};
use crate::http::pipe::BlockingWriter;

static FIELDS: &[Column] = &[
    Column::text("ROOT", "/root"),
    Column::text("NAME", "/name"),
    Column::text("FILES", "/files"),
    Column::text("FOLDERS", "/directories"),
    Column::text("LINKS", "/symlinks"),
    Column::shown("SIZE", "/bytes", Show::Size),
    Column::text("COPIES", "/copies"),
];

/// The result of an add, for people and programs.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    added: &'a Added,
    name: &'a str,
    skipped: serde_json::Value,
}

/// Runs `add`.
pub async fn run<W: Write>(session: &mut Session<W>, args: AddArgs) -> VerbResult {
    if args.paths.iter().any(|path| path == Path::new("-")) {
        return standard_input(session, args).await;
    }
    let hidden = if args.hidden { Hidden::Take } else { Hidden::Skip };
    let (paths, wrap) = (args.paths.clone(), args.wrap);
    let (rules, rules_file) = (args.ignore.clone(), args.ignore_rules_path.clone());
    let (walk, survey) = off_thread(move || {
        let walk = if wrap { Walk::wrapped(&paths, hidden) } else { Walk::new(&paths, hidden) }?;
        let walk = walk.ignoring(&rules, rules_file.as_deref())?;
        let survey = walk.survey()?;
        Ok((walk, survey))
    })
    .await?;
    let hidden = survey.hidden.describe("hidden");
    let special = survey.special.describe("sockets, pipes or devices");
    let ignored = survey.ignored.describe("ignored");
    for skipped in [hidden, special, ignored].into_iter().flatten() {
        session.say(&format!("skipped {skipped}"));
    }
    let options = options(&args, walk.default_name());
    let added = upload(session, Upload::Walk(walk, survey.bytes), &options).await?;
    finish(session, &args, &added, &options.name, &survey)
}

/// Adds what comes on standard input as one file.
async fn standard_input<W: Write>(session: &mut Session<W>, args: AddArgs) -> VerbResult {
    if args.paths.len() > 1 || args.wrap {
        let message = "standard input has no name, so it is added on its own";
        return Err(CliError::new("E_USAGE", message)
            .hint("give - alone, without --wrap; or write it into a file and add that")
            .into());
    }
    let options = options(&args, String::new());
    let added = upload(session, Upload::StandardInput, &options).await?;
    finish(session, &args, &added, &options.name, &Survey::default())
}

/// What is added.
enum Upload {
    /// A tree, with the bytes of its files.
    Walk(Walk, u64),
    /// The bytes of one file.
    StandardInput,
}

fn options(args: &AddArgs, default_name: String) -> AddOptions {
    AddOptions {
        name: args.name.clone().unwrap_or(default_name),
        profile: args.profile.map(|profile| profile.as_str().to_owned()),
        chunker: args.chunker.clone(),
        only_hash: args.only_hash,
        replicas_min: args.replicas.map(|replicas| replicas.min),
        replicas_max: args.replicas.map(|replicas| replicas.max),
        expires_in_ms: args.expire.map(super::millis),
        ack: args.ack.into(),
    }
}

async fn upload<W: Write>(
    session: &mut Session<W>,
    upload: Upload,
    options: &AddOptions,
) -> Result<Added, Halt> {
    let sent_bytes = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent_bytes);
    let mut on_bytes = move |bytes| counter.store(bytes, Ordering::Relaxed);
    let total_bytes = match upload {
        Upload::Walk(_, bytes) => Some(bytes),
        Upload::StandardInput => None,
    };
    let mut progress = session.progress("adding", total_bytes);
    let stream_events = session.out.format() == Format::Ndjson;
    let mut printed: Result<(), Halt> = Ok(());
    let out = &mut session.out;
    let on_event = |event: AddEvent| {
        progress.set(taken_bytes(&event).max(sent_bytes.load(Ordering::Relaxed)));
        show_stage(&mut progress, &event);
        if stream_events && printed.is_ok() {
            printed = to_value(&event)
                .map_err(Halt::from)
                .and_then(|event| out.record(&event, &[]).map_err(Halt::from));
        }
    };
    let added = match upload {
        Upload::Walk(walk, _) => session.client.add_walk(options, walk, on_bytes, on_event).await?,
        Upload::StandardInput => {
            let produce = move |writer: &mut BlockingWriter| {
                Source::open(Path::new("-"))?.copy(writer, &mut on_bytes)
            };
            session.client.add_file(options, produce, on_event).await?.0
        }
    };
    progress.finish();
    printed?;
    Ok(added)
}

/// What the node has of files that are handed over, of which nothing is sent.
fn taken_bytes(event: &AddEvent) -> u64 {
    match event {
        AddEvent::Progress { bytes, .. } => *bytes,
        _ => 0,
    }
}

fn show_stage(progress: &mut Progress, event: &AddEvent) {
    match event {
        AddEvent::Progress { .. } | AddEvent::Blocks { .. } => {}
        AddEvent::Imported { root, .. } => progress.stage(format!("imported {root}")),
        AddEvent::Committed { .. } => progress.stage("pinned, waiting for copies"),
        AddEvent::Replicated { copies, needed } => {
            progress.stage(format!("{copies} of {needed} copies"));
        }
    }
}

fn finish<W: Write>(
    session: &mut Session<W>,
    args: &AddArgs,
    added: &Added,
    name: &str,
    survey: &Survey,
) -> VerbResult {
    let skipped = json!({
        "hidden": survey.hidden.count,
        "special": survey.special.count,
        "ignored": survey.ignored.count,
    });
    let report = Report { added, name, skipped };
    if session.out.format() == Format::Ndjson {
        let mut last = to_value(&report)?;
        last["event"] = json!("added");
        session.out.record(&last, &[])?;
    } else {
        session.print(&report, FIELDS, "/root")?;
    }
    if args.only_hash {
        session.say("only hashed: nothing was stored or pinned");
        return Ok(Done::Fully);
    }
    match (args.ack, added.index) {
        (_, None) => session.say("this node is in no cluster: the only copy is here"),
        (AckArg::Local, Some(_)) => session.say(&format!(
            "{} copies now; ipfs-kit pin status {} --wait returns when there are enough",
            added.copies, added.root
        )),
        (AckArg::Replicated, Some(_)) => {}
    }
    Ok(Done::Fully)
}

/// Runs file system work where it may block.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CliError> + Send + 'static,
) -> Result<T, CliError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        CliError::new("E_INTERNAL", "reading the files stopped unexpectedly").because(&error)
    })?
}
