//! Values as they stand in flags and variables: each parser says what is wrong and shows one that is right.
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The longest a setting may ask to wait: beyond a week it is a slip, not a wish.
const DURATION_MAX: Duration = Duration::from_hours(7 * 24);

/// The longest lease: whoever waits for the end of a longer one has forgotten it.
const LEASE_MAX: Duration = Duration::from_hours(1);

/// The longest name of an owner: it stands in the mark, whose room is small.
const OWNER_LENGTH_MAX: usize = 64;

/// `500ms`, `30s`, `10m`, `1h`, `1h30m`; above zero, at most seven days.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration; write e.g. 500ms, 30s, 10m or 1h30m");
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let amount: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |n| digits + n);
        let millis = match &rest[digits..unit_end] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(wrong()),
        };
        total = total.saturating_add(Duration::from_millis(amount.saturating_mul(millis)));
        rest = &rest[unit_end..];
    }
    match total {
        Duration::ZERO => Err(wrong()),
        _ if total > DURATION_MAX => Err(format!("`{text}` is more than seven days")),
        _ => Ok(total),
    }
}

/// As [`duration`], in whole seconds: a Lease counts in them. Source: `coordination.k8s.io/v1`.
pub fn lease(text: &str) -> Result<Duration, String> {
    let read = duration(text)?;
    if read.subsec_nanos() == 0 && read <= LEASE_MAX {
        Ok(read)
    } else {
        Err(format!("`{text}` is no lease; write whole seconds, at most 1h, e.g. 15s"))
    }
}

/// A whole number from 0 to `max`.
pub fn number(text: &str, max: usize) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number <= max => Ok(number),
        _ if max == usize::MAX => Err(format!("`{text}` is no number; write e.g. 50, or 0 to switch it off")),
        _ => Err(format!("`{text}` is no number from 0 to {max}; write e.g. 20, or 0 to switch it off")),
    }
}

/// `IP:PORT`, and `localhost:PORT` for the IPv4 loopback.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let local = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
    match local {
        Some(port) => Ok((Ipv4Addr::LOCALHOST, port).into()),
        None => text.parse().map_err(|_| {
            format!("`{text}` is no address to listen on; write IP:PORT, e.g. 127.0.0.1:8080 or [::1]:8080")
        }),
    }
}

/// A subject as Ditto names it, `issuer:name`.
pub fn subject(text: &str) -> Result<String, String> {
    let well = text.split_once(':').is_some_and(|(issuer, name)| !issuer.is_empty() && !name.is_empty())
        && text.chars().all(|c| c.is_ascii_graphic());
    if well { Ok(text.to_owned()) } else { Err(format!("`{text}` is no subject; write e.g. nginx:ditto")) }
}

/// Letters, digits, `.`, `_` and `-`, at most 64 of them.
pub fn owner(text: &str) -> Result<String, String> {
    let well = (1..=OWNER_LENGTH_MAX).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if well {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "`{text}` is no owner; write 1 to {OWNER_LENGTH_MAX} letters, digits, `.`, `_` or `-`, e.g. plant-7"
        ))
    }
}

/// A Kubernetes namespace. Source: RFC 1123 label.
pub fn kubernetes_namespace(text: &str) -> Result<String, String> {
    let well = (1..=63).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    if well {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is no Kubernetes namespace; write e.g. plant-7"))
    }
}

/// A name of a Kubernetes object. Source: RFC 1123 subdomain.
pub fn kubernetes_name(text: &str) -> Result<String, String> {
    let well = text.len() <= 253 && text.split('.').all(|label| kubernetes_namespace(label).is_ok());
    if well {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is no name of an object; write e.g. twinops-facade"))
    }
}

/// `USER=THING`: a user Mosquitto can keep in a line, and a thing id that is one level of a topic.
pub fn mqtt_device(text: &str) -> Result<(String, String), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let well = |(user, thing): &(&str, &str)| {
        !user.is_empty()
            && user.chars().all(plain)
            && subject(thing).is_ok()
            && !thing.contains(['/', '+', '#'])
    };
    match text.split_once('=').filter(well) {
        Some((user, thing)) => Ok((user.to_owned(), thing.to_owned())),
        None => Err(format!(
            "`{text}` is no device; write e.g. lamp=com.example:lamp, with a user of letters, digits, `.`, `_` or `-`"
        )),
    }
}

/// The patterns of a comma list: Ditto namespaces, `*` as the last character, `<namespace>` as a stand-in.
pub fn ditto_namespaces(text: &str) -> Result<Vec<String>, String> {
    let patterns: Vec<_> = text.split(',').map(str::trim).filter(|p| !p.is_empty()).collect();
    let plain = |p: &str| p.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    let wrong = |p: &&&str| !plain(&p.strip_suffix('*').unwrap_or(p).replace("<namespace>", ""));
    match patterns.iter().find(wrong) {
        None => Ok(patterns.into_iter().map(str::to_owned).collect()),
        Some(pattern) => Err(format!(
            "`{pattern}` matches no namespace; write e.g. com.example, com.example.* or <namespace>"
        )),
    }
}

