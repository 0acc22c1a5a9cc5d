//! The program: adapters, interfaces and the composition root.
