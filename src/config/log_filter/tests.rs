//! Filters are read strictly, written back as they were meant, and know our rooms.

use super::*;

#[test]
fn a_filter_comes_back_as_its_canonical_text() {
    for (text, canonical) in [
        ("info", "info"),
        (" warn , net = debug ", "warn,net=debug"),
        ("off,raft=trace,libp2p_swarm=off", "off,raft=trace,libp2p_swarm=off"),
    ] {
        let filter: LogFilter = text.parse().unwrap();
        assert_eq!(filter.to_string(), canonical);
        assert_eq!(canonical.parse::<LogFilter>().unwrap(), filter);
    }
}

#[test]
fn what_is_no_filter_is_refused_with_its_reason() {
    let refused = |text: &str| text.parse::<LogFilter>().unwrap_err();
    let level = |part: &str| LogFilterError::Level { part: part.into() };
    assert_eq!(refused(""), level(""));
    assert_eq!(refused("loud"), level("loud"));
    assert_eq!(refused("info,net=loud"), level("net=loud"));
    assert_eq!(refused("net=debug"), LogFilterError::Order);
    assert_eq!(refused("info,debug"), LogFilterError::Order);
    assert_eq!(refused("info,=debug"), LogFilterError::Module { module: String::new() });
    assert_eq!(refused("info,a b=debug"), LogFilterError::Module { module: "a b".into() });
    assert_eq!(refused(&format!("info{}", ",net=debug".repeat(33))), LogFilterError::TooMany);
}

#[test]
fn rooms_have_short_names() {
    let filter: LogFilter =
        "info,net=debug,actors::transfer=trace,http=warn,raft=error".parse().unwrap();
    let targets: Vec<(String, LogLevel)> = filter.targets().collect();
    let expected = [
        ("ipfs_kit_net", LogLevel::Debug),
        ("ipfs_kit_actors::transfer", LogLevel::Trace),
        ("ipfs_kit::http", LogLevel::Warn),
        ("raft", LogLevel::Error),
    ];
    assert_eq!(targets, expected.map(|(name, level)| (name.to_owned(), level)));
}
