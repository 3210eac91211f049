//! One connection to a broker. Everything it does can be given up at any point and taken up again.
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use bytes::BytesMut;
use rustls::pki_types::ServerName;
use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::wire::{Hello, Packet, Welcome, Wire, WireError};
use crate::settings::{Mqtt, Secret};

/// From the first packet to the broker's welcome.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// The broker hears of us at least so often.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Silence after which the broker is taken for gone: it answered no ping.
const SILENCE_MAX: Duration = Duration::from_mins(1);
/// Bytes read at once.
const READ: usize = 64 * 1_024;

pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Why there is no connection, or none any more.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("cannot reach the broker at {place}: {why}; check --mqtt-url (MQTT_BROKER_URL)")]
    Unreached { place: String, why: String },
    #[error("the broker does not let us in: {0}; check --mqtt-username, MQTT_PASSWORD_FILE and its ACL")]
    Refused(String),
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("the broker ended the connection")]
    Ended,
    #[error("the broker ended the connection: {0}")]
    Said(String),
    #[error("the broker was silent for {SILENCE_MAX:?}")]
    Silent,
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("{0}")]
    Files(String),
}

pub struct Link {
    stream: Box<dyn Stream>,
    /// When the files that it was opened with were written.
    files: Vec<Option<SystemTime>>,
    wire: Wire,
    incoming: BytesMut,
    /// Bytes of a long message that are still to come and not wanted.
    skip: usize,
    outgoing: BytesMut,
    keep_alive: Duration,
    sent: Instant,
    heard: Instant,
}

impl Link {
    /// Connects, with the files as they are now.
    pub async fn open(mqtt: &Mqtt) -> Result<(Self, Welcome), LinkError> {
        let place = format!("{}:{}", mqtt.host, mqtt.port);
        match tokio::time::timeout(CONNECT_DEADLINE, Self::try_open(mqtt, &place)).await {
            Ok(opened) => opened,
            Err(_) => {
                Err(LinkError::Unreached { place, why: format!("no answer within {CONNECT_DEADLINE:?}") })
            }
        }
    }

    async fn try_open(mqtt: &Mqtt, place: &str) -> Result<(Self, Welcome), LinkError> {
        let unreached =
            |error: io::Error| LinkError::Unreached { place: place.to_owned(), why: error.to_string() };
        // Before they are read: one that changes meanwhile is seen as changed.
        let files = stamps(mqtt);
        let login = match &mqtt.login {
            Some((user, secret)) => {
                let read = secret.read();
                let why =
                    |error| LinkError::Files(format!("cannot read the password of the broker: {error}"));
                Some((user.clone(), read.map_err(why)?))
            }
            None => None,
        };
        let tls = match &mqtt.tls {
            Some(tls) => {
                let identity =
                    tls.identity.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
                Some(crate::tls::client(tls.ca_file.as_deref(), identity).map_err(LinkError::Files)?)
            }
            None => None,
        };
        let tcp = TcpStream::connect((mqtt.host.as_str(), mqtt.port)).await.map_err(unreached)?;
        tcp.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match tls {
            Some(config) => {
                let name =
                    ServerName::try_from(mqtt.host.clone()).map_err(|e| unreached(io::Error::other(e)))?;
                Box::new(TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(unreached)?)
            }
            None => Box::new(tcp),
        };
        let now = Instant::now();
        let mut link = Self {
            stream,
            files,
            wire: Wire { version: mqtt.version },
            incoming: BytesMut::with_capacity(READ),
            skip: 0,
            outgoing: BytesMut::new(),
            keep_alive: KEEP_ALIVE,
            sent: now,
            heard: now,
        };
        let hello = Hello {
            client_id: &mqtt.client_id,
            login: login.as_ref().map(|(user, password)| (user.as_str(), password.expose_secret())),
            keep_alive: u16::try_from(KEEP_ALIVE.as_secs()).unwrap_or(u16::MAX),
            session_expiry: u32::try_from(mqtt.session_expiry.as_secs()).unwrap_or(u32::MAX),
        };
        link.wire.connect(&hello, &mut link.outgoing)?;
        let welcome = link.welcome().await?;
        Ok((link, welcome))
    }

