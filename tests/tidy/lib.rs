//! House rules that the compiler cannot check; the tests of this package are the rules.

use std::path::{Path, PathBuf};

/// One broken rule, for people.
#[derive(Debug, PartialEq, Eq)]
pub struct Violation {
    /// The file, relative to the workspace.
    pub path: PathBuf,
    /// The line, from 1; 0 for the whole file.
    pub line: usize,
    /// Which rule, and what to do.
    pub rule: String,
}

/// A text file of the workspace.
pub struct Source {
    /// Relative to the workspace.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// The root of the workspace that is tested, which need not be where this was compiled: clones may share
/// their build products.
pub fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| ".".into());
    let here = PathBuf::from(here);
    here.ancestors().nth(2).unwrap_or(&here).to_path_buf()
}

/// Every file of the workspace with one of these endings, in order; build products and git's own files
/// are left out.
pub fn sources(endings: &[&str]) -> std::io::Result<Vec<Source>> {
    let root = root();
    let mut found = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && name != ".git" {
                    open.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let text = std::fs::read_to_string(&path)?;
                let path = path.strip_prefix(&root).unwrap_or(&path).to_path_buf();
                found.push(Source { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Names of the packages under `[dependencies]` of a manifest.
pub fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines() {
        let line = line.trim();
        if line.starts_with('[') {
            inside = line == "[dependencies]";
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            let end = line.find(['.', ' ', '=']).unwrap_or(line.len());
            names.push(line[..end].to_owned());
        }
    }
    names
}

/// Rules of one Rust file that can be told from its text.
pub fn check_rust(source: &Source) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut broken = |line: usize, rule: &str| {
        violations.push(Violation { path: source.path.clone(), line, rule: rule.to_owned() });
    };
    let is_test = is_test(&source.path);
    if !source.text.starts_with("//!") {
        broken(1, "a file opens with //! and says what it is for");
    }
    let lines = source.text.lines().count();
    if lines > LINES_MAX {
        broken(0, &format!("{lines} lines; split it by what it knows, at most {LINES_MAX}"));
    }
    let name = source.path.file_name().unwrap_or_default();
    if name == "mod.rs" {
        broken(0, "module files are name.rs beside name/, never mod.rs");
    }
    for (at, line) in source.text.lines().enumerate() {
        let at = at + 1;
        if line.ends_with(' ') || line.contains('\t') {
            broken(at, "no trailing spaces, no tabs");
        }
        let code = line.split("//").next().unwrap_or_default();
        if code.contains(concat!("#[al", "low(")) || code.contains(concat!("#![al", "low(")) {
            broken(at, "suppress with #[expect(.., reason = \"..\")]");
        }
        if code.contains(concat!("#[ig", "nore")) {
            broken(at, "no test is left out");
        }
        if !is_test && MARKS.iter().any(|mark| line.contains(mark)) {
            broken(at, "no unfinished marks");
        }
        if !is_test && code.contains("mod tests {") {
            broken(at, "tests live in <module>/tests.rs");
        }
        if code.contains(concat!("sel", "ect! {"))
            && !source.text.lines().nth(at).is_some_and(is_biased)
        {
            broken(at, "select! is biased: its random order would differ from run to run");
        }
    }
    violations
}

const LINES_MAX: usize = 800;
const MARKS: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
];

fn is_biased(line: &str) -> bool {
    line.trim() == "biased;"
}

/// Whether a file holds tests only.
pub fn is_test(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.ends_with("tests.rs") || text.contains("/tests/") || text.starts_with("tests/")
}

#[cfg(test)]
mod tests;
