//! The time, in the forms in which metadata servers write it.

use std::{
    cell::RefCell,
    time::{SystemTime, UNIX_EPOCH},
};

/// Seconds since 1970.
pub(super) fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

thread_local! {
    /// The last second that was asked for, and its form.
    static DATE: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
}

/// The `Date` header's form, of now. A busy server is asked for it a hundred thousand times a second.
pub(super) fn http_date() -> String {
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    DATE.with_borrow_mut(|(last, text)| {
        if *last != second {
            (*last, *text) = (second, httpdate::fmt_http_date(now));
        }
        text.clone()
    })
}

/// `2023-06-30T19:06:42Z`.
pub(super) fn iso8601(unix: u64) -> String {
    let [year, month, day, hour, minute, second] = parts(unix);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Azure's `06/30/23 19:06:42 -0000`.
pub(super) fn slashed(unix: u64) -> String {
    let [year, month, day, hour, minute, second] = parts(unix);
    format!("{month:02}/{day:02}/{:02} {hour:02}:{minute:02}:{second:02} -0000", year % 100)
}

/// Year, month, day, hour, minute and second of the Gregorian calendar, by counting 400-year eras that begin in March.
fn parts(unix: u64) -> [u64; 6] {
    let (days, seconds) = (unix / 86_400 + 719_468, unix % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    [year, month, day, seconds / 3600, seconds / 60 % 60, seconds % 60]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(iso8601(0), "1970-01-01T00:00:00Z");
        assert_eq!(iso8601(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(iso8601(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(iso8601(1_688_152_002), "2023-06-30T19:06:42Z");
        assert_eq!(iso8601(4_107_542_400), "2100-03-01T00:00:00Z");
        assert_eq!(slashed(1_688_152_002), "06/30/23 19:06:42 -0000");
    }
}
