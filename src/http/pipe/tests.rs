//! Bytes arrive whole and in order, a cut is an error, and neither end waits for a dead one.

use futures_util::StreamExt;

use super::*;

fn content() -> Vec<u8> {
    (0..3 * CHUNK_LEN_BYTES + 7).map(|i| (i % 251) as u8).collect()
}

#[test]
fn what_is_written_is_read() {
    let (sender, receiver) = pipe();
    let written = content();
    let read = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut bytes = Vec::new();
            receiver.into_blocking().read_to_end(&mut bytes).unwrap();
            bytes
        });
        let mut writer = sender.into_blocking();
        for part in written.chunks(1000) {
            writer.write_all(part).unwrap();
        }
        writer.finish().unwrap();
        reader.join().unwrap()
    });
    assert!(read == written);
}

#[test]
fn a_writer_that_gives_up_is_an_error_for_the_reader() {
    let (sender, receiver) = pipe();
    let mut writer = sender.into_blocking();
    writer.write_all(b"part").unwrap();
    writer.flush().unwrap();
    drop(writer);
    let error = receiver.into_blocking().read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn a_reader_that_is_gone_is_an_error_for_the_writer() {
    let (sender, receiver) = pipe();
    drop(receiver);
    let mut writer = sender.into_blocking();
    let error = writer.write_all(&vec![0; CHUNK_LEN_BYTES]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn the_async_ends_keep_the_same_promise() {
    let (sender, receiver) = pipe();
    sender.send(Bytes::new()).await.unwrap();
    sender.send(Bytes::from_static(b"a")).await.unwrap();
    sender.end().await.unwrap();
    let chunks: Vec<_> = receiver.into_stream().collect().await;
    assert_eq!(chunks.len(), 1, "an empty send is not the end, and the end is no chunk");

    let (sender, receiver) = pipe();
    sender.send(Bytes::from_static(b"a")).await.unwrap();
    drop(sender);
    let chunks: Vec<_> = receiver.into_stream().collect().await;
    assert!(chunks[0].is_ok() && chunks[1].is_err() && chunks.len() == 2);

    let (sender, receiver) = pipe();
    drop(receiver);
    sender.gone().await;
    assert_eq!(sender.send(Bytes::from_static(b"a")).await, Err(Gone));
}

/// Reads on a thread of its own as long as something comes; every byte, and why it ended.
fn reading(receiver: PipeReceiver, patience: Duration) -> mpsc::Receiver<io::Result<u8>> {
    let mut reader = receiver.into_blocking_for(patience);
    let (told, heard) = mpsc::channel(8);
    let read = move || {
        let mut byte = [0];
        while let Some(read) =
            reader.read(&mut byte).map(|read| (read > 0).then_some(byte[0])).transpose()
        {
            let is_over = read.is_err();
            if told.blocking_send(read).is_err() || is_over {
                return;
            }
        }
    };
    std::thread::Builder::new().spawn(read).unwrap();
    heard
}

#[tokio::test(start_paused = true)]
async fn a_reader_waits_for_slow_bytes_and_not_for_ever() {
    let patience = Duration::from_secs(60);
    let (sender, receiver) = pipe();
    let mut heard = reading(receiver, patience);
    for byte in 0..5 {
        tokio::time::sleep(patience - Duration::from_secs(1)).await;
        sender.send(Bytes::from(vec![byte])).await.unwrap();
        assert_eq!(heard.recv().await.unwrap().unwrap(), byte);
    }
    let stalled = heard.recv().await.unwrap().unwrap_err();
    assert_eq!(stalled.kind(), io::ErrorKind::TimedOut);
    assert_eq!(stalled.to_string(), "nothing has come for 60 s");
    // Whoever sends learns that nobody waits any more.
    sender.gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_patient_reader_still_tells_an_end_from_a_cut() {
    for ends in [true, false] {
        let (sender, receiver) = pipe();
        let mut heard = reading(receiver, Duration::from_secs(60));
        sender.send(Bytes::from_static(b"a")).await.unwrap();
        if ends {
            sender.end().await.unwrap();
        } else {
            drop(sender);
        }
        assert_eq!(heard.recv().await.unwrap().unwrap(), b'a');
        let cut = heard.recv().await.map(|last| last.unwrap_err().kind());
        assert_eq!(cut, (!ends).then_some(io::ErrorKind::UnexpectedEof));
    }
}
