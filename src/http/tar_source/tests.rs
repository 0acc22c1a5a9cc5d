//! Archives of any make become trees that the importer accepts.

use super::super::tarball::{END, entry_header, padding};
use super::*;

#[derive(Default)]
struct Recorder(Vec<String>);

impl ImportSink for Recorder {
    fn directory(&mut self, path: &[u8]) -> Result<(), ImportError> {
        self.0.push(format!("{}/", String::from_utf8_lossy(path)));
        Ok(())
    }

    fn file(&mut self, path: &[u8], bytes: &mut dyn Read) -> Result<(), ImportError> {
        let mut content = String::new();
        bytes
            .read_to_string(&mut content)
            .map_err(|source| ImportError::Read { path: "x".into(), source })?;
        self.0.push(format!("{}={content}", String::from_utf8_lossy(path)));
        Ok(())
    }

    fn symlink(&mut self, path: &[u8], target: &[u8]) -> Result<(), ImportError> {
        let (path, target) = (String::from_utf8_lossy(path), String::from_utf8_lossy(target));
        self.0.push(format!("{path}->{target}"));
        Ok(())
    }
}

/// `a/` is a folder, `a` a file that holds its own name, `a->b` a link, `.` the root.
fn drive(entries: &[&str]) -> Result<Vec<String>, ImportError> {
    let mut bytes = Vec::new();
    for entry in entries {
        let (name, target) = entry.split_once("->").unwrap_or((entry, ""));
        let path: Vec<&str> =
            name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let content = if name.ends_with('/') || !target.is_empty() { "" } else { name };
        let kind = match (name.ends_with('/'), target) {
            (true, _) => EntryKind::Directory,
            (false, "") => EntryKind::File { size_bytes: content.len() as u64 },
            (false, target) => EntryKind::Symlink { target: target.into() },
        };
        bytes.extend(entry_header(&path, &kind));
        bytes.extend_from_slice(content.as_bytes());
        bytes.extend_from_slice(padding(content.len() as u64));
    }
    bytes.extend_from_slice(&END);
    let mut recorder = Recorder::default();
    Box::new(TarSource::new(&bytes[..])).drive(&mut recorder)?;
    Ok(recorder.0)
}

#[test]
fn our_own_archives_pass_as_they_are() {
    assert_eq!(
        drive(&["./", "a", "d/", "d/b", "z->a"]).unwrap(),
        ["/", "a=a", "d/", "d/b=d/b", "z->a"]
    );
    assert_eq!(drive(&["."]).unwrap(), ["=."]);
    assert_eq!(drive(&[".->x"]).unwrap(), ["->x"]);
    assert_eq!(drive(&["./"]).unwrap(), ["/"]);
}

#[test]
fn foreign_archives_get_a_root_and_missing_folders() {
    assert_eq!(drive(&["d/", "d/a"]).unwrap(), ["/", "d/", "d/a=d/a"]);
    assert_eq!(
        drive(&["a/b/c", "a/b/d"]).unwrap(),
        ["/", "a/", "a/b/", "a/b/c=a/b/c", "a/b/d=a/b/d"]
    );
    assert_eq!(
        drive(&["a/x", "a/", "a/y", "b"]).unwrap(),
        ["/", "a/", "a/x=a/x", "a/y=a/y", "b=b"]
    );
}

#[test]
fn nothing_follows_a_root_that_is_a_file() {
    assert!(drive(&[".", "a"]).unwrap_err().to_string().contains("after a root"));
    assert!(drive(&["a", "."]).unwrap_err().to_string().contains("twice"));
    assert!(drive(&[]).unwrap_err().to_string().contains("holds nothing"));
}

#[test]
fn what_was_never_handed_over_is_refused() {
    let mut bytes = entry_header(&["a"], &EntryKind::Handed);
    bytes.extend_from_slice(&END);
    let refused = Box::new(TarSource::new(&bytes[..])).drive(&mut Recorder::default());
    assert!(refused.unwrap_err().to_string().contains("nothing was"));
}
