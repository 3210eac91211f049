//! From which page a request comes, as browsers say it.
use std::net::IpAddr;

use axum::http::{HeaderMap, Method, StatusCode, header};

use super::problem::Problem;

fn text<'h>(headers: &'h HeaderMap, name: &header::HeaderName) -> Option<&'h str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("unreadable"))
}

/// Whether the request was sent to this machine by a name of this machine, and by no page of another site: a page in
/// a browser here reaches loopback, too, by its own script, which sends its `Origin`, or by a name of its own that
/// resolves to loopback, which is the `Host` then.
pub fn is_here(headers: &HeaderMap) -> bool {
    let origin = text(headers, &header::ORIGIN);
    let origin_is_here =
        origin.is_none_or(|origin| origin.split_once("://").is_some_and(|(_, host)| is_local(host)));
    origin_is_here && text(headers, &header::HOST).is_some_and(is_local)
}

fn is_local(authority: &str) -> bool {
    let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a page may use us: one of our own host, or one that is configured.
pub fn is_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    let Some(origin) = text(headers, &header::ORIGIN) else { return true };
    let own = origin.split_once("://").is_some_and(|(_, host)| {
        text(headers, &header::HOST).is_some_and(|own| own.eq_ignore_ascii_case(host))
    });
    own || allowed.iter().any(|allowed| allowed == origin)
}

/// 403 where a page of another site writes or opens a socket: a browser may add credentials that the page never saw.
pub fn check(method: &Method, headers: &HeaderMap, allowed: &[String]) -> Result<(), Problem> {
    let harmless = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    let upgrade = headers.contains_key(header::UPGRADE);
    if (harmless && !upgrade) || is_allowed(headers, allowed) {
        return Ok(());
    }
    let detail = "a page of another site may not do this; name its origin in --cors-origin";
    Err(Problem::new(StatusCode::FORBIDDEN, "facade:origin.forbidden", detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(host: &str, origin: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        headers
    }

    #[test]
    fn s30_pages_of_other_sites_write_nothing_and_open_no_socket() {
        let allowed = ["https://app.example".to_owned()];
        let rows = [
            ("twin.example", None, true),
            ("twin.example", Some("https://twin.example"), true),
            ("twin.example:8000", Some("http://twin.example:8000"), true),
            ("twin.example", Some("https://app.example"), true),
            ("twin.example", Some("https://evil.example"), false),
            ("twin.example", Some("https://app.example.evil"), false),
            ("twin.example", Some("null"), false),
            ("twin.example:8000", Some("http://twin.example:9000"), false),
        ];
        for (host, origin, expected) in rows {
            let headers = headers(host, origin);
            assert_eq!(check(&Method::POST, &headers, &allowed).is_ok(), expected, "{host} {origin:?}");
            assert!(check(&Method::GET, &headers, &allowed).is_ok());
            let mut upgrade = headers;
            upgrade.insert(header::UPGRADE, "websocket".parse().unwrap());
            assert_eq!(
                check(&Method::GET, &upgrade, &allowed).is_ok(),
                expected,
                "upgrade {host} {origin:?}"
            );
        }
    }

    #[test]
    fn without_credentials_one_must_be_here() {
        let rows = [
            ("localhost:8000", None, true),
            ("127.0.0.1", Some("http://localhost:3000"), true),
            ("[::1]:8000", None, true),
            ("rebound.evil:8000", None, false),
            ("localhost", Some("https://evil.example"), false),
            ("localhost", Some("null"), false),
            ("127.0.0.1.evil.example", None, false),
        ];
        for (host, origin, expected) in rows {
            assert_eq!(is_here(&headers(host, origin)), expected, "{host} {origin:?}");
        }
    }
}
