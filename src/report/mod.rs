//! One file a reporter, all fed by the same events.
