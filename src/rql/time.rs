//! `time:` literals: `now` or `now_epoch_millis`, moved by `+` or `-` a duration, cut down to a `[unit]`.
//!
//! Source: Ditto 3.8, `basic-placeholders.md` and `ImmutableTimePlaceholder.java`. The time zone is UTC.
use super::Now;

const SECOND: i64 = 1_000;
const DAY: i64 = 24 * 60 * 60 * SECOND;
/// A 400th of the Gregorian calendar's cycle of 146,097 days, as Java's `ChronoUnit.YEARS` has it.
const YEAR: i64 = 31_556_952 * SECOND;
/// 1970-01-01 was a Thursday, three days behind a Monday.
const MONDAY: i64 = -3;

/// The text a time stands for, or `None` when it is none.
///
/// `now` gives an ISO 8601 instant as Java writes it (`2024-05-01T10:00:00Z`, milliseconds only when there are any),
/// `now_epoch_millis` a number's digits.
pub(super) fn resolve(name: &str, now: Now) -> Option<String> {
    if let Some(change) = name.strip_prefix("now_epoch_millis") {
        return changed(now.epoch_millis, change).map(|millis| millis.to_string());
    }
    changed(now.epoch_millis, name.strip_prefix("now")?).map(instant)
}

/// Applies `[+-]<duration>` and `[<unit>]`, both optional.
fn changed(now: i64, change: &str) -> Option<i64> {
    let (shift, unit) = match change.strip_suffix(']') {
        Some(change) => change.split_once('[').map(|(shift, unit)| (shift, Some(unit)))?,
        None => (change, None),
    };
    let moved = match shift.as_bytes().first() {
        None => now,
        Some(b'+') => now.checked_add(duration(&shift[1..])?)?,
        Some(b'-') => now.checked_sub(duration(&shift[1..])?)?,
        Some(_) => return None,
    };
    unit.map_or(Some(moved), |unit| truncated(moved, unit))
}

/// `90s`, `90` (seconds), `250ms`, `1h`, `2mo`, in milliseconds.
fn duration(text: &str) -> Option<i64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (amount, unit) = text.split_at(digits);
    let unit = match unit {
        "w" => 7 * DAY,
        "mo" => YEAR / 12,
        "y" => YEAR,
        unit => length(unit)?,
    };
    amount.parse::<i64>().ok()?.checked_mul(unit)
}

/// The units that have one length everywhere in the calendar, in milliseconds.
fn length(unit: &str) -> Option<i64> {
    Some(match unit {
        "ms" => 1,
        "s" | "" => SECOND,
        "m" => 60 * SECOND,
        "h" => 60 * 60 * SECOND,
        "d" => DAY,
        _ => return None,
    })
}

/// The start of the unit a moment lies in; weeks start on Monday.
fn truncated(millis: i64, unit: &str) -> Option<i64> {
    let days = millis.div_euclid(DAY);
    let (_, month, day) = date(days);
    Some(match unit {
        "w" => (days - (days - MONDAY).rem_euclid(7)) * DAY,
        "mo" => (days - day + 1) * DAY,
        "y" => {
            let mut first = days - day + 1;
            for _ in 1..month {
                let (_, _, last_of_month_before) = date(first - 1);
                first -= last_of_month_before;
            }
            first * DAY
        }
        unit => millis - millis.rem_euclid(length(unit)?),
    })
}

/// An instant in ISO 8601, as `java.time.Instant` prints it.
fn instant(millis: i64) -> String {
    let (year, month, day) = date(millis.div_euclid(DAY));
    let of_day = millis.rem_euclid(DAY);
    let (seconds, fraction) = (of_day / SECOND, of_day % SECOND);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = if fraction == 0 { String::new() } else { format!(".{fraction:03}") };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
///
/// Counts from 0000-03-01, so that the leap day is the last day of a year (H. Hinnant, `civil_from_days`).
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_based = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_based + 2) / 5 + 1;
    let month = if march_based < 10 { march_based + 3 } else { march_based - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_moved_and_cut() {
        // 2024-05-16T10:20:30.456Z, a Thursday
        let now = Now { epoch_millis: 1_715_854_830_456 };
        let rows = [
            ("now", Some("2024-05-16T10:20:30.456Z")),
            ("now-1h", Some("2024-05-16T09:20:30.456Z")),
            ("now+90", Some("2024-05-16T10:22:00.456Z")),
            ("now-456ms", Some("2024-05-16T10:20:30Z")),
            ("now[s]", Some("2024-05-16T10:20:30Z")),
            ("now-1d[d]", Some("2024-05-15T00:00:00Z")),
            ("now[w]", Some("2024-05-13T00:00:00Z")),
            ("now[mo]", Some("2024-05-01T00:00:00Z")),
            ("now[y]", Some("2024-01-01T00:00:00Z")),
            ("now-1y", Some("2023-05-17T04:31:18.456Z")),
            ("now_epoch_millis", Some("1715854830456")),
            ("now_epoch_millis-25m[m]", Some("1715853300000")),
            ("nonsense", None),
            ("now-", None),
            ("now-1fortnight", None),
            ("now-1h[fortnight]", None),
            ("now*2", None),
            ("now-99999999999999999y", None),
        ];
        for (name, expected) in rows {
            assert_eq!(resolve(name, now).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let rows = [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59Z"),
        ];
        for (millis, expected) in rows {
            assert_eq!(instant(millis), expected);
        }
    }
}
