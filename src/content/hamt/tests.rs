//! The hash against published values, and the names of links.

use super::{Bitmap, Width, murmur3_x64_64};

#[test]
fn hash_matches_reference_values() {
    // From the reference implementation, first half of the 128-bit result.
    assert_eq!(murmur3_x64_64(b""), 0);
    assert_eq!(murmur3_x64_64(b"hello"), 0xcbd8_a7b3_41bd_9b02);
    assert_eq!(murmur3_x64_64(b"hello, world"), 0x342f_ac62_3a5e_bc8e);
    let fox = b"The quick brown fox jumps over the lazy dog.";
    assert_eq!(murmur3_x64_64(fox), 0xcd99_481f_9ee9_02c9);
}

#[test]
fn the_specifications_example_lands_in_its_buckets() {
    let width = Width::from_fanout(256).unwrap();
    let hash = murmur3_x64_64(b"470.txt");
    assert_eq!((width.bucket(hash, 0), width.bucket(hash, 1)), (0x00, 0x6e));
    assert_eq!(width.link_name(0x6e, "470.txt"), "6E470.txt");
    assert_eq!(width.bucket(murmur3_x64_64(b"742.txt"), 1), 0xff);
}

#[test]
fn link_names_are_read_strictly() {
    let width = Width::from_fanout(256).unwrap();
    assert_eq!(width.split_name(b"FFx"), Some((255, b"x".as_slice())));
    assert_eq!(width.split_name(b"0A"), Some((10, b"".as_slice())));
    assert_eq!(width.split_name(b"ffx"), None);
    assert_eq!(width.split_name(b"F"), None);
    let narrow = Width::from_fanout(512).unwrap();
    assert_eq!(narrow.split_name(b"1FFx"), Some((511, b"x".as_slice())));
    assert_eq!(narrow.split_name(b"200x"), None);
}

#[test]
fn widths_outside_the_format_are_refused() {
    for fanout in [0, 1, 4, 255, 2048, u64::MAX] {
        assert_eq!(Width::from_fanout(fanout), None, "{fanout}");
    }
    assert_eq!(Width::from_fanout(1024).unwrap().levels(), 6);
}

#[test]
fn bitmaps_are_big_endian_without_leading_zeros() {
    let width = Width::from_fanout(256).unwrap();
    let mut bitmap = Bitmap::empty(width);
    assert_eq!(bitmap.encoded(), b"");
    bitmap.set(0);
    bitmap.set(9);
    assert_eq!(bitmap.encoded(), [0b10, 0b1]);
    assert_eq!(Bitmap::decode(width, &[0b10, 0b1]), Some(bitmap));
    assert_eq!(Bitmap::decode(width, &[1; 33]), None);
}
