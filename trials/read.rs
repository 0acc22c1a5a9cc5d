//! Reading through a node.

use ipfs_kit::cli::client::Client;
use ipfs_kit::cli::error::CliError;

/// All bytes of a file.
pub async fn read_file(client: &Client, path: &str) -> Result<Vec<u8>, CliError> {
    let mut download = client.cat(path, Default::default()).await?;
    let mut bytes = Vec::new();
    while let Some(part) = download.next().await? {
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}
