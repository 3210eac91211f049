//! Steps of transcripts that the engine does not answer as Ditto does, because the route behind them is not
//! built. The list is exact: a step that passes must be taken off. It may only shrink.

/// Scenario and steps, counted from 1. A step that is not carried out shows in the revisions of later ones.
pub const STEPS: &[(&str, &[usize])] = &[];
