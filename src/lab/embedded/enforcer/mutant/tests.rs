//! What mutants do to a small cluster.
