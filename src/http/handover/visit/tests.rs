//! Nobody is spoken to who is no node of this machine.

use tokio::net::UnixListener;

use super::*;

const TICKET: &str = "0123456789abcdef0123456789abcdef";

/// Whether an offer is refused without a word to whoever listens at a socket of that name.
async fn is_refused_unheard(name: &str, ticket: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    let listener = UnixListener::bind(&path).unwrap();
    let offer =
        HandoverOffer { socket: path.to_str().unwrap().to_owned(), ticket: ticket.to_owned() };
    tokio::select! {
        biased;
        _ = listener.accept() => false,
        connection = take_up(&offer, None) => connection.is_err(),
    }
}

#[tokio::test]
async fn only_a_ticket_goes_to_a_socket_of_the_nodes_name() {
    for name in ["docker.sock", "handover.sock.d", "xhandover.sock"] {
        assert!(is_refused_unheard(name, TICKET).await, "{name}");
    }
    let request = "POST /containers/create HTTP/1.1";
    assert_eq!(request.len(), TICKET.len());
    for ticket in [request, "", &TICKET.to_uppercase(), &TICKET[1..], &format!("{TICKET}\n")] {
        assert!(is_refused_unheard("handover.sock", ticket).await, "{ticket}");
    }
    assert!(!is_refused_unheard("handover.sock", TICKET).await, "it would be heard");
    let relative = HandoverOffer { socket: "handover.sock".into(), ticket: TICKET.into() };
    assert!(take_up(&relative, None).await.is_err());
}

#[test]
fn ones_own_user_root_and_the_nodes_are_trusted_and_no_others() {
    assert!(is_trusted(1000, 1000, None));
    assert!(is_trusted(0, 1000, None));
    assert!(is_trusted(990, 0, Some(990)), "root adds through a node that has a user of its own");
    assert!(!is_trusted(1001, 1000, None));
    assert!(!is_trusted(1001, 1000, Some(990)));
    assert!(!is_trusted(1001, 0, None), "not even by root");
}
