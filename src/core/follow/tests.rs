//! Core follow tests come with the state tests.
