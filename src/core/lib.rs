//! Pure cluster decisions: no clock, no entropy, no I/O.
