//! Without a terminal there is never a bar.

use super::*;

#[test]
fn the_form_follows_verbosity_where_no_terminal_is() {
    if std::io::stderr().is_terminal() {
        return;
    }
    let form = |verbosity| Progress::bytes("x", Some(1), verbosity).form_name();
    assert_eq!(form(Verbosity::Quiet), "silent");
    assert_eq!(form(Verbosity::Normal), "silent");
    assert_eq!(form(Verbosity::Verbose), "lines");
}

#[test]
fn lines_come_once_per_step() {
    let mut progress = Progress {
        label: "x".into(),
        form: Form::Lines { next_bytes: LINE_EVERY_BYTES },
        total_bytes: None,
    };
    progress.set(3 * LINE_EVERY_BYTES + 1);
    assert!(
        matches!(progress.form, Form::Lines { next_bytes } if next_bytes == 4 * LINE_EVERY_BYTES)
    );
}

impl Progress {
    fn form_name(&self) -> &'static str {
        match self.form {
            Form::Bar(_) => "bar",
            Form::Lines { .. } => "lines",
            Form::Silent => "silent",
        }
    }
}
