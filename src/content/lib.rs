//! Pure IPFS formats: CIDs, chunkers, UnixFS, HAMT, paths.
