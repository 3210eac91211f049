//! Which events a client wants to hear.
use std::time::{SystemTime, UNIX_EPOCH};

use super::super::ask::{Query, thing_id};
use super::super::page;
use super::super::problem::Problem;
use super::super::words;
use super::event::Event;
use crate::rql::{Expr, Now, condition};
use crate::twin::id::ThingId;

/// The parameters of a subscription, and the token that browsers can send in no header.
pub const PARAMETERS: [&str; 4] = ["thing_id", "namespace", "filter", "access_token"];

/// Empty: everything its caller may read.
#[derive(Debug, Default)]
pub struct Filter {
    thing: Option<ThingId>,
    namespaces: Option<Vec<String>>,
    expr: Option<Expr>,
}

impl Filter {
    pub fn read(query: &Query) -> Result<Self, Problem> {
        let namespaces = query.get("namespace").map(page::namespace).transpose()?;
        Ok(Self {
            thing: query.get("thing_id").map(thing_id).transpose()?,
            namespaces: namespaces.map(|list| list.split(',').map(str::to_owned).collect()),
            expr: query.get("filter").filter(|text| !text.is_empty()).map(words::event_filter).transpose()?,
        })
    }

    pub fn passes(&self, event: &Event) -> bool {
        let id = &event.thing_id;
        self.thing.as_ref().is_none_or(|thing| thing == id)
            && self.namespaces.as_ref().is_none_or(|list| list.iter().any(|name| name == id.namespace()))
            && self.expr.as_ref().is_none_or(|expr| condition::holds(expr, event.seen(), now()))
    }
}

fn now() -> Now {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    Now { epoch_millis: i64::try_from(millis).unwrap_or(i64::MAX) }
}

#[cfg(test)]
mod tests {
    use super::super::event;
    use super::*;

    #[test]
    fn a_filter_sees_the_change_and_the_words_of_its_envelope() {
        let text = r#"{"topic":"com.example/t-1/things/twin/events/modified","path":"/features/t/desiredProperties/value","value":25,"revision":7,"timestamp":"x"}"#;
        let event = event::read(text).unwrap();
        let rows = [
            ("", true),
            ("thing_id=com.example:t-1", true),
            ("thing_id=com.example:t-2", false),
            ("namespace=org.other,com.example", true),
            ("namespace=org.other", false),
            ("filter=gt(features/t/desired_properties/value,20)", true),
            ("filter=gt(features/t/desiredProperties/value,30)", false),
            ("filter=and(eq(topic:action,'modified'),like(resource:path,'/features/*'))", true),
            ("filter=eq(attributes/a,1)", false),
            ("filter=like(thing_id,'*')", true),
        ];
        for (text, expected) in rows {
            let filter = Filter::read(&Query::read(text).unwrap()).unwrap();
            assert_eq!(filter.passes(&event), expected, "{text}");
        }
    }
}
