//! The command line as users type it.

use clap::CommandFactory;

use super::*;
use crate::config::keys;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn the_documented_lines_parse() {
    for line in [
        "ipfs-kit init",
        "ipfs-kit init --role master --listen 0.0.0.0:4701 --advertise node1.example:4701 --replicas 2-3",
        "ipfs-kit init --join TOKEN --storage-max 10GiB --zone rack1 --name n --folder /f --api unix:/s",
        "ipfs-kit up --dev",
        "ipfs-kit demo /usr/share --json",
        "ipfs-kit status --output json",
        "ipfs-kit --folder /f --timeout 30s add a b --replicas 2 --ack local --hidden --expire 30d",
        "ipfs-kit get bafy/a/b -o dest",
        "ipfs-kit cat bafy --offset 10 --length 1KiB",
        "ipfs-kit pin add bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e --wait --meta a=b",
        "ipfs-kit pin status bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e --wait=max",
        "ipfs-kit node ls",
        "ipfs-kit node show",
        "ipfs-kit node rm n3 --yes",
        "ipfs-kit cluster token create --role master --expire 1h",
        "ipfs-kit cluster token revoke 0011223344556677",
        "ipfs-kit index find report",
        "ipfs-kit call --list",
        "ipfs-kit call pin.ls {\"limit\":1}",
        "ipfs-kit config show --origin",
        "ipfs-kit help exit-codes",
        "ipfs-kit version -q",
        "ipfs-kit doctor --output json",
        "ipfs-kit completions zsh",
        "ipfs-kit man /tmp/pages",
    ] {
        parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn wrong_lines_are_refused() {
    for line in [
        "ipfs-kit",
        "ipfs-kit add",
        "ipfs-kit pin add nocid",
        "ipfs-kit pin rm",
        "ipfs-kit init --role boss",
        "ipfs-kit init --replicas 3-2",
        "ipfs-kit add x --replicas 0",
        "ipfs-kit add x --profile mine",
        "ipfs-kit call",
        "ipfs-kit call x --list",
        "ipfs-kit status -q -v",
        "ipfs-kit status --output xml",
        "ipfs-kit status --timeout soon",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}

#[test]
fn flags_of_init_are_settings() {
    let line = "ipfs-kit init --role master --name a --listen a:1 --advertise b:1 --storage-max 1GiB --zone z --replicas 1-2";
    let Command::Node(NodeCommand::Init(args)) = parse(line).unwrap().command else {
        panic!("init is a node command")
    };
    let flags = args.flags();
    assert_eq!(flags.len(), 8);
    for flag in &flags {
        let key = keys::find(flag.path).unwrap_or_else(|| panic!("{} is no key", flag.path));
        key.form.read_text(&flag.value).unwrap();
    }
    assert!(InitArgs::default().flags().is_empty());
    let globals =
        Globals { api: Some("unix:/s".into()), folder: Some("/f".into()), ..Globals::default() };
    assert!(keys::find(globals.api_flag().unwrap().path).is_some());
    assert!(globals.sources(flags).flags.iter().all(|flag| keys::find(flag.path).is_some()));
}

#[test]
fn copies_are_one_number_or_two() {
    assert_eq!("2".parse(), Ok(Replicas { min: 2, max: 2 }));
    assert_eq!("2-3".parse(), Ok(Replicas { min: 2, max: 3 }));
    for wrong in ["", "-", "0", "a", "3-2", "1-2-3", "70000"] {
        assert!(wrong.parse::<Replicas>().is_err(), "{wrong:?}");
    }
}
