//! Standard output: tables for people, JSON for programs, both streamed.
//!
//! Rows are `serde_json::Value`s. JSON forms print them whole; a table prints the columns that the
//! command names. Tables are laid out a page at a time, so that a million rows need no more memory than
//! a thousand.

use std::fs::File;
use std::io::{self, Write};

use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets};
use serde_json::Value;

use crate::config::quantity::display_size;

/// Rows of a table that are laid out together.
const PAGE_ROWS: usize = 256;

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns for people.
    #[default]
    Table,
    /// One JSON document: an array for lists, an object otherwise.
    Json,
    /// One JSON object per line, each written as soon as it is known.
    Ndjson,
}

/// A column of a table: where its value lies in a row, and how it is shown.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Heading.
    pub title: &'static str,
    /// JSON pointer into the row.
    pub pointer: &'static str,
    /// Form.
    pub show: Show,
}

impl Column {
    /// A column whose value is shown as it is.
    pub const fn text(title: &'static str, pointer: &'static str) -> Self {
        Self { title, pointer, show: Show::Text }
    }

    /// A column in a form of its own.
    pub const fn shown(title: &'static str, pointer: &'static str, show: Show) -> Self {
        Self { title, pointer, show }
    }

    fn cell(&self, row: &Value) -> String {
        let value = row.pointer(self.pointer).unwrap_or(&Value::Null);
        match self.show {
            Show::Text => text(value),
            Show::Size => value.as_u64().map_or_else(|| text(value), display_size),
            Show::Millis => value.as_u64().map_or_else(|| text(value), display_millis),
            Show::Time => value.as_u64().map_or_else(|| text(value), display_time),
            Show::Custom(render) => render(row),
        }
    }
}

/// Form of a cell.
#[derive(Clone, Copy, Debug)]
pub enum Show {
    /// As it is; lists with commas, nothing as `-`.
    Text,
    /// Bytes, rounded.
    Size,
    /// A span in milliseconds, in its two largest units.
    Millis,
    /// Milliseconds since 1970, as UTC.
    Time,
    /// From the whole row.
    Custom(fn(&Value) -> String),
}

/// A value as plain text for a cell. Control characters can't reach the terminal.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => printable(text),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Object(_) => printable(&value.to_string()),
        other => other.to_string(),
    }
}

/// An identifier in hexadecimal, whether it comes as text or as a list of bytes.
pub fn identifier(value: &Value) -> String {
    match value {
        Value::Array(bytes) => {
            bytes.iter().map(|byte| format!("{:02x}", byte.as_u64().unwrap_or_default())).collect()
        }
        other => text(other),
    }
}

/// With control characters shown as escapes: names come from elsewhere, and a terminal obeys them.
pub fn printable(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    text.chars()
        .flat_map(|c| {
            let escaped: Vec<char> =
                if c.is_control() { c.escape_default().collect() } else { vec![c] };
            escaped
        })
        .collect()
}

