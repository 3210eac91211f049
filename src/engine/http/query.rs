//! A search as its parameters say it. Source: Ditto 3.8, `ThingSearchRoute.java`.
use super::super::failure::Failure;
use super::super::fields::Selector;
use super::super::search::Query;
use super::handle::Asked;
use super::request::form;
use crate::twin::id::is_namespace;

/// From the query of a GET, or from nothing but the form in the body of a POST.
pub fn asked(asked: &Asked<'_>) -> Result<Query, Failure> {
    if asked.method != "POST" {
        return query(&asked.request.parameters);
    }
    let given = asked.request.header("content-type").unwrap_or_default();
    let media_type = given.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        let message = "a search is posted as application/x-www-form-urlencoded";
        return Err(Failure::new(415, "mediatype.unsupported", message));
    }
    query(&form(asked.body))
}

/// All filters together are the members of one `and(…)`, so that one parameter may hold several.
pub fn query(parameters: &[(String, String)]) -> Result<Query, Failure> {
    let all = |name: &str| {
        parameters.iter().filter(|(key, _)| key == name).map(|(_, v)| v.clone()).collect::<Vec<_>>()
    };
    let (filters, options, namespaces, fields) =
        (all("filter"), all("option"), all("namespaces"), all("fields"));
    let bad = namespaces.iter().flat_map(|l| l.split(',')).find(|n| !n.is_empty() && !is_namespace(n));
    if let Some(bad) = bad {
        let message = format!("`{bad}` is no namespace: write `org.acme`");
        return Err(Failure::new(400, "thing-search:search.namespaces.invalid", message));
    }
    let words = |lists: &[String]| lists.iter().flat_map(|l| l.split(',')).map(str::to_owned).collect();
    Ok(Query {
        filters: (!filters.is_empty()).then(|| format!("and({})", filters.join(","))).into_iter().collect(),
        namespaces: (!namespaces.is_empty()).then(|| words(&namespaces)),
        options: (!options.is_empty())
            .then(|| options.iter().map(|text| closed(text)).collect::<Vec<_>>().join(",")),
        fields: (!fields.is_empty()).then(|| Selector::parse(&fields.join(","))).transpose()?,
        wildcards: false,
    })
}

/// Options are split at `),`, and each gets back its parenthesis, even one that never had it.
fn closed(text: &str) -> String {
    let mut parts: Vec<&str> = text.split("),").collect();
    while parts.len() > 1 && parts.last().is_some_and(|part| part.is_empty()) {
        parts.pop();
    }
    let close = |part: &&str| if part.ends_with(')') { (*part).to_owned() } else { format!("{part})") };
    parts.iter().map(close).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_put_together_as_ditto_does() {
        let rows: [(&str, &[&str], Option<&str>); 7] = [
            ("", &[], None),
            ("filter=eq(a,1)&filter=eq(b,2)", &["and(eq(a,1),eq(b,2))"], None),
            ("filter=", &["and()"], None),
            ("option=size(1),sort(-thingId)", &[], Some("size(1),sort(-thingId)")),
            ("option=size(1", &[], Some("size(1)")),
            ("option=size(1),&option=sort(-a,%2Bb", &[], Some("size(1),sort(-a,+b)")),
            ("option=", &[], Some(")")),
        ];
        for (text, filters, options) in rows {
            let query = query(&form(text.as_bytes())).unwrap();
            assert_eq!(
                (query.filters.iter().map(String::as_str).collect::<Vec<_>>(), query.options.as_deref()),
                (filters.to_vec(), options),
                "{text}"
            );
        }
    }
}
