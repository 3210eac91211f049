//! What a subscriber wants to hear of, and what it wants to be told besides.
use serde_json::{Value, json};

use super::super::command::Caller;
use super::super::core::Core;
use super::super::enforce::{Enforcer, Permission};
use super::super::failure::Failure;
use super::super::fields::Selector;
use super::super::thing;
use super::super::time;
use super::event::Event;
use super::signal::Heard;
use crate::rql::{self, Expr, Now, condition};
use crate::twin::id::ThingId;

#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// `None` is every namespace.
    pub namespaces: Option<Vec<String>>,
    /// `None` is every thing.
    pub ids: Option<Vec<String>>,
    pub expr: Option<Expr>,
    pub extra: Option<Selector>,
}

impl Filter {
    /// From the parameters of a START frame or an event stream.
    pub fn read<'p>(parameter: impl Fn(&str) -> Option<&'p str>) -> Result<Self, Failure> {
        let words = |name| parameter(name).map(|list| list.split(',').map(str::to_owned).collect());
        Ok(Self {
            namespaces: words("namespaces"),
            ids: words("ids"),
            expr: parameter("filter").map(expression).transpose()?,
            extra: parameter("extraFields").map(fields).transpose()?,
        })
    }

    pub fn covers(&self, thing_id: &ThingId) -> bool {
        let within = |list: &Option<Vec<String>>, name: &str| {
            list.as_ref().is_none_or(|list| list.iter().any(|wanted| wanted == name))
        };
        within(&self.namespaces, thing_id.namespace()) && within(&self.ids, thing_id.as_str())
    }

    /// Whether the event passes: the filter sees the changed part and the extra fields, nothing else.
    pub fn passes(&self, event: &Event, extra: Option<&Value>, now: i64) -> bool {
        let Some(expr) = &self.expr else { return true };
        let mut seen = event.sparse();
        add(&mut seen, extra);
        seen["_namespace"] = json!(event.thing_id.namespace());
        seen["_revision"] = json!(event.revision);
        seen["_modified"] = json!(time::print(event.at));
        let words = [
            ("topic:full", json!(event.topic())),
            ("topic:channel", json!("twin")),
            ("topic:criterion", json!("events")),
            ("topic:action", json!(event.action.word())),
            ("topic:action-subject", json!(event.action.word())),
            ("resource:path", json!(event.path.to_string())),
        ];
        name_entity(&mut seen, &event.thing_id, words);
        condition::holds(expr, &seen, Now { epoch_millis: now })
    }

    /// As [`Self::passes`] on the live channel.
    pub fn passes_live(&self, heard: &impl Heard, extra: Option<&Value>, now: i64) -> bool {
        let Some(expr) = &self.expr else { return true };
        let mut seen = heard.sparse();
        add(&mut seen, extra);
        seen["_namespace"] = json!(heard.thing_id().namespace());
        let (criterion, name) = heard.names();
        let word = if criterion == "messages" { "topic:subject" } else { "topic:action" };
        let words = [
            ("topic:full", json!(heard.topic())),
            ("topic:channel", json!("live")),
            ("topic:criterion", json!(criterion)),
            (word, json!(name)),
            ("topic:action-subject", json!(name)),
            ("resource:path", json!(heard.path())),
        ];
        name_entity(&mut seen, heard.thing_id(), words);
        condition::holds(expr, &seen, Now { epoch_millis: now })
    }

    /// The extra fields on the live channel; an error when there are some to show and the reader may not read the thing.
    pub fn extra_of_live(
        &self,
        core: &Core,
        heard: &impl Heard,
        reader: &Caller,
    ) -> Result<Option<Value>, ()> {
        if self.extra.is_none() {
            return Ok(None);
        }
        let reads = |enforcer: &Enforcer| enforcer.partial(&reader.subjects, "thing", &[], Permission::Read);
        if !heard.enforcer().is_some_and(reads) {
            return Err(());
        }
        Ok(self.extra(core, heard.thing(), heard.enforcer(), reader))
    }

    /// The extra fields as these subjects may read them; `None` when there are none to show.
    pub fn extra(
        &self,
        core: &Core,
        thing: Option<&Value>,
        enforcer: Option<&Enforcer>,
        reader: &Caller,
    ) -> Option<Value> {
        let fields = self.extra.as_ref()?;
        thing::extra(&core.state.read(), thing?, enforcer?, fields, reader)
    }
}

/// Placeholders stand beside the members of the thing: a filter names both the same way.
fn name_entity(seen: &mut Value, id: &ThingId, words: impl IntoIterator<Item = (&'static str, Value)>) {
    for (name, value) in words {
        seen[name] = value;
    }
    for kind in ["entity", "thing"] {
        seen[format!("{kind}:id")] = json!(id.as_str());
        seen[format!("{kind}:namespace")] = json!(id.namespace());
        seen[format!("{kind}:name")] = json!(id.name());
    }
    seen["topic:namespace"] = json!(id.namespace());
    seen["topic:entityName"] = json!(id.name());
    seen["topic:entityId"] = json!(id.as_str());
    seen["topic:group"] = json!("things");
    seen["resource:type"] = json!("thing");
}

/// Adds members of `extra` that are not there.
pub fn add(into: &mut Value, extra: Option<&Value>) {
    let (Value::Object(into), Some(Value::Object(extra))) = (into, extra) else { return };
    for (name, value) in extra {
        match into.get_mut(name) {
            Some(there) => add(there, Some(value)),
            None => drop(into.insert(name.clone(), value.clone())),
        }
    }
}

pub fn expression(text: &str) -> Result<Expr, Failure> {
    let invalid = |message: String| Failure::new(400, "rql.expression.invalid", message);
    let expr = rql::parse(text).map_err(|error| invalid(error.to_string()))?;
    rql::schema::check_events(&expr).map_err(|error| invalid(error.to_string()))?;
    Ok(expr)
}

/// Members of a thing that events can show, their own or in addition. Source: Ditto 3.8, `ThingFieldSelector.java`.
pub fn fields(text: &str) -> Result<Selector, Failure> {
    const WHOLE: [&str; 7] =
        ["thingId", "policyId", "definition", "_namespace", "_revision", "_created", "_modified"];
    const OPEN: [&str; 5] = ["_metadata", "_policy", "_context", "features", "attributes"];
    let selector = Selector::parse(text)?;
    let known = |field: &str| {
        let field = field.strip_prefix('/').unwrap_or(field);
        let root = field.split('/').next().unwrap_or_default();
        WHOLE.contains(&field) || OPEN.contains(&root)
    };
    match text.split(',').find(|field| !known(field)) {
        None => Ok(selector),
        Some(field) => Err(Failure::new(
            400,
            "things:field.selection.invalid",
            format!("`{field}` is no field that an event can show"),
        )),
    }
}
