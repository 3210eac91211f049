//! Steps of transcripts that the engine does not answer as Ditto does, because the route behind them is not
//! built. The list is exact: a step that passes must be taken off. It may only shrink.

/// Scenario and steps, counted from 1. A step that is not carried out shows in the revisions of later ones.
pub const STEPS: &[(&str, &[usize])] = &[
    // waiting for an acknowledgement of a subscriber
    ("headers-acks", &[8, 9, 10, 13, 17, 19]),
    // messages that wait for an answer, and what a message must look like
    ("messages-http", &[2, 5, 6, 8, 12, 13, 14, 19, 23, 24, 27, 33, 34]),
];

/// Transcripts that need a WebSocket or an event stream, none of which is built.
pub const STREAMS: [&str; 14] = [
    "messages-responder",
    "sse-errors-permissions",
    "sse-fields-filter-extra",
    "sse-search",
    "sse-things",
    "ws-acks",
    "ws-connect-control",
    "ws-events-filter-extra",
    "ws-events-permissions",
    "ws-events",
    "ws-malformed",
    "ws-search",
    "ws-twin-commands",
    "ws-unparsable-frames",
];
