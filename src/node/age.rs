//! How old the software of a node is: the release date of its series. Old series are what an attacker looks for.
//!
//! Dates: the release notes of each project (kernel.org, kubernetes.io/releases, github.com/containerd/containerd).

use jiff::{Timestamp, civil::Date, tz::TimeZone};

/// Series and the dates of their first releases, the oldest first.
type Releases = &'static [(&'static str, i16, i8, i8)];

const KERNEL: Releases = &[
    ("3.10", 2013, 6, 30),
    ("4.4", 2016, 1, 10),
    ("4.9", 2016, 12, 11),
    ("4.14", 2017, 11, 12),
    ("4.15", 2018, 1, 28),
    ("4.18", 2018, 8, 12),
    ("4.19", 2018, 10, 22),
    ("5.4", 2019, 11, 24),
    ("5.10", 2020, 12, 13),
    ("5.14", 2021, 8, 29),
    ("5.15", 2021, 10, 31),
    ("5.19", 2022, 7, 31),
    ("6.1", 2022, 12, 11),
    ("6.2", 2023, 2, 19),
    ("6.5", 2023, 8, 27),
    ("6.6", 2023, 10, 29),
    ("6.8", 2024, 3, 10),
    ("6.11", 2024, 9, 15),
    ("6.12", 2024, 11, 17),
    ("6.14", 2025, 3, 24),
    ("6.17", 2025, 9, 28),
    ("6.18", 2025, 11, 30),
];

const KUBERNETES: Releases = &[
    ("1.24", 2022, 5, 3),
    ("1.25", 2022, 8, 23),
    ("1.26", 2022, 12, 9),
    ("1.27", 2023, 4, 11),
    ("1.28", 2023, 8, 15),
    ("1.29", 2023, 12, 13),
    ("1.30", 2024, 4, 17),
    ("1.31", 2024, 8, 13),
    ("1.32", 2024, 12, 11),
    ("1.33", 2025, 4, 23),
    ("1.34", 2025, 8, 27),
    ("1.35", 2025, 12, 17),
];

const CONTAINERD: Releases = &[
    ("1.4", 2020, 8, 17),
    ("1.5", 2021, 5, 3),
    ("1.6", 2022, 2, 15),
    ("1.7", 2023, 3, 10),
    ("2.0", 2024, 11, 5),
    ("2.1", 2025, 5, 7),
];

/// When the series of a field's version was first released; none where the field is no version, or the series is not
/// known.
#[must_use]
pub fn released(field: &str, value: &str) -> Option<Date> {
    let (releases, version) = match field {
        "status.nodeInfo.kernelVersion" => (KERNEL, value),
        "status.nodeInfo.kubeletVersion" => (KUBERNETES, value.strip_prefix('v')?),
        "status.nodeInfo.containerRuntimeVersion" => match value.split_once("://")? {
            ("containerd", version) => (CONTAINERD, version),
            // Its minor versions are those of Kubernetes.
            ("cri-o", version) => (KUBERNETES, version),
            _ => return None,
        },
        _ => return None,
    };
    let mut parts = version.split(['.', '-', '+']);
    let series = format!("{}.{}", parts.next()?, parts.next()?);
    let (_, year, month, day) = releases.iter().find(|(known, ..)| *known == series)?;
    Date::new(*year, *month, *day).ok()
}

/// In words, `series of 2022-02, 4.8 years old`.
#[must_use]
pub fn in_words(field: &str, value: &str, now: Timestamp) -> Option<String> {
    let date = released(field, value)?;
    let month = format!("{:04}-{:02}", date.year(), date.month());
    let days = now.to_zoned(TimeZone::UTC).date().since(date).ok()?.get_days();
    Some(if days < 0 { format!("series of {month}") } else { format!("series of {month}, {} old", span(days)) })
}

/// A number of days in words, with one digit behind the point from a year on.
fn span(days: i32) -> String {
    match days {
        ..60 => format!("{days} days"),
        60..365 => format!("{} months", days / 30),
        _ => format!("{}.{} years", days / 365, days % 365 * 10 / 365),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn versions_have_the_age_of_their_series() {
        let now: Timestamp = "2026-11-23T00:00:00Z".parse().unwrap();
        let age = |field: &str, value| in_words(&format!("status.nodeInfo.{field}"), value, now);
        assert_eq!(age("kernelVersion", "5.15.0-1065-gcp").unwrap(), "series of 2021-10, 5.0 years old");
        assert_eq!(age("containerRuntimeVersion", "containerd://1.6.26").unwrap(), "series of 2022-02, 4.7 years old");
        assert_eq!(age("kubeletVersion", "v1.34.4-gke.7").unwrap(), "series of 2025-08, 1.2 years old");
        assert_eq!(age("kernelVersion", "9.99.1"), None);
        assert_eq!(age("containerRuntimeVersion", "docker://20.10.7"), None);
        assert_eq!(age("osImage", "Ubuntu 22.04"), None);
    }

    #[test]
    fn dates_are_sound_and_in_order() {
        for releases in [KERNEL, KUBERNETES, CONTAINERD] {
            let dates: Vec<_> = releases.iter().map(|(_, y, m, d)| Date::new(*y, *m, *d).unwrap()).collect();
            assert!(dates.is_sorted());
        }
    }
}
