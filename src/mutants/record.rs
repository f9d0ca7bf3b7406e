//! What was found: which cases kill which mutants, which mutants survive, which cases kill nothing.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{engine::RunFailure, lab::embedded::enforcer::Mutant};

/// What kills a mutant before any case is played.
pub(super) const CANARY: &str = "canary";

/// A campaign's record: the JSON report.
#[derive(Clone, Debug, Serialize)]
pub struct Campaigned {
    /// Of this format; a change that breaks readers raises it.
    pub schema_version: u32,
    /// The program's version.
    pub policyprobe: String,
    /// How many cases were selected.
    pub cases: usize,
    /// Whether nothing was played: what follows is worked out on paper.
    pub forecast: bool,
    /// Whether every case was played against every mutant, and not only until the first kill.
    pub all_kills: bool,
    /// One for each mutant, in the order of the list of mutants.
    pub trials: Vec<Trial>,
    /// The cases that killed nothing; known only where every case was played.
    pub idle: Option<Vec<String>>,
    /// The cases that do not pass with the correct enforcer either: what they kill does not count.
    pub unsound: Vec<String>,
    /// From the first lab to the last, in milliseconds.
    pub took_ms: u64,
    /// Set where a signal ended the campaign: what was not tried yet is missing.
    pub interrupted: bool,
}

impl Campaigned {
    /// The mutants that no case has killed.
    pub fn survivors(&self) -> impl Iterator<Item = &Trial> {
        self.trials.iter().filter(|trial| trial.error.is_none() && trial.killed_by.is_empty())
    }

    /// Why mutants could not be tried.
    pub fn errors(&self) -> impl Iterator<Item = (Mutant, &RunFailure)> {
        self.trials.iter().filter_map(|trial| Some((trial.mutant, trial.error.as_ref()?)))
    }
}

/// One mutant's record.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// The mutant.
    pub mutant: Mutant,
    /// What it does wrong.
    pub fault: &'static str,
    /// The ids of the cases that failed, in the order in which they did; `canary` for the canary.
    pub killed_by: Vec<String>,
    /// How many cases were played to a verdict.
    pub played: usize,
    /// How many cases were skipped, as the lab lacks what they need.
    pub skipped: usize,
    /// Cases about which nothing could be said: no kills.
    pub inconclusive: Vec<String>,
    /// Why: of each of them the first cell that is, with its step and its reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub reasons: BTreeMap<String, String>,
    /// From the mutant's first lab to its last, in milliseconds.
    pub took_ms: u64,
    /// Why the mutant could not be tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<RunFailure>,
}

impl Trial {
    pub(super) fn new(mutant: Mutant) -> Self {
        Self {
            mutant,
            fault: mutant.fault(),
            killed_by: Vec::new(),
            played: 0,
            skipped: 0,
            inconclusive: Vec::new(),
            reasons: BTreeMap::new(),
            took_ms: 0,
            error: None,
        }
    }
}
