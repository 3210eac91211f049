//! When deletions look like an accident.

/// More than `twins` *and* more than `percent` of all go at once. 0 for either is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    pub twins: usize,
    pub percent: usize,
}

impl Breaker {
    /// What holds unless somebody sets it.
    pub const USUAL: Self = Self { twins: 50, percent: 20 };

    pub fn trips(self, going: usize, all: usize) -> bool {
        let off = self.twins == 0 || self.percent == 0;
        !off && going > self.twins && going * 100 > all * self.percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletions_are_held_only_above_both_numbers() {
        let cases = [
            ("few of few", 50, 60, false),
            ("many of few", 51, 60, true),
            ("many of very many", 51, 255, false),
            ("just above a fifth", 52, 255, true),
            ("none", 0, 0, false),
        ];
        for (name, going, all, held) in cases {
            assert_eq!(Breaker::USUAL.trips(going, all), held, "{name}");
        }
        for off in [Breaker { twins: 0, percent: 20 }, Breaker { twins: 50, percent: 0 }] {
            assert!(!off.trips(1_000, 1_000), "{off:?}");
        }
    }
}
