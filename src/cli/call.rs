//! `call`: any operation of the registry by name.

use std::io::{Read, Write};

use serde_json::Value;

use super::args::CallArgs;
use super::error::{CliError, Done, VerbResult};
use super::output::Format;
use super::session::Session;
use crate::http::wire::REQUEST_BYTES_MAX;

/// Runs `call NAME '{json}'`. Its answer is JSON in every format.
pub async fn run<W: Write>(session: &mut Session<W>, args: CallArgs) -> VerbResult {
    let name = args.name.unwrap_or_default();
    let text = if args.request == "-" { read_stdin()? } else { args.request };
    let request: Value = serde_json::from_str(&text).map_err(|error| {
        CliError::new("E_USAGE", format!("the request of {name} is no JSON"))
            .because(&error)
            .hint("ipfs-kit call --list shows an example of every request")
    })?;
    let answer = session.client.call(&name, &request).await?;
    match session.out.format() {
        Format::Table => session.out.prose(&format!("{answer:#}\n"))?,
        Format::Json | Format::Ndjson => session.out.record(&answer, &[])?,
    }
    Ok(Done::Fully)
}

fn read_stdin() -> Result<String, CliError> {
    let mut text = String::new();
    let bound = REQUEST_BYTES_MAX as u64;
    let read = std::io::stdin().lock().take(bound).read_to_string(&mut text);
    read.map_err(|error| CliError::new("E_IO", "cannot read the request").because(&error))?;
    Ok(text)
}
