//! The format of profile files.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pattern;

/// What is known of one CNI's deviations.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The profile's name, as `--profile` takes it; also its file's.
    pub profile: String,
    /// The CNI, as reports name it: a cluster with this CNI gets the profile without being asked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cni: Option<String>,
    /// What deviates.
    #[serde(default)]
    pub deviations: Vec<Deviation>,
}

/// One deviation: in its scope failures are known, and a scope without any is an unexpected pass.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deviation {
    /// Names it within the profile.
    pub id: String,
    /// The ids of the scenarios in which it shows; `*` stands for any text.
    pub scenarios: Vec<String>,
    /// The ids of the cells in which it shows, as reports have them; `*` stands for any text. All cells where nothing is
    /// said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cells: Vec<String>,
    /// The CNI's versions that have it (`<1.15`, `>=1.2, <1.4`), by the tag of its image. All where nothing is said; a
    /// version that is not known counts as one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versions: Option<String>,
    /// Whether it is a matter of time, so that it is no surprise where it does not show.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sometimes: bool,
    /// What deviates, and why.
    pub reason: String,
    /// Where that is said.
    pub link: String,
}

impl Deviation {
    /// Whether a cell of a scenario is in its scope.
    #[must_use]
    pub fn covers(&self, scenario: &str, cell: &str) -> bool {
        self.covers_scenario(scenario) && (self.cells.is_empty() || pattern::any(&self.cells, cell))
    }

    /// Whether some cells of a scenario are.
    #[must_use]
    pub fn covers_scenario(&self, scenario: &str) -> bool {
        pattern::any(&self.scenarios, scenario)
    }
}