    async fn welcome(&mut self) -> Result<Welcome, LinkError> {
        self.stream.write_all(&self.outgoing).await?;
        self.stream.flush().await?;
        self.outgoing.clear();
        loop {
            match self.packet()? {
                Some(Packet::Welcome(welcome)) => {
                    if let Some(why) = welcome.refused {
                        return Err(LinkError::Refused(why));
                    }
                    if let Some(seconds) = welcome.keep_alive.filter(|seconds| *seconds > 0) {
                        self.keep_alive = Duration::from_secs(seconds.into()).min(KEEP_ALIVE);
                    }
                    return Ok(welcome);
                }
                Some(_) => return Err(WireError::Malformed("its first packet is no CONNACK").into()),
                None => {}
            }
            if self.stream.read_buf(&mut self.incoming).await? == 0 {
                return Err(LinkError::Ended);
            }
        }
    }

    /// Where packets are written to.
    pub fn outgoing(&mut self) -> (Wire, &mut BytesMut) {
        (self.wire, &mut self.outgoing)
    }

    /// Whether a file changed since the connection was opened with it.
    pub fn is_outdated(&self, mqtt: &Mqtt) -> bool {
        self.files != stamps(mqtt)
    }

    /// Bytes that are written and not sent.
    pub fn unsent(&self) -> usize {
        self.outgoing.len()
    }

    /// The next packet that was read.
    pub fn packet(&mut self) -> Result<Option<Packet>, LinkError> {
        if self.skip > 0 {
            let some = self.skip.min(self.incoming.len());
            drop(self.incoming.split_to(some));
            self.skip -= some;
            if self.skip > 0 {
                return Ok(None);
            }
        }
        let Some((packet, skip)) = self.wire.read(&mut self.incoming)? else { return Ok(None) };
        self.skip = skip;
        Ok(Some(packet))
    }

    /// Sends what was written, and reads what has come if it may. Done when something was read, or all was sent.
    /// Nothing is lost when it is dropped before.
    pub async fn turn(&mut self, may_read: bool) -> Result<(), LinkError> {
        std::future::poll_fn(|context| self.poll_turn(may_read, context)).await
    }

    fn poll_turn(&mut self, may_read: bool, context: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        let had_some = !self.outgoing.is_empty();
        let sent = self.poll_send(context)?;
        if may_read {
            self.incoming.reserve(READ);
            let read = self.stream.read_buf(&mut self.incoming);
            let read = std::pin::pin!(read);
            match read.poll(context) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(LinkError::Ended)),
                Poll::Ready(Ok(_)) => {
                    self.heard = Instant::now();
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => {}
            }
        }
        if had_some && sent.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Result<Poll<()>, LinkError> {
        let mut all = || -> Poll<io::Result<()>> {
            while !self.outgoing.is_empty() {
                let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.outgoing))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                drop(self.outgoing.split_to(written));
                self.sent = Instant::now();
            }
            Pin::new(&mut self.stream).poll_flush(context)
        };
        match all() {
            Poll::Ready(Ok(())) => Ok(Poll::Ready(())),
            Poll::Ready(Err(error)) => Err(error.into()),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    /// Pings when it is time. While nothing is read, no answer can be expected.
    pub fn tick(&mut self, is_reading: bool, now: Instant) -> Result<(), LinkError> {
        if !is_reading {
            self.heard = now;
        }
        if now.saturating_duration_since(self.heard) >= SILENCE_MAX {
            return Err(LinkError::Silent);
        }
        let quiet = now.saturating_duration_since(self.sent).max(now.saturating_duration_since(self.heard));
        if quiet >= self.keep_alive / 2 && self.outgoing.is_empty() {
            Wire::ping(&mut self.outgoing);
        }
        Ok(())
    }

    /// Says goodbye; the session stays.
    pub async fn close(mut self) {
        Wire::disconnect(&mut self.outgoing);
        let goodbye = async {
            self.stream.write_all(&self.outgoing).await?;
            self.stream.shutdown().await
        };
        drop(tokio::time::timeout(Duration::from_secs(1), goodbye).await);
    }
}

/// When password, CA, certificate and key were written.
fn stamps(mqtt: &Mqtt) -> Vec<Option<SystemTime>> {
    let password = mqtt.login.iter().filter_map(|(_, secret)| match secret {
        Secret::File(path) => Some(path),
        Secret::Value(_) => None,
    });
    let tls = mqtt.tls.iter().flat_map(|tls| {
        tls.ca_file.iter().chain(tls.identity.iter().flat_map(|(certificate, key)| [certificate, key]))
    });
    password.chain(tls).map(|path| std::fs::metadata(path).and_then(|data| data.modified()).ok()).collect()
}
