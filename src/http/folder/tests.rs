//! Tokens are secret and unique, addresses come back.

use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn a_token_is_written_once_readable_by_the_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(TOKEN_FILE);
    let token = ApiToken::create(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(ApiToken::read(&path).unwrap().authorization(), token.authorization());
    assert!(ApiToken::create(&path).is_err(), "an existing token stays");
    assert!(!format!("{token:?}").contains(&token.0));
    let other = ApiToken::create(&folder.path().join("other")).unwrap();
    assert_ne!(token.authorization(), other.authorization());
}

#[test]
fn only_the_whole_token_matches() {
    let token = ApiToken("a".repeat(32));
    assert!(token.matches("a".repeat(32).as_bytes()));
    for wrong in ["", "a", &"a".repeat(31), &"a".repeat(33), &format!("{}b", "a".repeat(31))] {
        assert!(!token.matches(wrong.as_bytes()), "{wrong:?}");
    }
}

#[test]
fn files_that_hold_something_else_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(TOKEN_FILE);
    assert!(ApiToken::read(&path).unwrap_err().is_absent());
    for content in ["", "short", &"x y ".repeat(20)] {
        std::fs::write(&path, content).unwrap();
        assert!(matches!(ApiToken::read(&path), Err(FolderError::Malformed { .. })), "{content:?}");
    }
}

#[test]
fn addresses_are_replaced_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(read_address(folder.path()).unwrap(), None);
    for text in ["127.0.0.1:4702", "unix:/run/x.sock"] {
        let address: ApiAddress = text.parse().unwrap();
        write_address(folder.path(), &address).unwrap();
        assert_eq!(read_address(folder.path()).unwrap(), Some(address));
    }
    remove_address(folder.path()).unwrap();
    remove_address(folder.path()).unwrap();
    assert_eq!(read_address(folder.path()).unwrap(), None);
    std::fs::write(folder.path().join(ADDRESS_FILE), "nonsense").unwrap();
    assert!(read_address(folder.path()).is_err());
}
