//! What a policy may import. Source: Ditto 3.8, `PolicyImportsPreEnforcer.java`.
use serde_json::{Map, Value};

use super::super::command::Caller;
use super::super::enforce::Permission;
use super::super::failure::Failure;
use super::super::place::PolicyPlace;
use super::super::state::{Kind, State};
use super::{IMPORTS_MAX, POLICY};

/// The ids of the imported policies and what is said of each.
pub fn of(imports: &Value) -> Vec<(&str, &Value)> {
    imports.as_object().into_iter().flatten().map(|(id, import)| (id.as_str(), import)).collect()
}

/// Whoever imports a policy needs READ on every entry that comes with it: the implicit ones and those that are named.
/// This is asked before anything else; a policy that does not exist is answered like one without these rights.
pub fn permit(state: &State, imports: &[(&str, &Value)], caller: &Caller) -> Result<(), Failure> {
    match imports.iter().find(|(id, import)| !is_readable(state, id, import, caller)) {
        Some((id, _)) => {
            let message =
                format!("the imported policy `{id}` does not exist, or you may not read what it brings");
            Err(Failure { message, ..PolicyPlace::Policy.not_found() })
        }
        None => Ok(()),
    }
}

fn is_readable(state: &State, id: &str, import: &Value, caller: &Caller) -> bool {
    let Some(policy) = state.get(Kind::Policy, id) else { return false };
    let Some(enforcer) = state.enforcer(id, caller.now) else { return false };
    let entries = policy["entries"].as_object().into_iter().flatten();
    let implicit =
        entries.filter(|(_, entry)| entry["importable"] == "implicit").map(|(label, _)| label.as_str());
    let named = import["entries"].as_array().into_iter().flatten().filter_map(Value::as_str);
    implicit
        .chain(named)
        .all(|label| enforcer.unrestricted(&caller.subjects, POLICY, &["entries", label], Permission::Read))
}

pub fn not_too_many(policy: &Value) -> Result<(), Failure> {
    if policy["imports"].as_object().map_or(0, Map::len) > IMPORTS_MAX {
        let message = format!("a policy has at most {IMPORTS_MAX} imports");
        return Err(Failure::new(400, "policies:imports.toolarge", message));
    }
    Ok(())
}
