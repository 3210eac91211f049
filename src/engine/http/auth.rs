//! Who asks. Source: Ditto 3.8, `PreAuthenticatedAuthenticationMechanism`; Ditto leaves basic users to nginx, here they are ours.
use std::net::IpAddr;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::EngineError;
use super::super::failure::Failure;
use super::request::Request;

/// Carries subjects a trusted proxy has checked, as a header or query parameter.
const PRE_AUTHENTICATED: &str = "x-ditto-pre-authenticated";

#[derive(Default)]
pub struct Authentication {
    pub pre_authenticated: bool,
    pub users: Users,
    /// The subject of requests without credentials.
    pub anonymous: Option<String>,
}

impl Authentication {
    /// The subjects of the request, at least one.
    pub fn subjects(&self, request: &Request) -> Result<Vec<String>, Failure> {
        if self.pre_authenticated {
            let given = request.header(PRE_AUTHENTICATED);
            let given = given.or_else(|| request.parameter(PRE_AUTHENTICATED).map(str::to_owned));
            if let Some(list) = given {
                let subjects: Vec<String> =
                    list.split(',').map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect();
                return if subjects.is_empty() { Err(refused()) } else { Ok(subjects) };
            }
        }
        match (request.header("authorization"), &self.anonymous) {
            (Some(credentials), _) => self.credentials(&credentials),
            (None, Some(subject)) if from_here(request) => Ok(vec![subject.clone()]),
            (None, Some(_)) => Err(Failure::new(
                401,
                "gateway:authentication.failed",
                "a request without credentials must be sent to localhost, and not by the page of another site",
            )),
            (None, None) => Err(refused()),
        }
    }

    fn credentials(&self, credentials: &str) -> Result<Vec<String>, Failure> {
        match credentials.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("basic") => {
                let decoded =
                    STANDARD.decode(token.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                let decoded = decoded.ok_or_else(refused)?;
                let (user, password) = decoded.split_once(':').ok_or_else(refused)?;
                if self.users.know(user, password) {
                    Ok(vec![format!("nginx:{user}")])
                } else {
                    Err(refused())
                }
            }
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("bearer") => Err(Failure::new(
                400,
                "jwt:invalid",
                "this engine knows no issuer of tokens: use basic authentication",
            )),
            _ => Err(refused()),
        }
    }
}

/// A page in a browser on this machine reaches loopback, too: by its own script, which sends its `Origin`, or
/// by a name of its own that resolves to loopback, which is the `Host` then. Neither may act without credentials.
fn from_here(request: &Request) -> bool {
    let local = |authority: &str| {
        let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, _)) => address,
            None => authority.split(':').next().unwrap_or_default(),
        };
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    let origin = request.header("origin");
    let origin_is_local =
        origin.is_none_or(|origin| origin.split_once("://").is_some_and(|(_, host)| local(host)));
    origin_is_local && request.header("host").is_some_and(|host| local(&host))
}

fn refused() -> Failure {
    Failure::new(401, "gateway:authentication.failed", "credentials are missing or wrong")
}

/// Users and passwords from a file of `user:password` lines.
#[derive(Default)]
pub struct Users(Vec<(String, String)>);

impl Users {
    /// Empty lines and lines that begin with `#` are skipped.
    pub fn read(path: &Path) -> Result<Self, EngineError> {
        let text = std::fs::read_to_string(path)
            .map_err(|cause| EngineError::Users { path: path.into(), cause: cause.to_string() })?;
        let mut users = vec![];
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_end_matches('\r');
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            match line.split_once(':') {
                Some((user, password)) if !user.is_empty() && !password.is_empty() => {
                    users.push((user.to_owned(), password.to_owned()));
                }
                _ => {
                    let cause = format!("line {} is not `user:password`", number + 1);
                    return Err(EngineError::Users { path: path.into(), cause });
                }
            }
        }
        Ok(Self(users))
    }

    /// Looks at every user, and at every byte of the password, whether or not an earlier one fits.
    fn know(&self, user: &str, password: &str) -> bool {
        let fits = |(name, secret): &(String, String)| same(name, user) & same(secret, password);
        self.0.iter().fold(false, |known, entry| known | fits(entry))
    }
}

/// Equality in a time that depends on the lengths alone.
fn same(secret: &str, given: &str) -> bool {
    let (secret, given) = (secret.as_bytes(), given.as_bytes());
    let differing = given.iter().enumerate().fold(secret.len() ^ given.len(), |differing, (i, byte)| {
        let expected = secret.get(i % secret.len().max(1)).copied().unwrap_or_default();
        differing | usize::from(expected ^ byte)
    });
    std::hint::black_box(differing) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_compared_whole() {
        let users = Users(vec![("a".into(), "secret".into()), ("b".into(), "x:y".into())]);
        let rows = [
            ("a", "secret", true),
            ("a", "secre", false),
            ("a", "secretsecret", false),
            ("a", "", false),
            ("b", "x:y", true),
            ("c", "secret", false),
            ("", "", false),
        ];
        for (user, password, expected) in rows {
            assert_eq!(users.know(user, password), expected, "{user} {password}");
        }
    }

    #[test]
    fn a_line_that_is_no_user_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "# users\nditto:ditto\n\nbroken\n").unwrap();
        let error = Users::read(file.path()).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("line 4"), "{error}");
    }
}
