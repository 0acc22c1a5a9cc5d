//! The file that `init` writes: only what differs from the defaults, each with its help.

use serde_json::Value;

use super::keys::{DefaultValue, Form, KEYS, Key};
use super::load::{Loaded, Origin};

/// The initial configuration file for settings that were given by flag or environment. It holds only
/// those that differ from their default; reading it back gives the same settings.
pub fn initial_file(loaded: &Loaded) -> String {
    let mut text = String::from(
        "# Configuration of one ipfs-kit node: only what differs from the defaults.\n\
         # All settings: ipfs-kit help config\n\
         # What is in force, and where it comes from: ipfs-kit config show --origin\n",
    );
    let mut section_open = "";
    for entry in &loaded.entries {
        // The file lies in the folder, so the folder goes without saying.
        if entry.origin == Origin::Default
            || entry.key.path == "folder"
            || is_default(entry.key, &entry.value)
        {
            continue;
        }
        let (section, name) = entry.key.path.split_once('.').unwrap_or(("", entry.key.path));
        let indent = if section.is_empty() { "" } else { "  " };
        text.push('\n');
        if section != section_open && !section.is_empty() {
            text.push_str(&format!("{section}:\n"));
        }
        section_open = section;
        text.push_str(&format!("{indent}# {} ({})\n", entry.key.help, entry.key.form.describe()));
        write_value(&mut text, indent, name, &entry.value);
    }
    text
}

fn is_default(key: &Key, value: &Value) -> bool {
    matches!(key.default, DefaultValue::Text(text) if key.form.read_text(text).as_ref() == Ok(value))
}

/// JSON scalars are YAML scalars, with quotes that keep `[::]:4701` and `off` what they are.
fn write_value(text: &mut String, indent: &str, name: &str, value: &Value) {
    match value {
        Value::Array(items) if items.is_empty() => text.push_str(&format!("{indent}{name}: []\n")),
        Value::Array(items) => {
            text.push_str(&format!("{indent}{name}:\n"));
            for item in items {
                text.push_str(&format!("{indent}  - {item}\n"));
            }
        }
        scalar => text.push_str(&format!("{indent}{name}: {scalar}\n")),
    }
}

/// The table of settings for `help config`.
pub fn help_text() -> String {
    let mut text = String::new();
    for key in KEYS {
        let default = match key.default {
            DefaultValue::Text("") => "empty".to_owned(),
            DefaultValue::Text(default) => default.to_owned(),
            DefaultValue::HostName => "the host name".to_owned(),
            DefaultValue::HomeFolder => "~/.ipfs-kit".to_owned(),
        };
        let list = if matches!(key.form, Form::Addresses(_) | Form::Gateways) {
            ", comma-separated"
        } else {
            ""
        };
        text.push_str(&format!(
            "{}\n    {}\n    Form: {}. Default: {default}. Environment: {}{list}.\n",
            key.path,
            key.help,
            key.form.describe(),
            key.environment_name(),
        ));
    }
    text
}

#[cfg(test)]
mod tests;
