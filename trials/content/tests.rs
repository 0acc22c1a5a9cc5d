//! Content is what its number says, and its blocks are all that a store would keep of it.

use super::*;

#[test]
fn content_follows_from_its_number_and_no_two_are_the_same() {
    let mut seen = BTreeSet::new();
    for number in 0..40 {
        let content = Content::of(7, number).unwrap();
        assert_eq!(content.cid, Content::of(7, number).unwrap().cid);
        assert!(seen.insert(content.cid.clone()), "{number} was there before");
        assert!(content.blocks.contains(&content.cid));
        assert!(!content.files().is_empty());
    }
    assert_ne!(Content::of(8, 0).unwrap().cid, Content::of(7, 0).unwrap().cid);
}

#[test]
fn a_part_of_a_folder_is_in_it_with_all_its_blocks() {
    let parts = (0..40).filter_map(|number| {
        let whole = Content::of(7, number).unwrap();
        whole.part().unwrap().map(|part| (whole, part))
    });
    let mut seen = 0;
    for (whole, part) in parts {
        seen += 1;
        assert!(part.is_file());
        assert!(part.blocks.is_subset(&whole.blocks));
        assert!(part.blocks.len() < whole.blocks.len());
    }
    assert!(seen > 10, "folders are among them");
}
