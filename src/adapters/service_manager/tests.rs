//! What a service manager hears, on both kinds of socket.

use super::*;

fn heard(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 512];
    let len = socket.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..len].to_vec()).unwrap()
}

#[test]
fn messages_arrive_as_the_protocol_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let ours = ServiceManager::connect(path.as_os_str(), None).unwrap();
    ours.ready("API at 127.0.0.1:1\nREADY=0");
    assert_eq!(heard(&manager), "READY=1\nSTATUS=API at 127.0.0.1:1 READY=0");
    ours.alive();
    assert_eq!(heard(&manager), "WATCHDOG=1");
    ours.stopping();
    assert_eq!(heard(&manager), "STOPPING=1\nSTATUS=stopping");
}

#[test]
fn abstract_names_work_and_nobody_there_is_no_failure() {
    let name = format!("ipfs-kit-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let manager = UnixDatagram::bind_addr(&address).unwrap();
    let ours = ServiceManager::connect(OsStr::new(&format!("@{name}")), None).unwrap();
    ours.alive();
    assert_eq!(heard(&manager), "WATCHDOG=1");
    drop(manager);
    ours.alive();
    ServiceManager::default().ready("nobody listens");
    assert!(ServiceManager::connect(OsStr::new("/nowhere/notify"), None).is_err());
}

#[test]
fn the_watchdog_is_for_whom_it_names() {
    let watchdog =
        |usec: &str, pid: Option<&str>| watchdog(Some(OsStr::new(usec)), pid.map(OsStr::new), 42);
    assert_eq!(watchdog("3000000", None), Some(Duration::from_secs(3)));
    assert_eq!(watchdog("3000000", Some("42")), Some(Duration::from_secs(3)));
    assert_eq!(watchdog("3000000", Some("43")), None);
    assert_eq!(watchdog("0", None), None);
    assert_eq!(watchdog("soon", None), None);
    let manager = ServiceManager { socket: None, watchdog: watchdog("3000000", None) };
    assert_eq!(manager.watchdog_interval(), Some(Duration::from_millis(1500)));
}