/// What the log filter is for a level or a filter. A word alone is about `TwinOps`: what libraries say at
/// `debug` may hold headers, so they stop at `info`.
pub fn log_filter(text: &str) -> Result<String, String> {
    let text = text.trim();
    let word = text.to_ascii_lowercase();
    match word.as_str() {
        // Of libraries only what is wrong: how a store opens its files is nothing a user asked for.
        "" | "info" => Ok("warn,twinops=info".into()),
        "off" | "error" | "warn" => Ok(word),
        "warning" => Ok("warn".into()),
        "debug" | "trace" => Ok(format!("info,twinops={word}")),
        _ if !text.contains(['=', ',']) => Err(format!(
            "`{text}` is no level; write error, warn, info, debug, trace, off, or a filter such as info,twinops=debug"
        )),
        _ => match tracing_subscriber::EnvFilter::try_new(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(error) => Err(format!("`{text}` is no filter ({error}); write e.g. info,twinops=debug")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        let cases = [
            ("500ms", Some(500)),
            ("30s", Some(30_000)),
            ("10m", Some(600_000)),
            ("1h30m", Some(5_400_000)),
            ("0s", None),
            ("", None),
            ("10", None),
            ("m", None),
            ("-1s", None),
            ("1.5s", None),
            ("10 m", None),
            ("169h", None),
            ("99999999999999999999h", None),
            ("18446744073709551615h", None),
        ];
        for (text, millis) in cases {
            assert_eq!(duration(text).ok(), millis.map(Duration::from_millis), "{text}");
        }
        assert_eq!(
            duration("soon").unwrap_err(),
            "`soon` is no duration; write e.g. 500ms, 30s, 10m or 1h30m"
        );
    }

    #[test]
    fn numbers_and_leases_are_whole() {
        for (text, max, read) in [
            ("0", 100, Some(0)),
            ("100", 100, Some(100)),
            ("101", 100, None),
            ("50", usize::MAX, Some(50)),
            ("-1", usize::MAX, None),
            ("2.5", 100, None),
            ("", 100, None),
        ] {
            assert_eq!(number(text, max).ok(), read, "{text}");
        }
        for (text, seconds) in
            [("15s", Some(15)), ("1h", Some(3_600)), ("1500ms", None), ("61m", None), ("x", None)]
        {
            assert_eq!(lease(text).ok(), seconds.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn addresses_are_ip_and_port() {
        let cases = [
            ("127.0.0.1:8080", Some("127.0.0.1:8080")),
            ("localhost:0", Some("127.0.0.1:0")),
            ("[::1]:9", Some("[::1]:9")),
            (":8080", None),
            ("8080", None),
            ("localhost", None),
            ("example.com:80", None),
            ("127.0.0.1:65536", None),
        ];
        for (text, read) in cases {
            assert_eq!(address(text).ok().map(|a| a.to_string()).as_deref(), read, "{text}");
        }
    }

    #[test]
    fn names_hold_only_what_their_reader_takes() {
        let long = "x".repeat(OWNER_LENGTH_MAX + 1);
        for text in ["plant-7", "a.b_c", "0f9d2c3e-6c1e-4f0e-9a51-1f6f2f4d9a11"] {
            assert_eq!(owner(text).as_deref(), Ok(text));
        }
        for text in ["", "a b", "a/b", "\u{e9}", &long] {
            assert!(owner(text).is_err(), "{text}");
        }
        for text in ["nginx:ditto", "integration:a:b/c"] {
            assert_eq!(subject(text).as_deref(), Ok(text));
        }
        for text in ["", "ditto", ":a", "a:", "a:b c", "a:b\r\nx: y"] {
            assert!(subject(text).is_err(), "{text:?}");
        }
        for (text, well) in [("plant-7", true), ("", false), ("Plant", false), ("-a", false), ("a.b", false)]
        {
            assert_eq!(kubernetes_namespace(text).is_ok(), well, "{text}");
        }
    }

    #[test]
    fn namespace_lists_are_patterns() {
        let cases = [
            ("*", Some(vec!["*"])),
            ("", Some(vec![])),
            ("com.example, com.example.*", Some(vec!["com.example", "com.example.*"])),
            ("<namespace>,org.<namespace>.*", Some(vec!["<namespace>", "org.<namespace>.*"])),
            ("*.example", None),
            ("com.**", None),
            ("com/example", None),
        ];
        for (text, patterns) in cases {
            let expected = patterns.map(|list| list.into_iter().map(String::from).collect::<Vec<_>>());
            assert_eq!(ditto_namespaces(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_level_is_about_twinops_and_a_filter_is_taken_as_it_is() {
        let cases = [
            ("info", Some("warn,twinops=info")),
            ("INFO", Some("warn,twinops=info")),
            ("WARNING", Some("warn")),
            ("", Some("warn,twinops=info")),
            ("debug", Some("info,twinops=debug")),
            ("warn,twinops::ditto=trace", Some("warn,twinops::ditto=trace")),
            ("verbose", None),
            ("twinops=loud", None),
        ];
        for (text, filter) in cases {
            assert_eq!(log_filter(text).ok().as_deref(), filter, "{text}");
        }
    }
}
