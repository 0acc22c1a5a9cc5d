//! The local side of `add`: walks paths in a fixed order and writes them as one TAR stream.
//!
//! Folders come before what is in them, entries sorted by name. Symbolic links stay links, except the
//! paths given on the command line themselves. A file that can't be read, or that changes while it is
//! read, ends the walk with an error that names it: an add is all or nothing.

use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::error::CliError;
use super::output::printable;
use crate::http::tarball::{self, DEPTH_MAX, EntryKind};

mod files;

use files::Sink;

/// Names kept per reason for skipping; the rest is only counted.
const SKIPPED_NAMES_MAX: usize = 10;

/// Whether files whose name begins with a dot are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hidden {
    /// They are left out and counted.
    Skip,
    /// They are taken like others.
    Take,
}

/// What a walk found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Files.
    pub files: u64,
    /// Folders, the root among them.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Entries left out because their name begins with a dot.
    pub hidden: Skipped,
    /// Sockets, pipes and devices, which have no content.
    pub special: Skipped,
    /// Entries left out by rules.
    pub ignored: Skipped,
    /// Entries of the root left out by name.
    pub excluded: Skipped,
}

/// Entries that were left out for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub names: Vec<String>,
}

impl Skipped {
    fn add(&mut self, path: &Path) {
        self.count += 1;
        if self.names.len() < SKIPPED_NAMES_MAX {
            self.names.push(printable(&path.to_string_lossy()));
        }
    }

    /// `3 hidden: .a, .b, …`, or nothing.
    pub fn describe(&self, what: &str) -> Option<String> {
        let more = if self.count > self.names.len() as u64 { ", …" } else { "" };
        (self.count > 0).then(|| format!("{} {what}: {}{more}", self.count, self.names.join(", ")))
    }
}

/// What is added: the paths given, and under which names.
#[derive(Clone, Debug)]
pub struct Walk {
    roots: Vec<Root>,
    hidden: Hidden,
    /// A name that is left out at the top.
    excluded: Option<OsString>,
    ignored: Gitignore,
}

#[derive(Clone, Debug)]
struct Root {
    /// Empty for a single path, which is the root itself.
    names: Vec<OsString>,
    path: PathBuf,
}

impl Walk {
    /// Looks at the paths given: one is the root itself, several become entries of a new folder.
    pub fn new(paths: &[PathBuf], hidden: Hidden) -> Result<Self, CliError> {
        Self::named(paths, hidden, paths.len() > 1)
    }

    /// The same, but a single path becomes an entry of a new folder too.
    pub fn wrapped(paths: &[PathBuf], hidden: Hidden) -> Result<Self, CliError> {
        Self::named(paths, hidden, true)
    }

    fn named(paths: &[PathBuf], hidden: Hidden, as_entries: bool) -> Result<Self, CliError> {
        let mut roots = Vec::with_capacity(paths.len());
        for path in paths {
            let full = std::fs::canonicalize(path).map_err(|error| not_there(path, &error))?;
            let names = if as_entries { vec![file_name(&full)] } else { Vec::new() };
            roots.push(Root { names, path: path.clone() });
        }
        roots.sort_by(|a, b| a.names.cmp(&b.names));
        if let Some([a, b]) = roots.array_windows().find(|[a, b]| a.names == b.names) {
            let message = format!(
                "{} and {} would both be called {}",
                a.path.display(),
                b.path.display(),
                b.names[0].display()
            );
            return Err(CliError::new("E_USAGE", message)
                .hint("add their parent folder, or give them different names"));
        }
        Ok(Self { roots, hidden, excluded: None, ignored: Gitignore::empty() })
    }

