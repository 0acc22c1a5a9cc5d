//! Everything libp2p: swarm, gossip and the cluster's own streams.
