//! A session: the connection, SETUP, and a stream for each request.

use anyhow::{Context, Result, anyhow, bail};
use moqtail::model::control::constant::SUPPORTED_VERSIONS;
use moqtail::model::control::control_message::{ControlMessage, ControlMessageTrait};
use moqtail::model::control::setup::{Setup, SetupSender};
use moqtail::model::parameter::setup_option::SetupOption;
use moqtail::transport::connection::TransportConnection;
use moqtail::transport::control_stream_handler::ControlStreamHandler;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use wtransport::endpoint::ConnectOptions;
use wtransport::tls::client::{NoServerVerification, build_default_tls_config};
use wtransport::tls::rustls::{ClientConfig as Tls, RootCertStore};
use wtransport::{ClientConfig, Endpoint, quinn};

pub struct Session {
    pub connection: Arc<TransportConnection>,
    next_id: AtomicU64,
    _control: ControlStreamHandler, // has to stay open
}

impl Session {
    pub async fn dial(url: &str) -> Result<Self> {
        let (scheme, address) = url.split_once("://").context("no scheme")?;
        let mut options = Vec::new();
        let connection = match scheme {
            "moqt" => {
                for option in [SetupOption::new_authority(address.into()), SetupOption::new_path("".into())] {
                    options.push(option.try_into().map_err(|e| anyhow!("option: {e:?}"))?);
                }
                TransportConnection::Quic(quic(address.parse()?).await?)
            }
            "https" => TransportConnection::WebTransport(web(url).await?),
            _ => bail!("scheme {scheme}"),
        };
        let mut send = connection.open_uni().await?;
        send.write_all(&Setup::new(options).serialize()?).await?;
        let mut control = ControlStreamHandler::new(send, connection.accept_uni().await?);
        let setup = control.read_setup().await.map_err(|e| anyhow!("SETUP: {e:?}"))?;
        setup.validate_incoming(SetupSender::Server, connection.kind()).map_err(|e| anyhow!("SETUP: {e:?}"))?;
        Ok(Self { connection: Arc::new(connection), next_id: AtomicU64::new(0), _control: control })
    }

    pub fn id(&self) -> u64 {
        self.next_id.fetch_add(2, Ordering::Relaxed)
    }

    /// Sends the first message of a request and returns its stream and the answer.
    pub async fn request(&self, message: ControlMessage) -> Result<(ControlStreamHandler, ControlMessage)> {
        let (send, recv) = self.connection.open_bi().await?;
        let mut stream = ControlStreamHandler::new(send, recv);
        stream.send(&message).await.map_err(|e| anyhow!("{e:?}"))?;
        match stream.next_message().await {
            Ok(ControlMessage::RequestError(e)) => bail!("{:?} was refused: {e:?}", message.get_type()),
            Ok(answer) => Ok((stream, answer)),
            Err(e) => bail!("{:?} has no answer: {e:?}", message.get_type()),
        }
    }
}

fn trusting() -> Tls {
    build_default_tls_config(Arc::new(RootCertStore::empty()), Some(Arc::new(NoServerVerification::new())))
}

async fn quic(address: SocketAddr) -> Result<quinn::Connection> {
    let mut tls = trusting();
    tls.alpn_protocols = vec![SUPPORTED_VERSIONS.into()];
    let config = quinn::ClientConfig::new(Arc::new(quinn::crypto::rustls::QuicClientConfig::try_from(tls)?));
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse()?)?;
    Ok(endpoint.connect_with(config, address, "localhost")?.await?)
}

async fn web(url: &str) -> Result<wtransport::Connection> {
    let config = ClientConfig::builder().with_bind_address("127.0.0.1:0".parse()?).with_custom_tls(trusting()).build();
    let options = ConnectOptions::builder(url).add_header("wt-available-protocols", format!("\"{SUPPORTED_VERSIONS}\"")).build();
    Ok(Endpoint::client(config)?.connect(options).await?)
}