    /// Leaves out what has this name directly below the root.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.excluded = Some(name.into());
        self
    }

    /// Leaves out what matches lines as a `.gitignore` has them, and the lines of such a file. Patterns
    /// with a slash are meant from the root of what is added.
    pub fn ignoring(mut self, lines: &[String], file: Option<&Path>) -> Result<Self, CliError> {
        let mut rules = GitignoreBuilder::new("");
        if let Some(file) = file {
            let text = std::fs::read_to_string(file).map_err(|error| {
                let code =
                    if error.kind() == io::ErrorKind::NotFound { "E_PATH" } else { "E_SOURCE" };
                CliError::new(code, format!("cannot read the rules in {}", file.display()))
                    .because(&error)
                    .hint("give a text file with a pattern on each line; nothing was added")
            })?;
            for line in text.lines() {
                add_rule(&mut rules, line)?;
            }
        }
        for line in lines {
            add_rule(&mut rules, line)?;
        }
        self.ignored = rules.build().map_err(|error| bad_rule("the patterns", &error))?;
        Ok(self)
    }

    /// The name that a pin of it gets if none is given: the last part of a single path.
    pub fn default_name(&self) -> String {
        match &self.roots[..] {
            [root] => std::fs::canonicalize(&root.path)
                .map(|full| file_name(&full).to_string_lossy().into_owned())
                .unwrap_or_default(),
            _ => String::new(),
        }
    }

    /// Counts everything and checks that it may be read, without reading it.
    pub fn survey(&self) -> Result<Survey, CliError> {
        let mut pass = self.pass(None);
        self.drive(&mut pass)?;
        Ok(pass.survey)
    }

    /// Writes everything as TAR; `on_bytes` hears how many bytes of files are written so far.
    pub fn write_tar(
        &self,
        out: &mut dyn Write,
        on_bytes: &mut dyn FnMut(u64),
    ) -> Result<Survey, CliError> {
        self.write_tar_handing(None, out, on_bytes)
    }

    /// The same, but large files are handed over to the node at the other end of `to`, where there is one.
    pub fn write_tar_handing(
        &self,
        to: Option<&UnixStream>,
        out: &mut dyn Write,
        on_bytes: &mut dyn FnMut(u64),
    ) -> Result<Survey, CliError> {
        let sink = Some(Sink::new(to, out, on_bytes));
        let mut pass = self.pass(sink);
        self.drive(&mut pass)?;
        if let Some(sink) = &mut pass.sink {
            sink.write(&tarball::END)?;
            sink.flush()?;
        }
        Ok(pass.survey)
    }

    fn pass<'a>(&self, sink: Option<Sink<'a>>) -> Pass<'a> {
        let excluded = self.excluded.clone();
        let ignored = self.ignored.clone();
        Pass { hidden: self.hidden, excluded, ignored, survey: Survey::default(), sink }
    }

    fn drive(&self, pass: &mut Pass<'_>) -> Result<(), CliError> {
        if self.roots.iter().any(|root| !root.names.is_empty()) {
            pass.directory(&[])?;
        }
        for root in &self.roots {
            let mut names = root.names.clone();
            // The path was given by hand: a link there means what it points to, a pipe is a mistake.
            let metadata =
                std::fs::metadata(&root.path).map_err(|error| not_there(&root.path, &error))?;
            let file_type = metadata.file_type();
            if !file_type.is_file() && !file_type.is_dir() {
                let message = format!("{} has no content to add", root.path.display());
                return Err(CliError::new("E_SOURCE", message).hint("give a file or a folder"));
            }
            pass.entry(&mut names, &root.path, &metadata, Follow::Yes)?;
        }
        Ok(())
    }
}

/// Whether opening a path may pass through a link at its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Follow {
    Yes,
    No,
}

/// One pass over the tree: counting only, or also writing.
struct Pass<'a> {
    hidden: Hidden,
    excluded: Option<OsString>,
    ignored: Gitignore,
    survey: Survey,
    sink: Option<Sink<'a>>,
}

