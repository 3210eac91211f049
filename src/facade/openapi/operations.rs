//! What every route does, takes and answers, as the document tells it.

/// A method of a route.
pub struct Operation {
    pub path: &'static str,
    pub method: &'static str,
    /// Under which heading.
    pub tag: &'static str,
    pub summary: &'static str,
    /// Query parameters and headers, by the names in [`super::schemas::parameter`].
    pub takes: &'static [&'static str],
    /// The schema of the body.
    pub body: Option<&'static str>,
    /// Statuses of success with the schema of the body; an empty name is no body.
    pub answers: &'static [(u16, &'static str)],
    /// Statuses of refusal beside those every route has.
    pub refusals: &'static [u16],
}

const CONDITIONS: &[&str] = &["If-Match", "If-None-Match"];
const OPEN: &[u16] = &[];
const LISTED: &[u16] = &[];
const WRITE: &[u16] = &[403, 404, 412, 413, 415];

/// As short as a line of a table can be.
const fn operation(
    path: &'static str,
    method: &'static str,
    tag: &'static str,
    summary: &'static str,
) -> Operation {
    Operation { path, method, tag, summary, takes: &[], body: None, answers: &[], refusals: &[] }
}

pub const OPERATIONS: [Operation; 26] = [
    Operation {
        takes: &["limit", "cursor", "fields", "namespace"],
        answers: &[(200, "ThingPage")],
        refusals: LISTED,
        ..operation("/things/", "get", "Things", "The things you may see, a page at a time")
    },
    Operation {
        body: Some("NewThing"),
        answers: &[(201, "Thing")],
        refusals: &[403, 404, 409, 413, 415],
        ..operation(
            "/things/",
            "post",
            "Things",
            "Make a thing; without `policy_id` it gets a policy of its own",
        )
    },
    Operation {
        takes: &["fields", "If-None-Match"],
        answers: &[(200, "Thing"), (304, "")],
        refusals: &[404, 412],
        ..operation("/things/{thing_id}", "get", "Things", "A thing")
    },
    Operation {
        takes: CONDITIONS,
        body: Some("ThingBody"),
        answers: &[(201, "Thing"), (204, "")],
        refusals: WRITE,
        ..operation("/things/{thing_id}", "put", "Things", "Replace a thing, or make it")
    },
    Operation {
        takes: CONDITIONS,
        body: Some("ThingPatch"),
        answers: &[(204, "")],
        refusals: WRITE,
        ..operation(
            "/things/{thing_id}",
            "patch",
            "Things",
            "Change parts of a thing (RFC 7396); null removes",
        )
    },
    Operation {
        takes: CONDITIONS,
        answers: &[(204, "")],
        refusals: &[403, 404, 412],
        ..operation(
            "/things/{thing_id}",
            "delete",
            "Things",
            "Delete a thing, and the policy that was made with it",
        )
    },
    Operation {
        takes: &["If-None-Match"],
        answers: &[(200, "Features"), (304, "")],
        refusals: &[404, 412],
        ..operation("/things/{thing_id}/features", "get", "Features", "The features of a thing")
    },
    Operation {
        takes: &["If-None-Match"],
        answers: &[(200, "Feature"), (304, "")],
        refusals: &[404, 412],
        ..operation("/things/{thing_id}/features/{feature_id}", "get", "Features", "A feature")
    },
    Operation {
        takes: &["replace", "If-Match", "If-None-Match"],
        body: Some("Feature"),
        answers: &[(201, "Feature"), (204, "")],
        refusals: WRITE,
        ..operation(
            "/things/{thing_id}/features/{feature_id}",
            "put",
            "Features",
            "Replace the parts of a feature that the body names",
        )
    },
    Operation {
        takes: CONDITIONS,
        body: Some("FeaturePatch"),
        answers: &[(204, "")],
        refusals: WRITE,
        ..operation(
            "/things/{thing_id}/features/{feature_id}",
            "patch",
            "Features",
            "Change parts of a feature (RFC 7396)",
        )
    },
    Operation {
        takes: CONDITIONS,
        answers: &[(204, "")],
        refusals: &[403, 404, 412],
        ..operation("/things/{thing_id}/features/{feature_id}", "delete", "Features", "Delete a feature")
    },
    Operation {
        takes: &["timeout"],
        body: Some("Anything"),
        answers: &[(200, "Anything"), (202, ""), (204, "")],
        refusals: &[403, 404, 408, 413, 415],
        ..operation(
            "/things/{thing_id}/messages/{subject}",
            "post",
            "Messages",
            "Send a message to a thing; its device answers",
        )
    },
    Operation {
        takes: &["timeout"],
        body: Some("Command"),
        answers: &[(200, "Anything"), (202, ""), (204, "")],
        refusals: &[403, 404, 408, 413, 415],
        ..operation(
            "/things/{thing_id}/commands",
            "post",
            "Messages",
            "Send a command, which the bridge brings to the device",
        )
    },
    Operation {
        takes: &["limit", "cursor"],
        answers: &[(200, "PolicyPage")],
        refusals: LISTED,
        ..operation(
            "/policies/",
            "get",
            "Policies",
            "The policies of the things you may see, a page at a time",
        )
    },
    Operation {
        body: Some("NewPolicy"),
        answers: &[(201, "Policy")],
        refusals: &[403, 404, 409, 413, 415],
        ..operation("/policies/", "post", "Policies", "Make a policy")
    },
    Operation {
        takes: &["If-None-Match"],
        answers: &[(200, "Policy"), (304, "")],
        refusals: &[404, 412],
        ..operation("/policies/{policy_id}", "get", "Policies", "A policy")
    },
    Operation {
        takes: CONDITIONS,
        body: Some("PolicyBody"),
        answers: &[(201, "Policy"), (204, "")],
        refusals: WRITE,
        ..operation("/policies/{policy_id}", "put", "Policies", "Replace a policy, or make it")
    },
    Operation {
        takes: CONDITIONS,
        answers: &[(204, "")],
        refusals: &[403, 404, 412],
        ..operation("/policies/{policy_id}", "delete", "Policies", "Delete a policy")
    },
    Operation {
        takes: &["q", "limit", "cursor", "sort", "fields", "namespace"],
        answers: &[(200, "ThingPage")],
        refusals: LISTED,
        ..operation("/search/things", "get", "Search", "Find things, a page at a time")
    },
    Operation {
        takes: &["q", "namespace"],
        answers: &[(200, "Count")],
        refusals: LISTED,
        ..operation("/search/things/count", "get", "Search", "How many things there are")
    },
    Operation {
        takes: &["thing_id", "namespace", "filter", "access_token"],
        answers: &[(200, "EventStream")],
        refusals: LISTED,
        ..operation("/events", "get", "Live", "Changes as an event stream (server-sent events)")
    },
    Operation {
        takes: &["thing_id", "namespace", "filter", "access_token"],
        answers: &[(101, "")],
        refusals: &[403, 426],
        ..operation(
            "/ws/events",
            "get",
            "Live",
            "Changes over a WebSocket; every text frame is an event or a gap",
        )
    },
    Operation {
        takes: &["access_token"],
        answers: &[(101, "")],
        refusals: &[403, 426],
        ..operation("/ws/ditto", "get", "Live", "The Ditto Protocol over a WebSocket")
    },
    Operation {
        answers: &[(200, "Health"), (503, "Health")],
        refusals: OPEN,
        ..operation("/health", "get", "Health", "Whether Ditto and the MQTT broker are there")
    },
    Operation {
        answers: &[(200, "Up")],
        refusals: OPEN,
        ..operation("/livez", "get", "Health", "Whether this process answers")
    },
    Operation {
        answers: &[(200, "Up")],
        refusals: &[503],
        ..operation("/readyz", "get", "Health", "Whether this process takes requests")
    },
];
