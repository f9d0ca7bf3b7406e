//! The configuration of one `curl` process for a whole batch, and the reading of its output.
