//! From a URL to a WebSocket with Ditto.
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::super::client::DittoClient;
use super::super::connection::SetupError;
use super::LinkOptions;

/// From the first packet to Ditto's answer to the upgrade.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// The largest frame taken from Ditto, in bytes: a thing, which Ditto keeps under 100k characters, fits.
const FRAME_BYTES_MAX: usize = 4 * 1_024 * 1_024;
const BUFFER: usize = 64 * 1_024;

pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

pub type Socket = WebSocketStream<Box<dyn Wire>>;

/// Where Ditto's WebSocket is.
pub struct Dial {
    url: String,
    tls: Option<TlsConnector>,
}

impl Dial {
    pub fn new(options: &LinkOptions) -> Result<Self, SetupError> {
        let encrypted = options.ws_url.starts_with("wss:");
        let config = encrypted.then(|| crate::tls::client(options.ca_file.as_deref(), None)).transpose();
        let tls = config.map_err(SetupError::Tls)?.map(|config| TlsConnector::from(Arc::new(config)));
        Ok(Self { url: options.ws_url.clone(), tls })
    }

    /// Why not is for the log.
    pub async fn connect(&self, client: &DittoClient) -> Result<Socket, String> {
        let why = match tokio::time::timeout(CONNECT_DEADLINE, self.try_connect(client)).await {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(Error::Http(response))) => {
                if response.status().as_u16() == 401 {
                    client.doubt_login();
                }
                format!("it answers the upgrade with {}", response.status())
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {CONNECT_DEADLINE:?}"),
        };
        Err(format!("{}: {why}; check --ditto-ws-url (DITTO_WS_URL)", self.url))
    }

    async fn try_connect(&self, client: &DittoClient) -> Result<Socket, Error> {
        let mut request = self.url.as_str().into_client_request()?;
        let login =
            client.login_header().await.map_err(|refused| std::io::Error::other(refused.to_string()))?;
        if let Some((name, value)) = login {
            request.headers_mut().insert(name, value);
        }
        let host = request.uri().host().unwrap_or_default().to_owned();
        let usual = if self.tls.is_some() { 443 } else { 80 };
        let port = request.uri().port_u16().unwrap_or(usual);
        let tcp = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
        tcp.set_nodelay(true)?;
        let wire: Box<dyn Wire> = match &self.tls {
            Some(tls) => {
                let name = ServerName::try_from(host).map_err(std::io::Error::other)?;
                Box::new(tls.connect(name, tcp).await?)
            }
            None => Box::new(tcp),
        };
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER)
            .write_buffer_size(BUFFER)
            .max_message_size(Some(FRAME_BYTES_MAX))
            .max_frame_size(Some(FRAME_BYTES_MAX));
        let (socket, _) = tokio_tungstenite::client_async_with_config(request, wire, Some(config)).await?;
        Ok(socket)
    }
}
