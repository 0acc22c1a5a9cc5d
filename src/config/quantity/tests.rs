//! What is written is read back, and what is wrong is named.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

#[test]
fn reads_the_units() {
    assert_eq!(parse_duration("500ms").unwrap(), Duration::from_millis(500));
    assert_eq!(parse_duration("10 s").unwrap(), Duration::from_secs(10));
    assert_eq!(parse_duration("2d").unwrap(), Duration::from_secs(172_800));
    assert_eq!(parse_size("10GiB").unwrap(), 10 << 30);
    assert_eq!(parse_size("10GB").unwrap(), 10_000_000_000);
    assert_eq!(parse_size("7").unwrap(), 7);
}

#[test]
fn refuses_what_is_ambiguous_or_too_large() {
    for text in ["", "10", "s", "1.5s", "-1s", "10 sec", "1h30m", "99999999999999999999s"] {
        assert!(parse_duration(text).is_err(), "{text:?}");
    }
    for text in ["", "GiB", "1.5GiB", "-1B", "1gib", "1G", "99999999999TiB"] {
        assert!(parse_size(text).is_err(), "{text:?}");
    }
    assert!(parse_duration("18446744073709551615d").unwrap_err().to_string().contains("too large"));
}

#[test]
fn shows_three_digits() {
    for (bytes, shown) in [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (1_536, "1.50 KiB"),
        (10_240, "10.0 KiB"),
        (1_048_575, "1024 KiB"),
        (250 << 20, "250 MiB"),
        (u64::MAX, "16.0 EiB"),
    ] {
        assert_eq!(display_size(bytes), shown);
    }
}

proptest! {
    #[test]
    fn formatted_quantities_are_read_back(number in any::<u64>(), shift in 0u32..64) {
        let number = number >> shift;
        prop_assert_eq!(parse_size(&format_size(number)).unwrap(), number);
        let duration = Duration::from_millis(number);
        prop_assert_eq!(parse_duration(&format_duration(duration)).unwrap(), duration);
    }

    #[test]
    fn any_text_is_answered(text in ".{0,30}") {
        let _ = parse_duration(&text);
        let _ = parse_size(&text);
    }
}
