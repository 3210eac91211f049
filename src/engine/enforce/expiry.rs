//! When a subject expires: RFC 3339 into milliseconds.

/// Milliseconds since 1970 of `2027-01-01T00:00:00Z`, `…00:00:00.5+02:00`; `None` when it is no such time.
pub(super) fn epoch_millis(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', 't'])?;
    let [year, month, day] = numbers(date, '-')?;
    let zone = time.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = time.split_at(zone);
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    // Ditto also takes a time without seconds
    let [hour, minute, second] = numbers(time, ':').or_else(|| numbers(&format!("{time}:00"), ':'))?;
    let in_range =
        (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !in_range || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let millis: i64 = format!("{fraction:0<3}")[..3].parse().ok()?;
    let seconds = (days(year, month, day) * 24 + hour) * 3600 + minute * 60 + second - offset(zone)?;
    Some(seconds * 1000 + millis)
}

/// Seconds east of Greenwich.
fn offset(zone: &str) -> Option<i64> {
    let sign = match zone.as_bytes() {
        [b'Z' | b'z'] => return Some(0),
        [b'+', ..] => 1,
        [b'-', ..] => -1,
        _ => return None,
    };
    let [hours, minutes] = numbers(&zone[1..], ':')?;
    Some(sign * (hours * 60 + minutes) * 60)
}

fn numbers<const N: usize>(text: &str, between: char) -> Option<[i64; N]> {
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit()) && (1..=4).contains(&part.len());
    let parts: Option<Vec<i64>> =
        text.split(between).map(|part| part.parse().ok().filter(|_| digits(part))).collect();
    parts?.try_into().ok()
}

/// Days since 1970-01-01 in the Gregorian calendar, the year taken to start in March (H. Hinnant, `days_from_civil`).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let rows = [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T00:00:00.000Z", Some(951_782_400_000)),
            ("2024-05-16T10:20:30.456789Z", Some(1_715_854_830_456)),
            ("2024-05-16T10:20:30.5+02:30", Some(1_715_845_830_500)),
            ("2024-05-16T10:20Z", Some(1_715_854_800_000)),
            ("1969-12-31T23:59:59Z", Some(-1000)),
            ("2024-13-01T00:00:00Z", None),
            ("2024-05-16T10:20:30", None),
            ("2024-05-16", None),
            ("soon", None),
            ("2024-05-16T10:20:30.\u{e4}Z", None),
        ];
        for (text, expected) in rows {
            assert_eq!(epoch_millis(text), expected, "{text}");
        }
    }
}
