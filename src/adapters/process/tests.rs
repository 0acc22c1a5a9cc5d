//! The kernel's text is read by its fields, whatever the program is called.

use super::*;

#[test]
fn fields_are_found_behind_any_name() {
    let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 1 0";
    assert_eq!(cpu_ticks(stat), Some(300));
    assert_eq!(cpu_ticks("7 (cut off) S 1 7"), None);
    assert_eq!(resident_pages("100 42 7 1 0 9 0\n"), Some(42));
    assert_eq!(resident_pages(""), None);
}

#[test]
fn this_process_uses_memory_and_files() {
    let figures = figures();
    assert!(figures.resident_bytes.unwrap() > 100_000);
    assert!(figures.open_files.unwrap() >= 3, "at least the standard ones");
    assert!(figures.cpu_seconds.unwrap() >= 0.0);
}
