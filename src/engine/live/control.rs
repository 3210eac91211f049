//! The control frames of a WebSocket: `START-SEND-EVENTS?namespaces=a&filter=…`.
//! Source: Ditto 3.8, `ProtocolMessageExtractor.java`, `ProtocolMessageType.java`.
use percent_encoding::percent_decode_str;

use super::super::failure::Failure;
use super::filter::Filter;

/// The longest control frame, in bytes: as the target of a request. A filter is no longer.
const CONTROL_MAX: usize = 8 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Events,
    Messages,
    LiveCommands,
    LiveEvents,
    /// Agreed to, and there are none.
    Announcements,
}

#[derive(Debug)]
pub enum Control {
    Start(Kind, Box<Filter>),
    Stop(Kind),
    Token,
}

/// Why a control frame changes nothing.
#[derive(Debug)]
pub enum Refused {
    /// Answered; with the correlation id when the filter is at fault.
    Told(Failure, Option<String>),
    /// Ditto 3.8 closes the socket.
    Closes(&'static str),
}

/// The frame's name, as the acknowledgement repeats it, and what it asks for; `None` when it is no control frame.
pub fn read(frame: &str) -> Option<(&'static str, Result<Control, Refused>)> {
    const NAMES: [(&str, &str, Kind); 5] = [
        ("START-SEND-EVENTS", "STOP-SEND-EVENTS", Kind::Events),
        ("START-SEND-MESSAGES", "STOP-SEND-MESSAGES", Kind::Messages),
        ("START-SEND-LIVE-COMMANDS", "STOP-SEND-LIVE-COMMANDS", Kind::LiveCommands),
        ("START-SEND-LIVE-EVENTS", "STOP-SEND-LIVE-EVENTS", Kind::LiveEvents),
        ("START-SEND-POLICY-ANNOUNCEMENTS", "STOP-SEND-POLICY-ANNOUNCEMENTS", Kind::Announcements),
    ];
    for (start, stop, kind) in NAMES {
        if frame.starts_with(start) {
            return Some((start, filter(frame).map(|filter| Control::Start(kind, Box::new(filter)))));
        }
        if frame.starts_with(stop) {
            return Some((stop, Ok(Control::Stop(kind))));
        }
    }
    frame.starts_with("JWT-TOKEN").then_some(("JWT-TOKEN", Ok(Control::Token)))
}

fn filter(frame: &str) -> Result<Filter, Refused> {
    if frame.len() > CONTROL_MAX {
        let message = format!("a control frame has at most {CONTROL_MAX} bytes");
        return Err(Refused::Told(Failure::new(400, "rql.expression.invalid", message), None));
    }
    let Some((_, query)) = frame.split_once('?') else { return Ok(Filter::default()) };
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let mut parameters = vec![];
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(Refused::Closes("a parameter is written `name=value`"));
        };
        parameters.push((decode(name), decode(value)));
    }
    let parameter =
        |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let told = |failure: Failure| match failure.error.as_ref() {
        "json.fieldselector.invalid" => Refused::Closes("the parentheses of `extraFields` do not match"),
        "rql.expression.invalid" => {
            let given = parameter("correlation-id").map(str::to_owned);
            Refused::Told(failure, Some(given.unwrap_or_else(|| uuid::Uuid::new_v4().to_string())))
        }
        _ => Refused::Told(failure, None),
    };
    // `ids` belongs to event streams
    Filter::read(|name| if name == "ids" { None } else { parameter(name) }).map_err(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_apart_by_their_beginning() {
        let rows = [
            ("START-SEND-EVENTS", Some("START-SEND-EVENTS")),
            ("START-SEND-EVENTS?filter=gt(attributes/a,1)&namespaces=a,b", Some("START-SEND-EVENTS")),
            ("STOP-SEND-LIVE-EVENTS", Some("STOP-SEND-LIVE-EVENTS")),
            ("JWT-TOKEN?jwtToken=x", Some("JWT-TOKEN")),
            ("START-SEND-NONSENSE", None),
            ("start-send-events", None),
            ("{}", None),
        ];
        for (frame, name) in rows {
            assert_eq!(read(frame).map(|(name, _)| name), name, "{frame}");
        }
    }

    #[test]
    fn filters_that_cannot_be_read_are_told_or_end_the_session() {
        let told = |frame: &str| match read(frame) {
            Some((_, Err(Refused::Told(failure, id)))) => (failure.error.into_owned(), id.is_some()),
            Some((_, Err(Refused::Closes(_)))) => ("closes".to_owned(), false),
            other => panic!("{frame}: {other:?}"),
        };
        let long = format!("START-SEND-EVENTS?filter=eq(attributes/a,\"{}\")", "x".repeat(1_000_000));
        let rows = [
            ("START-SEND-EVENTS?filter=bad(", "rql.expression.invalid", true),
            (&long, "rql.expression.invalid", false),
            ("START-SEND-EVENTS?extraFields=attributes(a,b)", "things:field.selection.invalid", false),
            ("START-SEND-EVENTS?extraFields=nonsense", "things:field.selection.invalid", false),
            ("START-SEND-EVENTS?extraFields=(", "closes", false),
            ("START-SEND-EVENTS?nonsense", "closes", false),
        ];
        for (frame, error, identified) in rows {
            assert_eq!(told(frame), (error.to_owned(), identified), "{}", &frame[..frame.len().min(60)]);
        }
    }
}
