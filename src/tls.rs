//! Whom we believe over TLS as a client, and what we show there.
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
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

/// At least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("cannot read certificates from {}: {error}", path.display()))?;
    if chain.is_empty() { Err(format!("{} holds no certificate in PEM", path.display())) } else { Ok(chain) }
}
