//! What a test may have go wrong in the scripted lab.

use std::{net::IpAddr, time::Duration};

/// What goes wrong. Faults in time count from the first change that the scenario (not the canary) makes.
#[expect(clippy::struct_excessive_bools, reason = "independent faults")]
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    /// Policies have no effect at all.
    pub(super) unenforced: bool,
    /// Policies have their effect this much later.
    pub(super) lag: Duration,
    /// Every other period of this length, policies have no effect.
    pub(super) flapping: Option<Duration>,
    /// The metadata server dies.
    pub(super) dies_after: Option<Duration>,
    /// It is started again.
    pub(super) returns_after: Option<Duration>,
    /// The metadata server never came up.
    pub(super) dead: bool,
    /// Another server is at the metadata address.
    pub(super) impostor: bool,
    /// What its stages' pods are on.
    pub(super) ground: Option<u64>,
    /// Probes of this source are lost.
    pub(super) mute: Option<&'static str>,
    /// Names are not resolved any more.
    pub(super) no_dns: bool,
    /// So many questions for names take five seconds, and of four of them only one is answered.
    pub(super) young_dns: u64,
    /// How likely a lookup of this source is lost, in percent: its resolver asks again after 5 s.
    pub(super) lost_lookups: Option<(&'static str, u64)>,
    /// How long each lookup of this source takes.
    pub(super) slow_lookups: Option<(&'static str, Duration)>,
    /// Requests arrive where policy denies them, and answers do not come back.
    pub(super) one_way: bool,
    /// They do so for this long.
    pub(super) one_way_at_first: Duration,
    /// How likely a SYN of this source is lost, in percent.
    pub(super) loss: Option<(&'static str, u64)>,
    /// Whose requests by PUT are not answered, once they have arrived.
    pub(super) unanswered: &'static [&'static str],
    /// They do not even arrive.
    pub(super) swallowed: bool,
    /// How long a connect of this source takes.
    pub(super) delay: Option<(&'static str, Duration)>,
    /// Between these times the machine is too busy for anybody to be answered.
    pub(super) pause: Option<(Duration, Duration)>,
    /// Servers see this source come from this address, by which policies do not know it.
    pub(super) translated: Option<(&'static str, IpAddr)>,
    /// The scenario's first change is refused.
    pub(super) refuses: bool,
    /// A session panics.
    pub(super) panics: bool,
    /// Taking policies back has no effect.
    pub(super) keeps_policies: bool,
    /// Seeds the losses.
    pub(super) seed: u64,
}