/// A span in its two largest units: `3d 4h`, `2m 5s`, `1.5s`, `12ms`.
pub fn display_millis(millis: u64) -> String {
    let (seconds, minutes, hours, days) =
        (millis / 1000, millis / 60_000, millis / 3_600_000, millis / 86_400_000);
    match millis {
        0..1000 => format!("{millis}ms"),
        1000..60_000 => format!("{}.{}s", seconds, millis % 1000 / 100),
        60_000..3_600_000 => format!("{minutes}m {}s", seconds % 60),
        3_600_000..86_400_000 => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// A moment as UTC, to the second: `2026-11-22 18:59:14`.
///
/// The calendar is Howard Hinnant's `civil_from_days` (chrono-Compatible Low-Level Date Algorithms).
pub fn display_time(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// Where data goes, in the chosen format.
pub struct Output<W: Write> {
    out: W,
    format: Format,
    /// The same place, open.
    file: Option<File>,
}

impl<W: Write> Output<W> {
    /// Prints to `out`.
    pub fn new(out: W, format: Format) -> Self {
        Self { out, format, file: None }
    }

    /// With another handle to where `out` leads, if there is one.
    #[must_use]
    pub fn with_file(self, file: Option<File>) -> Self {
        Self { file, ..self }
    }

    /// Where it goes, open, for somebody else to write there; what was printed before is there.
    pub fn file(&mut self) -> io::Result<Option<&File>> {
        self.out.flush()?;
        Ok(self.file.as_ref())
    }

    /// The chosen format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Begins a list.
    pub fn rows(&mut self, columns: &'static [Column]) -> Rows<'_, W> {
        Rows { output: self, columns, page: Vec::new(), widths: Vec::new(), count: 0 }
    }

    /// Prints one thing: its fields below each other, or the whole object.
    pub fn record(&mut self, value: &Value, fields: &[Column]) -> io::Result<()> {
        match self.format {
            Format::Table => {
                let width = fields.iter().map(|field| field.title.len()).max().unwrap_or(0);
                for field in fields {
                    writeln!(self.out, "{:width$}  {}", field.title, field.cell(value))?;
                }
            }
            Format::Json => writeln!(self.out, "{value:#}")?,
            Format::Ndjson => writeln!(self.out, "{value}")?,
        }
        self.out.flush()
    }

    /// Prints text as it is: prose that is itself the answer, such as help.
    pub fn prose(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// Raw bytes, for `cat`.
    pub fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    /// Hands everything on.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A list being printed. [`Rows::finish`] must be called, or its end is missing.
#[must_use]
pub struct Rows<'a, W: Write> {
    output: &'a mut Output<W>,
    columns: &'static [Column],
    page: Vec<Vec<String>>,
    widths: Vec<u16>,
    count: u64,
}

impl<W: Write> Rows<'_, W> {
    /// Prints a row, or keeps it for its page.
    pub fn push(&mut self, row: &Value) -> io::Result<()> {
        let first = self.count == 0;
        self.count += 1;
        match self.output.format {
            Format::Table => {
                self.page.push(self.columns.iter().map(|column| column.cell(row)).collect());
                if self.page.len() >= PAGE_ROWS { self.flush_page() } else { Ok(()) }
            }
            Format::Json => {
                let lead = if first { "[\n" } else { ",\n" };
                write!(self.output.out, "{lead}{row}")
            }
            Format::Ndjson => {
                writeln!(self.output.out, "{row}")?;
                self.output.out.flush()
            }
        }
    }

    /// Prints the end of the list; says how many rows there were.
    pub fn finish(mut self) -> io::Result<u64> {
        match self.output.format {
            Format::Table => self.flush_page()?,
            Format::Json if self.count == 0 => writeln!(self.output.out, "[]")?,
            Format::Json => writeln!(self.output.out, "\n]")?,
            Format::Ndjson => {}
        }
        self.output.out.flush()?;
        Ok(self.count)
    }

    fn flush_page(&mut self) -> io::Result<()> {
        let first_page = self.widths.is_empty();
        if self.page.is_empty() && !first_page {
            return Ok(());
        }
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        if first_page {
            table.set_header(self.columns.iter().map(|column| column.title));
        }
        table.add_rows(self.page.drain(..));
        // Later pages are at least as wide as the ones before, so that columns stay below each other.
        for (column, width) in table.column_iter_mut().zip(&self.widths) {
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(*width)));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let laid_out = table.lines().collect::<Vec<_>>();
        self.widths = table
            .column_max_content_widths()
            .iter()
            .zip(widths_or_zero(&self.widths))
            .map(|(now, before)| (now + 2).max(before))
            .collect();
        for line in laid_out {
            writeln!(self.output.out, "{}", line.trim_end())?;
        }
        self.output.out.flush()
    }
}

fn widths_or_zero(widths: &[u16]) -> impl Iterator<Item = u16> {
    widths.iter().copied().chain(std::iter::repeat(0))
}

#[cfg(test)]
mod tests;
