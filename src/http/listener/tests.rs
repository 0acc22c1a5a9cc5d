//! Local only unless told, and clear about who has the address.

use super::*;

async fn bind(text: &str, exposure: Exposure) -> Result<Listener, BindError> {
    Listener::bind(&text.parse().unwrap(), exposure).await
}

#[tokio::test]
async fn an_address_that_leads_out_needs_to_be_told() {
    for text in ["0.0.0.0:0", "[::]:0"] {
        assert!(
            matches!(bind(text, Exposure::Local).await, Err(BindError::Exposed { .. })),
            "{text}"
        );
    }
    bind("0.0.0.0:0", Exposure::Anywhere).await.unwrap();
}

#[tokio::test]
async fn the_kernels_port_is_known_and_taken_once() {
    let first = bind("127.0.0.1:0", Exposure::Local).await.unwrap();
    let ApiAddress::Tcp(address) = first.address() else { panic!("it is TCP") };
    assert_ne!(address.port, 0);
    let again = bind(&address.to_string(), Exposure::Local).await;
    assert!(matches!(again, Err(BindError::InUse { .. })));
    bind("localhost:0", Exposure::Local).await.unwrap();
}

#[tokio::test]
async fn a_unix_socket_is_private_replaced_when_stale_and_removed_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api.sock");
    let text = format!("unix:{}", path.display());
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a killed node leaves its socket behind");
    let listener = bind(&text, Exposure::Local).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(bind(&text, Exposure::Local).await, Err(BindError::InUse { .. })));
    drop(listener);
    assert!(!path.exists());
    std::fs::write(&path, "mine").unwrap();
    assert!(bind(&text, Exposure::Local).await.is_err(), "a file of another kind stays");
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
}
