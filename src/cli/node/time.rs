//! Times on the command line, such as `90s`.

use std::time::Duration;

/// Longer is mistyped.
const LONGEST: Duration = Duration::from_secs(8760 * 3600);

/// A time such as `90s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    if number.is_empty() {
        return Err("it begins with a number, as in 90s, 10m or 1h".to_owned());
    }
    // What has too many digits is too long in every unit.
    let number: u64 = number.parse().unwrap_or(u64::MAX);
    let time = match unit {
        "ms" => Some(Duration::from_millis(number)),
        "" | "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.saturating_mul(60))),
        "h" => Some(Duration::from_secs(number.saturating_mul(3600))),
        _ => None,
    };
    match time {
        Some(time) if time > LONGEST => Err("that is too long: at most a year, 8760h".to_owned()),
        Some(time) => Ok(time),
        None => Err(format!("`{unit}` is no unit; there are ms, s, m and h")),
    }
}

/// Waits until then; without a time for ever.
pub(super) async fn until(time: Option<tokio::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(["", "m", "5d", "-1s", "99999999999999999999h", "9000h"].iter().all(|text| duration(text).is_err()));
    }
}
