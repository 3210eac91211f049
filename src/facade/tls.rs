//! TLS: whom we believe as a client, and what we show as a server.
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::RwLock;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio_rustls::TlsAcceptor;

use crate::settings;
use crate::telemetry::Telemetry;
use crate::tls::{certificates, not_after};

/// How often the files are looked at for newer ones: the kubelet needs about a minute to replace a Secret.
const LOOK_EVERY: Duration = Duration::from_secs(5);

fn provider() {
    // rustls panics when nobody has chosen a provider yet; a second choice changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Certificates as the system believes them, or those of the CAs in `only`. Without `roots` nobody is believed: nothing is
/// asked over TLS then, and the system's certificates need not be there.
pub fn client(roots: bool, only: Option<&Path>) -> Result<ClientConfig, String> {
    provider();
    let builder = ClientConfig::builder();
    if roots && only.is_none() {
        let hint = "install a CA bundle (Debian: `ca-certificates`) or use http:// URLs";
        let builder = builder.with_platform_verifier().map_err(|error| format!("{error}; {hint}"))?;
        return Ok(builder.with_no_client_auth());
    }
    let mut believed = RootCertStore::empty();
    for certificate in only.map(certificates).transpose()?.unwrap_or_default() {
        believed.add(certificate).map_err(|error| format!("a CA certificate cannot be used: {error}"))?;
    }
    Ok(builder.with_root_certificates(believed).with_no_client_auth())
}

/// The certificate we show, followed through its files.
pub struct Server {
    files: settings::Tls,
    shown: Arc<Shown>,
    telemetry: Telemetry,
}

#[derive(Debug)]
struct Shown(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read()))
    }
}

impl Server {
    pub fn open(files: &settings::Tls, telemetry: Telemetry) -> Result<Self, String> {
        provider();
        let key = load(&files.certificate, &files.key)?;
        let shown = Arc::new(Shown(RwLock::new(Arc::new(key))));
        let server = Self { files: files.clone(), shown, telemetry };
        server.tell_end();
        Ok(server)
    }

    /// Of the certificate that is shown now.
    fn tell_end(&self) {
        let Some(end) = not_after(&self.shown.0.read().cert) else { return };
        self.telemetry.tls_not_after("facade", end);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if end < now.as_secs() {
            let file = self.files.certificate.display();
            tracing::warn!(%file, "the certificate's time is over: who looks at it turns away; replace the file");
        }
    }

    /// What accepts connections; it shows the certificate of the moment.
    pub fn acceptor(&self) -> TlsAcceptor {
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Shown>::clone(&self.shown);
        let mut config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }

    /// Reads the files again whenever they change; files that do not fit keep the certificate there was.
    pub async fn follow(self) {
        let mut seen = self.written().await;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let written = self.written().await;
            if written == seen {
                continue;
            }
            seen = written;
            let (certificate, key) = (self.files.certificate.clone(), self.files.key.clone());
            match tokio::task::spawn_blocking(move || load(&certificate, &key)).await {
                Ok(Ok(key)) => {
                    *self.shown.0.write() = Arc::new(key);
                    tracing::info!("a new certificate is shown");
                    self.tell_end();
                }
                Ok(Err(error)) => tracing::warn!(error, "the earlier certificate is shown on"),
                Err(error) => tracing::warn!(%error, "the earlier certificate is shown on"),
            }
        }
    }

    async fn written(&self) -> [Option<SystemTime>; 2] {
        let at = async |path: &PathBuf| tokio::fs::metadata(path).await.and_then(|data| data.modified()).ok();
        [at(&self.files.certificate).await, at(&self.files.key).await]
    }
}

fn load(certificate: &Path, key: &Path) -> Result<CertifiedKey, String> {
    let chain = certificates(certificate)?;
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| format!("cannot read a private key from {}: {error}", key.display()))?;
    let signing = rustls::crypto::ring::sign::any_supported_type(&private)
        .map_err(|error| format!("the key in {} cannot be used: {error}", key.display()))?;
    let certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(format!("{} and {} do not belong together", certificate.display(), key.display()))
        }
        _ => Ok(certified),
    }
}
