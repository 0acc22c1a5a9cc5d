//! What is an address, and why the rest is none.

use proptest::prelude::*;

use super::*;

#[test]
fn reads_and_writes_all_three_hosts() {
    for text in ["127.0.0.1:4701", "[::1]:4701", "node-1.example.org:80", "localhost:0", "a_b:1"] {
        let address: HostPort = text.parse().unwrap();
        assert_eq!(address.to_string(), text);
    }
    assert_eq!("Node.Example.:1".parse::<HostPort>().unwrap().to_string(), "node.example:1");
    assert_eq!("[0:0::1]:1".parse::<HostPort>().unwrap().to_string(), "[::1]:1");
}

#[test]
fn names_what_is_wrong() {
    for (text, reason) in [
        ("host", "port is missing"),
        ("[::1]", "port is missing"),
        ("[::1:4", "not closed"),
        ("::1:4701", "brackets"),
        ("[127.0.0.1]:1", "IPv6"),
        ("host:70000", "65535"),
        ("host:+1", "no number"),
        ("host:", "65535"),
        (":1", "host is missing"),
        ("256.1.1.1:1", "looks like an IPv4"),
        ("a b:1", "neither"),
        ("-a:1", "neither"),
        ("a..b:1", "neither"),
        ("", "port is missing"),
    ] {
        let error = text.parse::<HostPort>().unwrap_err().to_string();
        assert!(error.contains(reason), "{text:?}: {error}");
    }
    assert!(format!("{}:1", "a".repeat(300)).parse::<HostPort>().is_err());
}

#[test]
fn knows_wildcards_and_loopback() {
    let is = |text: &str| {
        let address: HostPort = text.parse().unwrap();
        (address.is_wildcard(), address.is_loopback())
    };
    assert_eq!(is("0.0.0.0:1"), (true, false));
    assert_eq!(is("[::]:1"), (true, false));
    assert_eq!(is("127.9.9.9:1"), (false, true));
    assert_eq!(is("[::1]:1"), (false, true));
    assert_eq!(is("localhost:1"), (false, true));
    assert_eq!(is("example.org:1"), (false, false));
}

#[test]
fn the_api_is_tcp_or_a_unix_socket() {
    assert_eq!(
        "unix:/run/a.sock".parse::<ApiAddress>().unwrap(),
        ApiAddress::Unix("/run/a.sock".into())
    );
    assert!(matches!("localhost:1".parse(), Ok(ApiAddress::Tcp(_))));
    assert!("unix:".parse::<ApiAddress>().is_err());
    assert!(format!("unix:/{}", "a".repeat(103)).parse::<ApiAddress>().is_err());
}

proptest! {
    #[test]
    fn any_text_is_refused_or_comes_back(text in ".{0,40}") {
        if let Ok(address) = text.parse::<HostPort>() {
            prop_assert_eq!(address.to_string().parse::<HostPort>().unwrap(), address);
        }
        if let Ok(address) = text.parse::<ApiAddress>() {
            prop_assert_eq!(address.to_string().parse::<ApiAddress>().unwrap(), address);
        }
    }
}

#[test]
fn what_leads_here_is_told_from_what_leads_out() {
    let leads_here = |text: &str| text.parse::<ApiAddress>().unwrap().leads_here();
    for here in ["unix:/a", "127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "localhost:1", "0.0.0.0:1"] {
        assert!(leads_here(here), "{here}");
    }
    for out in ["192.0.2.1:1", "[2001:db8::1]:1", "m1.example:1", "localhost.example:1"] {
        assert!(!leads_here(out), "{out}");
    }
}
