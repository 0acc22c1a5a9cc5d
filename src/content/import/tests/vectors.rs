//! The vectors of IPIP-499 and of the UnixFS specification.

use std::num::NonZero;

use super::{Keystream, MemoryStore};
use crate::import::{FileImporter, Hashing, TreeBuilder};
use crate::profile::{ImportParams, Layout, Profile};

const V1: Profile = Profile::UnixfsV1_2025;
const V0: Profile = Profile::UnixfsV0_2015;
const TWO_THREADS: Hashing = Hashing::Threads(NonZero::new(2).unwrap());

fn keystream_cid(params: ImportParams, seed: &str, len_bytes: u64) -> String {
    let importer = FileImporter::new(params, TWO_THREADS);
    let sink = MemoryStore::without_leaves();
    let file = importer.import(Keystream::new(seed, len_bytes), &sink).unwrap();
    assert_eq!(file.size_bytes, len_bytes);
    file.cid.to_string()
}

/// A directory of files that hold `x`, with names from the keystream.
fn directory_cid(profile: Profile, count: usize, name_len: usize, last_len: usize) -> String {
    const ALPHABET: &[u8; 39] = b"abcdefghijklmnopqrstuvwxyz01234567890-_";
    let mut stream = Vec::new();
    let seed = format!("hamt-{}", profile.name());
    std::io::Read::read_to_end(&mut Keystream::new(&seed, 1 << 20), &mut stream).unwrap();
    let mut stream = stream.into_iter();
    let mut names: Vec<Vec<u8>> = (0..count)
        .map(|index| {
            let len = if index == count - 1 { last_len } else { name_len };
            stream.by_ref().take(len).map(|byte| ALPHABET[usize::from(byte) % 39]).collect()
        })
        .collect();
    names.sort();
    let sink = MemoryStore::default();
    let mut tree = TreeBuilder::new(profile.params(), Hashing::Inline, &sink).unwrap();
    for name in &names {
        tree.add_file(name, b"x".as_slice()).unwrap();
    }
    tree.finish().unwrap().cid.to_string()
}

fn bytes_cid(profile: Profile, content: &[u8]) -> String {
    let importer = FileImporter::new(profile.params(), Hashing::Inline);
    importer.import(content, &MemoryStore::default()).unwrap().cid.to_string()
}

#[test]
fn v0_2015_small_file() {
    let cid = bytes_cid(V0, b"hello world");
    assert_eq!(cid, "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD");
}

#[test]
fn v0_2015_file_at_and_over_chunk_size() {
    let at = keystream_cid(V0.params(), "chunk-v0-seed", 262_144);
    assert_eq!(at, "QmWmRj3dFDZdb6ABvbmKhEL6TmPbAfBZ1t5BxsEyJrcZhE");
    let over = keystream_cid(V0.params(), "chunk-v0-seed", 262_145);
    assert_eq!(over, "QmYyLxtzZyW22zpoVAtKANLRHpDjZtNeDjQdJrcQNWoRkJ");
}

#[test]
fn v0_2015_file_at_and_over_max_links() {
    let at = keystream_cid(V0.params(), "v0-seed", 174 * 262_144);
    assert_eq!(at, "QmUbBALi174SnogsUzLpYbD4xPiBSFANF4iztWCsHbMKh2");
    let over = keystream_cid(V0.params(), "v0-seed", 174 * 262_144 + 1);
    assert_eq!(over, "QmV81WL765sC8DXsRhE5fJv2rwhS4icHRaf3J9Zk5FdRnW");
}

#[test]
fn v0_2015_directory_at_and_over_hamt_threshold() {
    let at = directory_cid(V0, 4096, 30, 30);
    assert_eq!(at, "QmX5GtRk3TSSEHtdrykgqm4eqMEn3n2XhfkFAis5fjyZmN");
    let over = directory_cid(V0, 4033, 31, 31);
    assert_eq!(over, "QmeMiJzmhpJAUgynAcxTQYek5PPKgdv3qEvFsdV3XpVnvP");
}

