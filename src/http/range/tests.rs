//! One byte range in its three forms; everything else is ignored.

use super::*;

#[test]
fn the_three_forms_are_read() {
    let from = |offset, length| Some(Range::From(ByteRange { offset, length }));
    assert_eq!(parse("bytes=0-9"), from(0, Some(10)));
    assert_eq!(parse("bytes=5-5"), from(5, Some(1)));
    assert_eq!(parse("bytes=7-"), from(7, None));
    assert_eq!(parse("bytes=-3"), Some(Range::Last(3)));
    for ignored in
        ["bytes=9-0", "bytes=-", "bytes=a-b", "bytes=0-1,3-4", "items=0-1", "", "bytes=+1-2"]
    {
        assert_eq!(parse(ignored), None, "{ignored:?}");
    }
    assert_eq!(parse("bytes=0-18446744073709551615"), None, "its length does not fit");
}

#[test]
fn ranges_are_cut_to_the_file() {
    let covered = |offset, length| covered_bytes(ByteRange { offset, length }, 10);
    assert_eq!(covered(0, None), 10);
    assert_eq!(covered(4, Some(3)), 3);
    assert_eq!(covered(8, Some(u64::MAX)), 2);
    assert_eq!(covered(11, None), 0);
}
