//! Addresses: every accepted form survives both round trips, every bad form has its reason.

use super::*;

#[test]
fn accepted_forms_survive_text_and_multiaddr() {
    let cases = [
        ("127.0.0.1:4100", "127.0.0.1:4100", "/ip4/127.0.0.1/tcp/4100"),
        ("0.0.0.0:0", "0.0.0.0:0", "/ip4/0.0.0.0/tcp/0"),
        ("[::1]:65535", "[::1]:65535", "/ip6/::1/tcp/65535"),
        ("[FD00:0::1]:1", "[fd00::1]:1", "/ip6/fd00::1/tcp/1"),
        ("Master-1.Example.:4100", "master-1.example:4100", "/dns/master-1.example/tcp/4100"),
        ("my_host:9", "my_host:9", "/dns/my_host/tcp/9"),
    ];
    for (text, shown, multiaddr) in cases {
        let addr: NetAddr = text.parse().unwrap();
        assert_eq!(addr.to_string(), shown);
        assert_eq!(addr.to_multiaddr().to_string(), multiaddr);
        assert_eq!(NetAddr::from_multiaddr(&addr.to_multiaddr()), Some(addr));
    }
}

#[test]
fn bad_forms_name_the_fault() {
    for text in ["", "host", "[::1]", "127.0.0.1"] {
        assert!(matches!(text.parse::<NetAddr>(), Err(AddrError::NoPort { .. })), "{text}");
    }
    for text in ["host:", "host:65536", "host:+1", "host:-1", "[::1]:x", "host:1 "] {
        let parsed = text.parse::<NetAddr>();
        assert!(
            matches!(parsed, Err(AddrError::BadPort { .. } | AddrError::NoPort { .. })),
            "{text}: {parsed:?}"
        );
    }
    let long = format!("{}:1", "a".repeat(64));
    for text in [":1", "::1:1", "300.0.0.1:1", "a..b:1", "-a:1", "a b:1", "[::g]:1", &long] {
        assert!(matches!(text.parse::<NetAddr>(), Err(AddrError::BadHost { .. })), "{text}");
    }
}

#[test]
fn a_trailing_peer_id_is_dropped_and_other_transports_are_refused() {
    let peer = libp2p::PeerId::random();
    let with_peer: Multiaddr = format!("/ip4/1.2.3.4/tcp/5/p2p/{peer}").parse().unwrap();
    assert_eq!(NetAddr::from_multiaddr(&with_peer).unwrap().to_string(), "1.2.3.4:5");
    for text in ["/ip4/1.2.3.4/udp/5/quic-v1", "/ip4/1.2.3.4/tcp/5/ws", "/memory/5", "/ip4/1.2.3.4"]
    {
        assert_eq!(NetAddr::from_multiaddr(&text.parse().unwrap()), None, "{text}");
    }
}
