//! state tests