impl Pass<'_> {
    fn entry(
        &mut self,
        names: &mut Vec<OsString>,
        path: &Path,
        metadata: &Metadata,
        follow: Follow,
    ) -> Result<(), CliError> {
        let file_type = metadata.file_type();
        if file_type.is_dir() {
            self.directory(names)?;
            self.children(names, path)
        } else if file_type.is_file() {
            self.file(names, path, metadata, follow)
        } else if file_type.is_symlink() {
            self.symlink(names, path)
        } else {
            debug_assert!(
                file_type.is_socket()
                    || file_type.is_fifo()
                    || file_type.is_block_device()
                    || file_type.is_char_device()
            );
            self.survey.special.add(path);
            Ok(())
        }
    }

    fn directory(&mut self, names: &[OsString]) -> Result<(), CliError> {
        self.survey.directories += 1;
        match &mut self.sink {
            Some(sink) => sink.header(names, &EntryKind::Directory),
            None => Ok(()),
        }
    }

    fn children(&mut self, names: &mut Vec<OsString>, path: &Path) -> Result<(), CliError> {
        if names.len() >= DEPTH_MAX {
            let message = format!("{} is deeper than {DEPTH_MAX} folders", path.display());
            return Err(CliError::new("E_SOURCE", message)
                .hint("nothing was added; add the inner folders on their own"));
        }
        let entries = std::fs::read_dir(path).map_err(|error| unreadable(path, &error))?;
        let mut children = entries
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<Vec<OsString>>>()
            .map_err(|error| unreadable(path, &error))?;
        children.sort_unstable();
        for name in children {
            let child = path.join(&name);
            if self.hidden == Hidden::Skip && name.as_bytes().starts_with(b".") {
                self.survey.hidden.add(&child);
                continue;
            }
            if names.is_empty() && self.excluded.as_ref() == Some(&name) {
                self.survey.excluded.add(&child);
                continue;
            }
            let metadata =
                std::fs::symlink_metadata(&child).map_err(|error| unreadable(&child, &error))?;
            names.push(name);
            let inner: PathBuf = names.iter().collect();
            if self.ignored.matched(&inner, metadata.is_dir()).is_ignore() {
                self.survey.ignored.add(&child);
            } else {
                self.entry(names, &child, &metadata, Follow::No)?;
            }
            names.pop();
        }
        Ok(())
    }

    fn symlink(&mut self, names: &[OsString], path: &Path) -> Result<(), CliError> {
        let target = std::fs::read_link(path).map_err(|error| unreadable(path, &error))?;
        self.survey.symlinks += 1;
        let kind = EntryKind::Symlink { target: target.into_os_string().into_vec() };
        match &mut self.sink {
            Some(sink) => sink.header(names, &kind),
            None => Ok(()),
        }
    }

    fn file(
        &mut self,
        names: &[OsString],
        path: &Path,
        metadata: &Metadata,
        follow: Follow,
    ) -> Result<(), CliError> {
        let size_bytes = match &mut self.sink {
            Some(sink) => sink.file(self.survey.bytes, names, path, follow)?,
            None => {
                rustix::fs::access(path, rustix::fs::Access::READ_OK)
                    .map_err(|error| unreadable(path, &error.into()))?;
                metadata.len()
            }
        };
        self.survey.files += 1;
        self.survey.bytes += size_bytes;
        Ok(())
    }
}

fn add_rule(rules: &mut GitignoreBuilder, line: &str) -> Result<(), CliError> {
    rules.add_line(None, line).map(drop).map_err(|error| bad_rule(line, &error))
}

fn bad_rule(line: &str, error: &ignore::Error) -> CliError {
    CliError::new("E_USAGE", format!("{line:?} is no pattern"))
        .because(error)
        .hint("write it as in a .gitignore: *.tmp, /build, node_modules/, !keep.tmp")
}

fn file_name(full: &Path) -> OsString {
    full.file_name().unwrap_or(OsStr::new("root")).to_owned()
}

fn not_there(path: &Path, error: &io::Error) -> CliError {
    if error.kind() == io::ErrorKind::NotFound {
        let message = format!("there is no file or folder {}", path.display());
        CliError::new("E_PATH", message).hint("give a path that exists; nothing was added")
    } else {
        unreadable(path, error)
    }
}

fn unreadable(path: &Path, error: &io::Error) -> CliError {
    if error.kind() == io::ErrorKind::NotFound {
        return changed(path, "it vanished");
    }
    CliError::new("E_SOURCE", format!("cannot read {}", path.display()))
        .because(error)
        .hint("make it readable or leave it out; nothing was added")
}

fn changed(path: &Path, how: &str) -> CliError {
    CliError::new("E_SOURCE", format!("{} changed while it was being added: {how}", path.display()))
        .hint("add it again when nobody writes to it; nothing was added")
}

/// The node stopped listening; it says why in its answer, which comes first in the report.
fn upload_broken(error: &io::Error) -> CliError {
    CliError::new("E_UPLOAD", "the node stopped taking the upload").because(error)
}

#[cfg(test)]
mod tests;
