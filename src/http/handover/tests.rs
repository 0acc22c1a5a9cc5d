//! Files change hands whole, nobody without a ticket is welcome, and what is no file is refused.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream as BlockingStream;

use super::*;

/// Lets other tasks go on until it is so.
async fn until(is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("it becomes so");
}

/// Both ends of a connection over which files are handed.
struct Pair {
    client: BlockingStream,
    node: HandedFiles,
    folder: tempfile::TempDir,
    _listening: Listening,
}

async fn pair() -> Pair {
    let folder = tempfile::tempdir().unwrap();
    let (handovers, listening) = Handovers::listen(folder.path());
    let offer = handovers.offer().unwrap();
    let ticket = offer.ticket.clone();
    let client = take_up(&offer, None).await.unwrap();
    let node = handovers.take(&ticket).expect("whoever is welcome can be taken");
    assert!(handovers.take(&ticket).is_none(), "a ticket is good once");
    Pair { client, node, folder, _listening: listening }
}

impl Pair {
    fn file(&self, content: &[u8]) -> File {
        let path = self.folder.path().join("file");
        std::fs::write(&path, content).unwrap();
        File::open(path).unwrap()
    }

    /// Hands `file` over as `size_bytes`; what the node read, and what the client heard.
    fn hand(&mut self, file: &File, size_bytes: u64) -> (io::Result<Vec<u8>>, Outcome) {
        let handing = || {
            std::thread::scope(|scope| {
                let client = &self.client;
                let given = scope.spawn(move || give(client, file, size_bytes).unwrap());
                let mut handed = self.node.next_file().unwrap();
                let mut content = Vec::new();
                let read = handed.read_to_end(&mut content);
                handed.settle(read.is_ok());
                (read.map(|_| content), given.join().unwrap())
            })
        };
        tokio::task::block_in_place(handing)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_read_whole_one_after_the_other() {
    let mut pair = pair().await;
    let content: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
    let mut file = pair.file(&content);
    let (read, outcome) = pair.hand(&file, 300_000);
    assert!(read.unwrap() == content);
    assert_eq!(outcome, Outcome::Taken);
    // Only what was promised is read, and the client's own place in the file stays.
    let (read, outcome) = pair.hand(&file, 10);
    assert_eq!((read.unwrap(), outcome), (content[..10].to_vec(), Outcome::Taken));
    let mut first = [0; 2];
    file.read_exact(&mut first).unwrap();
    assert_eq!(first, [0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_became_shorter_is_an_error_at_both_ends() {
    let mut pair = pair().await;
    let file = pair.file(b"short");
    let (read, outcome) = pair.hand(&file, 6);
    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(outcome, Outcome::Shorter);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_ends_tells_the_client() {
    let mut pair = pair().await;
    let file = pair.file(b"content");
    let client = pair.client.try_clone().unwrap();
    let given = tokio::task::spawn_blocking(move || give(&client, &file, 7).unwrap());
    pair.node.next_file().unwrap().settle(false);
    assert_eq!(given.await.unwrap(), Outcome::Refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_file_is_refused() {
    let mut pair = pair().await;
    let device = File::open("/dev/zero").unwrap();
    let client = pair.client.try_clone().unwrap();
    let given = tokio::task::spawn_blocking(move || give(&client, &device, 1));
    assert!(pair.node.next_file().err().unwrap().to_string().contains("is no file"));
    // Eight bytes without a file are no file either.
    (&pair.client).write_all(&[0; 8]).unwrap();
    assert!(pair.node.next_file().err().unwrap().to_string().contains("no file was handed over"));
    drop(pair);
    assert!(given.await.unwrap().is_err(), "the node has gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_ticket_nobody_is_welcome() {
    let folder = tempfile::tempdir().unwrap();
    let (handovers, _listening) = Handovers::listen(folder.path());
    let first = handovers.offer().unwrap();
    let forged = HandoverOffer { ticket: "0".repeat(first.ticket.len()), ..first.clone() };
    assert!(take_up(&forged, None).await.is_err());
    assert!(handovers.take(&first.ticket).is_none(), "nobody has come with it yet");
}

#[tokio::test]
async fn whoever_is_welcome_keeps_that_and_others_send_bytes() {
    const MAX: usize = 8;
    let folder = tempfile::tempdir().unwrap();
    let (handovers, _listening) = Handovers::listen_within(MAX, folder.path());
    // Whoever has not come yet makes room, the oldest first.
    let unused: Vec<_> = (0..MAX).map(|_| handovers.offer().unwrap()).collect();
    let mut clients = Vec::new();
    for late in &unused {
        let offer = handovers.offer().unwrap();
        clients.push((take_up(&offer, None).await.unwrap(), offer.ticket));
        assert!(take_up(late, None).await.is_err());
    }
    for _ in 0..MAX {
        assert_eq!(handovers.offer(), None);
    }
    for (_, ticket) in &clients[1..] {
        assert!(handovers.take(ticket).is_some());
    }
    // As many as were taken can come, while the first one still waits.
    for _ in 1..MAX {
        take_up(&handovers.offer().unwrap(), None).await.unwrap();
    }
    assert!(handovers.take(&clients[0].1).is_some());
}

#[tokio::test]
async fn a_client_that_came_and_went_makes_room() {
    let folder = tempfile::tempdir().unwrap();
    let (handovers, _listening) = Handovers::listen_within(1, folder.path());
    for _ in 0..3 {
        let offer = handovers.offer().unwrap();
        let mut client = take_up(&offer, None).await.unwrap();
        // What it has sent before does not hide that it is gone.
        client.write_all(&[0; 8]).unwrap();
        assert_eq!(handovers.offer(), None);
        drop(client);
        until(|| handovers.offer().is_some()).await;
        assert!(handovers.take(&offer.ticket).is_none());
    }
}

#[tokio::test]
async fn a_socket_that_was_left_behind_is_replaced_and_taken_away_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(SOCKET_FILE);
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "as after a kill");
    let (handovers, listening) = Handovers::listen(folder.path());
    assert!(handovers.offer().is_some());
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    drop(listening);
    assert!(!path.exists());
    let deep = folder.path().join("x".repeat(120));
    std::fs::create_dir(&deep).unwrap();
    let (handovers, _listening) = Handovers::listen(&deep);
    assert_eq!(handovers.offer(), None, "a socket's path is shorter than that");
}

#[tokio::test]
async fn what_outlives_its_api_takes_nothing_from_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let (old, listening) = Handovers::listen(folder.path());
    drop(listening);
    let (new, _listening) = Handovers::listen(folder.path());
    // Its task lets go of it whenever it has its turn.
    let last_of_old = Arc::downgrade(&old);
    drop(old);
    until(|| last_of_old.strong_count() == 0).await;
    let offer = new.offer().unwrap();
    take_up(&offer, None).await.expect("the socket is there");
}
