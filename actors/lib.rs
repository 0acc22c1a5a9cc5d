//! Supervised shells around the pure machines, and the role trees.
