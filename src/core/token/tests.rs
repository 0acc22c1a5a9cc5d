//! A token survives its text form, and every damaged one is refused without echoing the secret.

use super::*;

fn token() -> JoinToken {
    JoinToken {
        cluster: ClusterId([1; 16]),
        epoch: 1,
        token: TokenId([2; 8]),
        secret: [3; 16],
        role_cap: Role::Worker,
        expires_ms: 1_000,
        masters: vec![(PeerKey([4; 32]), vec!["127.0.0.1:4701".into()])],
    }
}

#[test]
fn a_token_reads_back() {
    assert_eq!(JoinToken::from_text(&token().to_text()).unwrap(), token());
}

#[test]
fn every_single_character_error_is_noticed() {
    let text = token().to_text();
    for (at, old) in text.char_indices().skip(PREFIX.len()) {
        let new = if old == 'a' { 'b' } else { 'a' };
        let mut damaged = text.clone();
        damaged.replace_range(at..=at, &new.to_string());
        assert!(JoinToken::from_text(&damaged).is_err(), "damage at {at} went unnoticed");
        assert!(JoinToken::from_text(&text[..at]).is_err(), "cut at {at} went unnoticed");
    }
}

#[test]
fn neither_errors_nor_debug_output_show_the_secret() {
    let text = token().to_text();
    let error = JoinToken::from_text(&text[..text.len() - 1]).unwrap_err().to_string();
    assert!(!error.contains(&text[20..60]));
    assert!(!format!("{:?}", token()).contains("3, 3, 3"));
}
