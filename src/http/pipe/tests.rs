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
