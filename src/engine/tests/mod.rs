//! Whole runs against a lab that is only a script, on a clock that only moves when everybody waits.

#[expect(clippy::unwrap_used, reason = "tests")]
mod faults;
#[expect(clippy::unwrap_used, reason = "tests")]
mod lab;
mod planted;
#[expect(clippy::unwrap_used, reason = "tests")]
mod play;
#[expect(clippy::unwrap_used, reason = "tests")]
mod runs;
