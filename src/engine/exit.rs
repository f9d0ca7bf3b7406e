//! Exit codes. Scripts depend on them: they never change their meaning.

/// Everything was as expected.
pub const OK: u8 = 0;
/// A cell was not as expected.
pub const FAILED: u8 = 1;
/// Usage, a bad file, or no case selected.
pub const USAGE: u8 = 2;
/// The cluster enforces no policy.
pub const NOT_ENFORCING: u8 = 3;
/// Something is inconclusive, or everything was skipped.
pub const INCONCLUSIVE: u8 = 4;
/// The lab could not be built, or broke.
pub const NO_LAB: u8 = 5;
/// Interrupted by a signal.
pub const INTERRUPTED: u8 = 130;
