//! Whose secrets are safe.

use super::*;

#[test]
fn only_the_owner_and_root_may_have_a_secret() {
    let trusted = [0, 7];
    for (mode, owner) in [(0o600, 7), (0o400, 7), (0o600, 0)] {
        assert_eq!(judge(0o100_000 | mode, owner, &trusted), None);
    }
    for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o601] {
        assert_eq!(judge(0o100_000 | mode, 7, &trusted), Some(Exposure::Mode(mode)));
    }
    assert_eq!(judge(0o100_600, 8, &trusted), Some(Exposure::Owner(8)));
    let text = Exposure::Mode(0o44).to_string();
    assert!(text.contains("044"), "{text}");
}
