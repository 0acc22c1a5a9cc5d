//! What was found is printed whole, and decides how the command ends.

use serde_json::Value;

use super::*;
use crate::cli::output::Format;

fn finding(status: judge::Status) -> Finding {
    Finding { status, check: "c".into(), finding: "f".into(), hint: "h".into() }
}

#[test]
fn a_failed_check_fails_the_command_and_a_warning_does_not() {
    let end = |statuses: &[judge::Status]| {
        let findings: Vec<Finding> = statuses.iter().copied().map(finding).collect();
        let mut printed = Vec::new();
        let result = report(&findings, &mut Output::new(&mut printed, Format::Json));
        let rows: Value = serde_json::from_slice(&printed).unwrap();
        assert_eq!(rows.as_array().unwrap().len(), statuses.len());
        result
    };
    use judge::Status::{Fail, Pass, Warn};
    assert!(matches!(end(&[Pass, Warn]), Ok(Done::Fully)));
    let Err(Halt::Failed(error)) = end(&[Pass, Fail, Fail]) else { panic!("it failed") };
    assert_eq!((error.code(), error.class().exit_code()), ("E_UNHEALTHY", 1));
}

#[test]
fn the_sync_probe_measures_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let times = sync_times(folder.path()).unwrap();
    assert_eq!(times.len(), SYNCS);
    assert!(times.is_sorted());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    assert!(sync_times(&folder.path().join("absent")).is_err());
}
