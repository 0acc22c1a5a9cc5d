//! Order, what is left out, and files that change under the reader.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use crate::http::tarball::{TarError, read_entries};

use super::files::READ_LEN_BYTES;
use super::*;

fn tree() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("tree");
    std::fs::create_dir_all(root.join("b/empty")).unwrap();
    std::fs::create_dir(root.join(".git")).unwrap();
    std::fs::write(root.join(".git/config"), "secret").unwrap();
    std::fs::write(root.join("a"), "first").unwrap();
    std::fs::write(root.join("b/c"), vec![7; 1000]).unwrap();
    std::fs::write(root.join("z"), "").unwrap();
    symlink("../elsewhere", root.join("b/link")).unwrap();
    folder
}

fn entries(walk: &Walk) -> (Survey, Vec<(String, EntryKind, usize)>) {
    let mut bytes = Vec::new();
    let survey = walk.write_tar(&mut bytes, &mut |_| {}).unwrap();
    let mut seen = Vec::new();
    read_entries(&bytes[..], |path, kind, reader| {
        let len = io::copy(reader, &mut io::sink())
            .map_err(|source| TarError::Read { after: String::new(), source })?;
        let name = String::from_utf8(path.join(&b'/')).unwrap();
        seen.push((name, kind.clone(), usize::try_from(len).unwrap()));
        Ok::<_, TarError>(())
    })
    .unwrap();
    (survey, seen)
}

#[test]
fn a_folder_is_the_root_sorted_and_parents_first() {
    let folder = tree();
    let root = folder.path().join("tree");
    let _socket = UnixListener::bind(root.join("socket")).unwrap();
    let walk = Walk::new(&[root], Hidden::Skip).unwrap();
    let (survey, seen) = entries(&walk);
    let names: Vec<&str> = seen.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["", "a", "b", "b/c", "b/empty", "b/link", "z"]);
    assert_eq!(seen[5].1, EntryKind::Symlink { target: b"../elsewhere".to_vec() });
    assert_eq!((survey.files, survey.directories, survey.symlinks, survey.bytes), (3, 3, 1, 1005));
    assert_eq!((survey.hidden.count, survey.special.count), (1, 1));
    assert!(survey.hidden.describe("hidden").unwrap().ends_with("tree/.git"));
    assert_eq!(walk.survey().unwrap(), survey, "counting and writing agree");
    assert_eq!(walk.default_name(), "tree");
}

#[test]
fn hidden_files_are_taken_when_asked_for() {
    let folder = tree();
    let walk = Walk::new(&[folder.path().join("tree")], Hidden::Take).unwrap();
    let (survey, seen) = entries(&walk);
    assert!(seen.iter().any(|(name, ..)| name == ".git/config"));
    assert_eq!(survey.hidden, Skipped::default());
    assert_eq!(survey.hidden.describe("hidden"), None);
    let named = Walk::new(&[folder.path().join("tree/.git")], Hidden::Skip).unwrap();
    assert_eq!(named.survey().unwrap().files, 1, "a path given by hand is taken");
}

#[test]
fn one_file_is_the_root_itself_and_several_paths_share_a_new_one() {
    let folder = tree();
    let a = folder.path().join("tree/a");
    let b = folder.path().join("tree/b");
    let (_, seen) = entries(&Walk::new(std::slice::from_ref(&a), Hidden::Skip).unwrap());
    assert_eq!(seen, [(String::new(), EntryKind::File { size_bytes: 5 }, 5)]);
    let both = Walk::new(&[b, a.clone()], Hidden::Skip).unwrap();
    let (survey, seen) = entries(&both);
    let names: Vec<&str> = seen.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["", "a", "b", "b/c", "b/empty", "b/link"]);
    assert_eq!(survey.directories, 3);
    assert_eq!(both.default_name(), "");
    let error = Walk::new(&[a.clone(), a], Hidden::Skip).unwrap_err();
    assert_eq!(error.code(), "E_USAGE");
}

#[test]
fn a_link_given_by_hand_is_followed_and_missing_paths_are_named() {
    let folder = tree();
    symlink("tree", folder.path().join("link")).unwrap();
    let walk = Walk::new(&[folder.path().join("link")], Hidden::Skip).unwrap();
    assert_eq!(walk.survey().unwrap().files, 3);
    symlink("tree/a", folder.path().join("file-link")).unwrap();
    let (_, seen) = entries(&Walk::new(&[folder.path().join("file-link")], Hidden::Skip).unwrap());
    assert_eq!(seen.len(), 1);
    for missing in ["nowhere", "tree/b/link"] {
        let error = Walk::new(&[folder.path().join(missing)], Hidden::Skip).unwrap_err();
        assert_eq!(error.code(), "E_PATH", "{missing}");
    }
    let socket = folder.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    let error = Walk::new(&[socket], Hidden::Skip).unwrap().survey().unwrap_err();
    assert_eq!(error.code(), "E_SOURCE");
}

