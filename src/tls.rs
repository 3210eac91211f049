//! Whom we believe over TLS as a client, and what we show there.
use std::path::Path;
use std::time::Duration;

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, Error, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;

/// Believes the system's CAs, or those in the PEM file `only`; shows the certificate and key of `identity`.
///
/// # Errors
/// A file that cannot be read or holds nothing that fits, for people.
pub fn client(only: Option<&Path>, identity: Option<(&Path, &Path)>) -> Result<ClientConfig, String> {
    // rustls panics when nobody has chosen a provider yet; a second choice changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = ClientConfig::builder();
    let builder = match only {
        None => builder.with_platform_verifier().map_err(|error| {
            format!("{error}; install a CA bundle (Debian: `ca-certificates`), or name the CA in a file")
        })?,
        Some(path) => {
            let mut believed = RootCertStore::empty();
            for certificate in certificates(path)? {
                believed
                    .add(certificate)
                    .map_err(|error| format!("a CA in {} cannot be used: {error}", path.display()))?;
            }
            builder.with_root_certificates(believed)
        }
    };
    let Some((certificate, key)) = identity else { return Ok(builder.with_no_client_auth()) };
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| format!("cannot read a private key from {}: {error}", key.display()))?;
    builder
        .with_client_auth_cert(certificates(certificate)?, private)
        .map_err(|error| format!("{} and {} cannot be used: {error}", certificate.display(), key.display()))
}

/// Those in a PEM file, at least one.
///
/// # Errors
/// A file that cannot be read or holds none, for people.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("cannot read certificates from {}: {error}", path.display()))?;
    if chain.is_empty() { Err(format!("{} holds no certificate in PEM", path.display())) } else { Ok(chain) }
}

/// When the first of these certificates is over, in seconds since 1970; `None` where none of them says.
///
/// rustls tells it of a certificate that is over, and looks at that before it asks who signed: so it is asked about a time
/// that is after all others.
pub fn not_after(chain: &[CertificateDer<'_>]) -> Option<u64> {
    let (nobody, late) = (RootCertStore::empty(), UnixTime::since_unix_epoch(Duration::MAX));
    let ends = chain.iter().filter_map(|certificate| {
        let parsed = ParsedCertificate::try_from(certificate).ok()?;
        match verify_server_cert_signed_by_trust_anchor(&parsed, &nobody, &[], late, &[]) {
            Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
                Some(not_after.as_secs())
            }
            _ => None,
        }
    });
    ends.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2120-01-01, in `tests/data/tls`.
    const END: u64 = 4_733_510_400;

    #[test]
    fn the_end_of_a_certificate_is_read_and_what_is_none_is_left_out() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls/server.pem");
        let chain = certificates(Path::new(path)).unwrap();
        assert_eq!(not_after(&chain), Some(END));
        let none = CertificateDer::from(vec![1, 2, 3]);
        assert_eq!(not_after(std::slice::from_ref(&none)), None);
        assert_eq!(not_after(&[none, chain[0].clone()]), Some(END));
        assert_eq!(not_after(&[]), None);
    }
}
