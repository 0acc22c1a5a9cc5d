//! Tests of one core by itself, and of every pitfall that a single core can show.