#[test]
fn an_unreadable_file_is_named_before_anything_is_sent() {
    let folder = tree();
    let secret = folder.path().join("tree/secret");
    std::fs::write(&secret, "x").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o000)).unwrap();
    if File::open(&secret).is_ok() {
        return; // The superuser may read everything.
    }
    let walk = Walk::new(&[folder.path().join("tree")], Hidden::Skip).unwrap();
    let error = walk.survey().unwrap_err();
    assert!(error.render(crate::cli::output::Format::Table).contains("tree/secret"));
}

/// What happens to a file while it is read.
type Change<'a> = &'a dyn Fn(&Path);

/// Changes the file as soon as its first bytes pass by.
struct Meddler<'a> {
    seen: usize,
    meddle: Option<Box<dyn FnOnce() + 'a>>,
}

impl Write for Meddler<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.seen += bytes.len();
        if self.seen > 4 * 512
            && let Some(meddle) = self.meddle.take()
        {
            meddle();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_fails_the_add_by_name() {
    let resize = |len: u64| {
        move |path: &Path| {
            OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
        }
    };
    let large = READ_LEN_BYTES as u64 * 2;
    let cases: [(&str, Change<'_>); 3] = [
        ("shorter", &resize(READ_LEN_BYTES as u64 + 1)),
        ("longer", &resize(large + 1)),
        ("written to", &|path| {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }),
    ];
    for (how, meddle) in cases {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        std::fs::write(&path, vec![1; usize::try_from(large).unwrap()]).unwrap();
        let walk = Walk::new(std::slice::from_ref(&path), Hidden::Skip).unwrap();
        let mut out = Meddler { seen: 0, meddle: Some(Box::new(|| meddle(&path))) };
        let error = walk.write_tar(&mut out, &mut |_| {}).unwrap_err();
        let text = error.render(crate::cli::output::Format::Table);
        assert!(text.contains(how) && text.contains("large"), "{how}: {text}");
    }
}

#[test]
fn a_file_that_vanishes_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), vec![1; 8192]).unwrap();
    let gone = folder.path().join("b");
    std::fs::create_dir(&gone).unwrap();
    std::fs::write(gone.join("x"), "x").unwrap();
    let walk = Walk::new(&[folder.path().to_owned()], Hidden::Skip).unwrap();
    let mut out =
        Meddler { seen: 0, meddle: Some(Box::new(|| std::fs::remove_dir_all(&gone).unwrap())) };
    let error = walk.write_tar(&mut out, &mut |_| {}).unwrap_err();
    assert!(error.render(crate::cli::output::Format::Table).contains("vanished"));
}

#[test]
fn progress_counts_bytes_of_files() {
    let folder = tree();
    let walk = Walk::new(&[folder.path().join("tree")], Hidden::Skip).unwrap();
    let mut last = 0;
    walk.write_tar(&mut io::sink(), &mut |bytes| {
        assert!(bytes >= last);
        last = bytes;
    })
    .unwrap();
    assert_eq!(last, 1005);
}

#[test]
fn rules_leave_out_what_they_match_as_in_a_gitignore() {
    let folder = tree();
    let root = folder.path().join("tree");
    std::fs::create_dir_all(root.join("b/build")).unwrap();
    std::fs::write(root.join("b/build/out"), "made").unwrap();
    std::fs::write(root.join("b/x.tmp"), "scratch").unwrap();
    std::fs::write(root.join("keep.tmp"), "kept").unwrap();
    let rules = folder.path().join("rules");
    std::fs::write(&rules, "# scratch\n*.tmp\nbuild/\n").unwrap();
    let ignoring = |lines: &[&str], file| {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        Walk::new(std::slice::from_ref(&root), Hidden::Skip).unwrap().ignoring(&lines, file)
    };
    let names = |walk: Walk| {
        let (survey, seen) = entries(&walk);
        let names: Vec<String> = seen.into_iter().map(|(name, ..)| name).collect();
        (survey.ignored.count, names.join(" "))
    };
    let with_file = names(ignoring(&["!keep.tmp", "/a"], Some(&rules)).unwrap());
    assert_eq!(with_file, (3, " b b/c b/empty b/link keep.tmp z".to_owned()));
    // A pattern with a slash is meant from the root.
    let anchored = names(ignoring(&["/c", "b/empty"], None).unwrap());
    assert_eq!(anchored, (1, " a b b/build b/build/out b/c b/link b/x.tmp keep.tmp z".to_owned()));
    let survey = ignoring(&["*.tmp"], None).unwrap().survey().unwrap();
    assert_eq!((survey.ignored.count, survey.files), (2, 4));

    let missing = ignoring(&[], Some(Path::new("no/such/rules"))).unwrap_err();
    assert_eq!(missing.code(), "E_PATH");
    assert_eq!(ignoring(&["a{b"], None).unwrap_err().code(), "E_USAGE");
}
