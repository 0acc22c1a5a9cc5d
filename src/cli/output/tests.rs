//! Every format, page boundaries, and text that a terminal must not obey.

use serde_json::json;

use super::*;

static COLUMNS: &[Column] = &[
    Column::text("NAME", "/name"),
    Column::shown("SIZE", "/size", Show::Size),
    Column::text("TAGS", "/tags"),
];

fn print(format: Format, rows: &[Value]) -> String {
    let mut bytes = Vec::new();
    let mut output = Output::new(&mut bytes, format);
    let mut list = output.rows(COLUMNS);
    for row in rows {
        list.push(row).unwrap();
    }
    assert_eq!(list.finish().unwrap(), rows.len() as u64);
    String::from_utf8(bytes).unwrap()
}

#[test]
fn tables_are_aligned_and_show_what_is_missing() {
    let rows = [json!({"name": "a", "size": 2048, "tags": ["x", "y"]}), json!({"name": "bbbbbb"})];
    assert_eq!(
        print(Format::Table, &rows),
        "NAME    SIZE      TAGS\na       2.00 KiB  x, y\nbbbbbb  -         -\n"
    );
    assert_eq!(print(Format::Table, &[]), "NAME  SIZE  TAGS\n");
}

#[test]
fn later_pages_stay_below_the_first() {
    let mut rows: Vec<Value> =
        (0..PAGE_ROWS).map(|_| json!({"name": "long-name", "size": 0})).collect();
    rows.push(json!({"name": "b", "size": 0}));
    let text = print(Format::Table, &rows);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), PAGE_ROWS + 2);
    assert_eq!(lines[1].find("0 B"), lines[PAGE_ROWS + 1].find("0 B"));
    assert_eq!(lines[0].find("SIZE"), lines[PAGE_ROWS + 1].find("0 B"));
}

#[test]
fn json_is_one_array_and_ndjson_one_object_per_line() {
    let rows = [json!({"name": "a"}), json!({"name": "b"})];
    let array: Vec<Value> = serde_json::from_str(&print(Format::Json, &rows)).unwrap();
    assert_eq!(array, rows);
    assert!(serde_json::from_str::<Vec<Value>>(&print(Format::Json, &[])).unwrap().is_empty());
    assert_eq!(print(Format::Ndjson, &rows), "{\"name\":\"a\"}\n{\"name\":\"b\"}\n");
    assert_eq!(print(Format::Ndjson, &[]), "");
}

#[test]
fn a_record_lists_its_fields() {
    let mut bytes = Vec::new();
    let value = json!({"name": "a", "size": 1});
    Output::new(&mut bytes, Format::Table).record(&value, COLUMNS).unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), "NAME  a\nSIZE  1 B\nTAGS  -\n");
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    assert_eq!(printable("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
    assert_eq!(printable("grün"), "grün");
    assert!(!print(Format::Table, &[json!({"name": "\u{1b}]0;x\u{7}"})]).contains('\u{1b}'));
}

#[test]
fn spans_and_moments_are_readable() {
    for (millis, shown) in [
        (12, "12ms"),
        (1500, "1.5s"),
        (125_000, "2m 5s"),
        (3_660_000, "1h 1m"),
        (90_000_000, "1d 1h"),
    ] {
        assert_eq!(display_millis(millis), shown);
    }
    assert_eq!(display_time(0), "1970-01-01 00:00:00");
    assert_eq!(display_time(951_782_400_000), "2000-02-29 00:00:00");
    assert_eq!(display_time(1_795_373_954_000), "2026-11-22 18:59:14");
    assert_eq!(display_time(4_107_542_399_000), "2100-02-28 23:59:59");
    assert_eq!(display_time(4_107_542_400_000), "2100-03-01 00:00:00");
}