#[test]
fn v1_2025_small_file() {
    let cid = bytes_cid(V1, b"hello world");
    assert_eq!(cid, "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e");
}

#[test]
fn v1_2025_file_at_and_over_chunk_size() {
    let at = keystream_cid(V1.params(), "chunk-v1-seed", 1_048_576);
    assert_eq!(at, "bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta");
    let over = keystream_cid(V1.params(), "chunk-v1-seed", 1_048_577);
    assert_eq!(over, "bafybeigmix7t42i6jacydtquhet7srwvgpizfg7gjbq7627d35mjomtu64");
}

#[test]
fn v1_2025_file_at_max_links() {
    let at = keystream_cid(V1.params(), "v1-2025-seed", 1024 * 1_048_576);
    assert_eq!(at, "bafybeihmf37wcuvtx4hpu7he5zl5qaf2ineo2lqlfrapokkm5zzw7zyhvm");
}

#[test]
fn v1_2025_file_over_max_links() {
    let over = keystream_cid(V1.params(), "v1-2025-seed", 1024 * 1_048_576 + 1);
    assert_eq!(over, "bafybeibdsi225ugbkmpbdohnxioyab6jsqrmkts3twhpvfnzp77xtzpyhe");
}

#[test]
fn v1_2025_directory_at_and_over_hamt_threshold() {
    let at = directory_cid(V1, 4766, 11, 21);
    assert_eq!(at, "bafybeic3h7rwruealwxkacabdy45jivq2crwz6bufb5ljwupn36gicplx4");
    let over = directory_cid(V1, 4766, 11, 22);
    assert_eq!(over, "bafybeiegvuterwurhdtkikfhbxcldohmxp566vpjdofhzmnhv6o4freidu");
}

#[test]
fn trickle_file_of_180_leaves() {
    let params = ImportParams { layout: Layout::Trickle, ..V0.params() };
    let cid = keystream_cid(params, "trickle-test", 45 * 1_048_576);
    assert_eq!(cid, "QmbqR6g7YCpndLcCZZXkGyj13uMcSrwDYUvZ47vJqBVjUH");
}

#[test]
fn empty_things_have_their_well_known_cids() {
    let empty_tree = |profile: Profile| {
        let sink = MemoryStore::default();
        let tree = TreeBuilder::new(profile.params(), Hashing::Inline, &sink).unwrap();
        tree.finish().unwrap().cid.to_string()
    };
    assert_eq!(empty_tree(V0), "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn");
    let v1 = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354";
    assert_eq!(empty_tree(V1), v1);
    assert_eq!(bytes_cid(V0, b""), "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH");
    let raw = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";
    assert_eq!(bytes_cid(V1, b""), raw);
}

#[test]
fn symlinks_match_the_published_directory() {
    let sink = MemoryStore::default();
    let mut seen = Vec::new();
    let mut tree = TreeBuilder::new(V0.params(), Hashing::Inline, &sink)
        .unwrap()
        .with_observer(|entry| seen.push((entry.path.to_owned(), entry.cid.to_string())));
    tree.add_symlink(b"bar", b"foo").unwrap();
    tree.add_file(b"foo", b"content\n".as_slice()).unwrap();
    let root = tree.finish().unwrap().cid.to_string();
    assert_eq!(root, "QmWvY6FaqFMS89YAQ9NAPjVP4WZKA1qbHbicc9HeSKQTgt");
    assert_eq!(seen[0].1, "QmTB8BaCJdCH5H3k7GrxJsxgDNmNYGGR71C58ERkivXoj5");
    assert_eq!(seen[1].1, "Qme2y5HA5kvo2jAx13UsnV5bQJVijiAJCPvaW3JGQWhvJZ");
    assert_eq!(seen[2], (String::new(), root));
}
