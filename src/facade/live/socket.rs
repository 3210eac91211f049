//! One WebSocket to Ditto.
use std::time::Duration;

use axum::http::StatusCode;
use futures::{SinkExt, StreamExt};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tracing::Span;

use super::super::ask::Correlation;
use super::super::auth::Caller;
use super::super::problem::Problem;
use super::super::upstream::CORRELATION_ID;
use crate::telemetry::traces;

/// From the first packet to Ditto's answer to the upgrade.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// Ditto takes a frame in milliseconds, or it is not there.
const SEND_DEADLINE: Duration = Duration::from_secs(10);
/// The largest frame taken from Ditto, in bytes: a page of a search is the largest.
const FRAME_BYTES_MAX: usize = 4 * 1_024 * 1_024;
const READ_BUFFER: usize = 16 * 1_024;

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Where Ditto's WebSocket is.
pub struct Dial {
    url: String,
    /// What the URL would be beside the HTTP API, for messages.
    usual: String,
    tls: TlsConnector,
}

/// Why there is no socket.
pub enum NoSocket {
    /// Ditto does not want this caller; trying again changes nothing.
    Refused(Problem),
    /// Ditto is not there. For the log.
    Unreached(String),
}

pub struct Socket(WebSocketStream<Box<dyn Wire>>);

impl Dial {
    pub fn new(url: &str, ditto_url: &str, tls: &rustls::ClientConfig) -> Self {
        let usual = format!("{}/ws/2", ditto_url.replacen("http", "ws", 1));
        Self { url: url.to_owned(), usual, tls: TlsConnector::from(std::sync::Arc::new(tls.clone())) }
    }

    pub async fn connect(&self, caller: &Caller, id: &Correlation) -> Result<Socket, NoSocket> {
        let unreached = |why: String| NoSocket::Unreached(self.hint(&why));
        match tokio::time::timeout(CONNECT_DEADLINE, self.try_connect(caller, id)).await {
            Ok(Ok(socket)) => Ok(socket),
            Ok(Err(Error::Http(response))) => {
                let status =
                    StatusCode::from_u16(response.status().as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
                if status.is_server_error() || matches!(status.as_u16(), 404 | 300..=399 | 200..=299) {
                    return Err(unreached(format!("it answers the upgrade with {status}")));
                }
                let body = response.body().as_deref().unwrap_or_default();
                Err(NoSocket::Refused(Problem::of_ditto(status, response.headers(), body)))
            }
            Ok(Err(error)) => Err(unreached(error.to_string())),
            Err(_) => Err(unreached("no answer in time".to_owned())),
        }
    }

    async fn try_connect(&self, caller: &Caller, id: &Correlation) -> Result<Socket, Error> {
        let mut request = self.url.as_str().into_client_request()?;
        let (name, value) = caller.login();
        request.headers_mut().insert(name, value);
        request.headers_mut().insert(CORRELATION_ID, id.id.clone());
        traces::pass_on(&Span::current(), id.trace.as_ref(), request.headers_mut());
        let host = request.uri().host().unwrap_or_default().to_owned();
        let encrypted = request.uri().scheme_str() == Some("wss");
        let port = request.uri().port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        let tcp = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
        tcp.set_nodelay(true)?;
        let wire: Box<dyn Wire> = if encrypted {
            let name = ServerName::try_from(host).map_err(std::io::Error::other)?;
            Box::new(self.tls.connect(name, tcp).await?)
        } else {
            Box::new(tcp)
        };
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(FRAME_BYTES_MAX))
            .max_frame_size(Some(FRAME_BYTES_MAX));
        let (socket, _) = tokio_tungstenite::client_async_with_config(request, wire, Some(config)).await?;
        Ok(Socket(socket))
    }

    /// Ditto's documentation shows the gateway's port from outside its own compose file, where no socket answers.
    fn hint(&self, why: &str) -> String {
        format!(
            "{}: {why}; set --ditto-ws-url (DITTO_WS_URL) to where Ditto answers, e.g. {} or ws://HOST:8080/ws/2",
            self.url, self.usual
        )
    }
}

impl Socket {
    /// The next text; `None` when the socket has ended. Pings are answered here; `alive` is told of every frame.
    pub async fn next(&mut self, mut alive: impl FnMut()) -> Option<Utf8Bytes> {
        loop {
            let frame = self.0.next().await?.ok()?;
            alive();
            match frame {
                Message::Text(text) => return Some(text),
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    /// Whether Ditto took it.
    pub async fn send(&mut self, text: impl Into<Utf8Bytes>) -> bool {
        self.put(Message::Text(text.into())).await
    }

    pub async fn ping(&mut self) -> bool {
        self.put(Message::Ping(vec![].into())).await
    }

    async fn put(&mut self, frame: Message) -> bool {
        matches!(tokio::time::timeout(SEND_DEADLINE, self.0.send(frame)).await, Ok(Ok(())))
    }

    pub async fn close(mut self) {
        drop(tokio::time::timeout(SEND_DEADLINE, self.0.close(None)).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_does_not_answer_says_where_the_usual_one_is() {
        let tls = super::super::super::tls::client(false, None).unwrap();
        let dial = Dial::new("ws://ditto:8081/ws/2", "http://ditto:8080", &tls);
        let hint = dial.hint("connection refused");
        assert!(hint.contains("ws://ditto:8081/ws/2") && hint.contains("ws://ditto:8080/ws/2"), "{hint}");
    }
}
