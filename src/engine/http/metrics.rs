//! `GET /status/metrics`: what the engine counts, for whoever has credentials.
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::super::core::Core;

/// All since the start, but `subscribers`.
pub fn metrics(core: &Core) -> Value {
    let counts = &core.counts;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    json!({
        "requests": count(&counts.requests),
        "connectionsTurnedAway": count(&counts.connections_turned_away),
        "writes": count(&counts.writes),
        "revisions": count(&counts.revisions),
        "commits": count(&counts.commits),
        "writesRefusedByDisk": count(&counts.refused),
        "answersTooLarge": count(&counts.answers_too_large),
        "subscribers": core.hub.subscribers(),
        "subscribersTurnedAway": count(&counts.turned_away),
        "signalsOverflowed": count(&counts.overflowed),
        "eventsUnpublished": count(&counts.unpublished),
        "revisionsForgotten": core.state.read().forgotten(),
    })
}
