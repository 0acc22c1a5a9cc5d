//! What is proposed comes back as it was, whoever's entries stand between.

use ipfs_kit_core::command::Op;
use ipfs_kit_core::id::Incarnation;

use super::*;

fn command(seq: u64) -> Command {
    let request = RequestId { node: NodeId(1), incarnation: Incarnation(1), seq };
    Command { request, op: Op::Expire }
}

/// Proposes one command, which makes an entry of its own.
fn propose(requests: &mut Requests, seq: u64) -> Bytes {
    let (reply, _) = oneshot::channel();
    requests.queue(vec![command(seq)], reply, true, None);
    let [entry] = requests.take_entries(7).try_into().unwrap();
    entry
}

fn decoded(bytes: &[u8]) -> Entry {
    codec::open(Kind::Entry, bytes, limits::ENTRY_BYTES_MAX).unwrap()
}

#[test]
fn what_comes_back_is_what_its_bytes_say() {
    let mut requests = Requests::default();
    let sent = [1, 2, 3].map(|seq| propose(&mut requests, seq));
    assert_eq!(requests.came_back(&sent[0]), Some(decoded(&sent[0])));
    let foreign = codec::seal(Kind::Entry, &Entry { stamped_ms: 7, commands: vec![command(9)] });
    assert_eq!(requests.came_back(&foreign), None, "another leader proposed it");
    assert_eq!(requests.came_back(&sent[2]), Some(decoded(&sent[2])));
    assert_eq!(requests.came_back(&sent[1]), None, "what was passed over is forgotten");
}

#[test]
fn few_entries_are_kept_and_none_beyond_the_leadership() {
    let mut requests = Requests::default();
    let sent: Vec<Bytes> = (0..=SENT_MAX as u64).map(|seq| propose(&mut requests, seq)).collect();
    assert_eq!(requests.came_back(&sent[0]), None);
    assert!(requests.came_back(&sent[1]).is_some());
    requests.lose(None);
    assert_eq!(requests.came_back(&sent[2]), None);
}
