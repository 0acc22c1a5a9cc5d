//! Join tokens.

use ipfs_kit_core::command::Op;
use ipfs_kit_core::id::{PeerKey, TokenId};
use ipfs_kit_core::member::Role;
use ipfs_kit_core::ops::{TokenCreateRequest, TokenCreated, TokenInfo, TokenList, TokenRequest};
use ipfs_kit_core::query;
use ipfs_kit_core::token::JoinToken;

use super::{Operations, failure, no_cluster};
use crate::api::Failure;

/// How long a token lives that does not say.
const LIFE_MS: u64 = 3_600_000;

impl Operations {
    pub(super) async fn token_create(
        &self,
        request: TokenCreateRequest,
    ) -> Result<TokenCreated, Failure> {
        let consensus = self.parts.consensus().ok_or_else(no_cluster)?;
        // What this leader says of itself now; the registry may not have it yet.
        let own = self.parts.spec.read(Clone::clone);
        let (cluster, epoch, mut masters) = consensus.state.read(|state| {
            let masters: Vec<(PeerKey, Vec<String>)> = state
                .members()
                .values()
                .filter(|m| m.spec.role == Role::Master && m.is_present())
                .map(|m| (m.spec.key, m.spec.addrs.clone()))
                .filter(|(key, addrs)| *key != own.key && !addrs.is_empty())
                .collect();
            (state.cluster(), state.epoch(), masters)
        });
        let cluster = cluster.ok_or_else(no_cluster)?;
        masters.insert(0, (own.key, own.addrs));
        let (mut id, mut secret) = ([0; 8], [0; 16]);
        self.parts.entropy.fill(&mut id);
        self.parts.entropy.fill(&mut secret);
        let life_ms = request.expires_in_ms.unwrap_or(LIFE_MS);
        let token = JoinToken {
            cluster,
            epoch,
            token: TokenId(id),
            secret,
            role_cap: request.role,
            // Committed time is at least as late as the newest stamp, so this is never short.
            expires_ms: self.parts.now_committed_ms().saturating_add(life_ms),
            masters,
        };
        self.submit(Op::CreateToken {
            token: token.token,
            secret_hash: token.secret_hash(),
            role_cap: token.role_cap,
            expires_ms: token.expires_ms,
        })
        .await?;
        Ok(TokenCreated {
            token: token.to_text(),
            id: token.token,
            role: token.role_cap,
            expires_ms: token.expires_ms,
        })
    }

    pub(super) async fn token_ls(&self) -> Result<TokenList, Failure> {
        self.linearizable(query::token_list).await
    }

    pub(super) async fn token_revoke(&self, request: TokenRequest) -> Result<TokenInfo, Failure> {
        let tokens = self.token_ls().await?;
        let known = tokens.items.into_iter().find(|token| token.id == request.id);
        let known = known
            .ok_or_else(|| failure("E_NOT_FOUND", format!("there is no token {}", request.id)))?;
        self.submit(Op::RevokeToken { token: request.id }).await?;
        Ok(known)
    }
}
