//! Lengths of time as Ditto writes them: `42s`, `250ms`, `1m`. Source: Ditto 3.8, `DittoDuration.java`.
use std::fmt;
use std::time::Duration;

/// Each unit and its milliseconds; without one, seconds are meant. A month and a year are as long as in Java's `ChronoUnit`.
const UNITS: [(&str, u64); 9] = [
    ("s", 1_000),
    ("", 1_000),
    ("ms", 1),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
    ("mo", 2_629_746_000),
    ("y", 31_556_952_000),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    pub amount: u64,
    pub unit: &'static str,
}

impl Length {
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let (unit, _) = UNITS.iter().find(|(unit, _)| *unit == &text[digits.len()..])?;
        Some(Self { amount: digits.parse().ok()?, unit })
    }

    fn millis(self) -> u64 {
        let unit = UNITS.iter().find(|(unit, _)| *unit == self.unit).map_or(0, |(_, millis)| *millis);
        self.amount.saturating_mul(unit)
    }

    pub fn duration(self) -> Duration {
        Duration::from_millis(self.millis())
    }

    /// At least one of its unit.
    #[must_use]
    pub fn rounded_up(self, to: Duration) -> Self {
        let to = u64::try_from(to.as_millis()).unwrap_or(u64::MAX).max(1);
        let rounded = self.millis().max(to).div_ceil(to).saturating_mul(to);
        let one = Self { amount: 1, ..self }.millis().max(1);
        Self { amount: (rounded / one).max(1), ..self }
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.amount, self.unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_and_printed_as_they_were_written() {
        let rows = [
            ("42s", 42_000),
            ("42", 42_000),
            ("250ms", 250),
            ("1m", 60_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
        ];
        for (text, millis) in rows {
            let length = Length::parse(text).unwrap();
            assert_eq!((length.to_string().as_str(), length.millis()), (text, millis));
        }
        for text in ["", "s", "-1s", "1.5s", "1 s", "1x", "soon"] {
            assert_eq!(Length::parse(text), None, "{text}");
        }
    }

    #[test]
    fn rounding_keeps_the_unit() {
        let minute = Duration::from_mins(1);
        for (text, rounded) in [("90s", "120s"), ("60s", "60s"), ("0s", "60s"), ("5m", "5m"), ("1h", "1h")] {
            assert_eq!(Length::parse(text).unwrap().rounded_up(minute).to_string(), rounded, "{text}");
        }
    }
}
