//! The form of an error is part of the interface.

use super::*;

#[derive(Debug, thiserror::Error)]
#[error("outer")]
struct Outer(#[source] io::Error);

fn failure() -> CliError {
    CliError::new("E_NO_NODE", "no node is running in /a")
        .because(&Outer(io::Error::other("inner")))
        .hint("start it: ipfs-kit up --folder /a")
}

#[test]
fn text_has_what_why_hint_and_code() {
    assert_eq!(
        failure().render(Format::Table),
        "error: no node is running in /a\n  because: outer\n  because: inner\n  \
         hint: start it: ipfs-kit up --folder /a\n  code: E_NO_NODE\n"
    );
}

#[test]
fn json_is_one_line_with_the_same() {
    for format in [Format::Json, Format::Ndjson] {
        let text = failure().render(format);
        assert_eq!(text.lines().count(), 1);
        let object: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(object["error"]["code"], "E_NO_NODE");
        assert_eq!(object["error"]["retryable"], true);
        assert_eq!(object["error"]["causes"][1], "inner");
    }
}

#[test]
fn repeated_causes_are_said_once() {
    #[derive(Debug, thiserror::Error)]
    #[error("outer: {0}")]
    struct Repeats(#[source] io::Error);
    let error = CliError::new("E_IO", "x").because(&Repeats(io::Error::other("inner")));
    assert_eq!(error.causes, ["outer: inner"]);
}

#[test]
fn the_nodes_failure_keeps_its_code_even_if_unknown() {
    let error = CliError::from(OperationFailure {
        code: "E_NEW".into(),
        message: "m".into(),
        hint: None,
        retryable: true,
    });
    assert_eq!((error.code(), error.class(), error.retryable), ("E_NEW", Class::Failure, true));
}

#[test]
fn a_closed_pipe_is_no_failure() {
    assert!(matches!(Halt::from(io::Error::from(io::ErrorKind::BrokenPipe)), Halt::PipeClosed));
    assert!(matches!(Halt::from(io::Error::other("disk")), Halt::Failed(_)));
}

#[test]
fn helps_are_generated_from_the_table() {
    assert!(exit_codes_text().contains(" 62  timeout"));
    assert_eq!(errors_text().lines().count(), CODES.len());
}
