//! The iroh endpoint: what it listens on, what it may contact, and how its connections behave.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use iroh::{
    Endpoint, RelayMap, RelayMode, RelayUrl, SecretKey,
    endpoint::{BindOpts, Builder, MtuDiscoveryConfig, NetReportConfig, PortmapperConfig, QuicTransportConfig, VarInt, presets},
    tls::CaTlsConfig,
};
use rustls::crypto::{CryptoProvider, ring, ring::cipher_suite::TLS13_AES_128_GCM_SHA256};
use rustls_pki_types::{CertificateDer, pem::PemObject};

use crate::{
    args::Args,
    congestion,
    fail::{CONFIG, Failure, IO, USAGE, chain},
    key, log, record,
};

/// How many streams a peer may have open, of each direction; one more than a relay grants is never asked for.
pub const MAX_STREAMS: u32 = 2048;

/// iroh takes a connection that has more than 1,024 gaps in one stream for an attack and closes it. A window of 4 MiB came
/// to that under loss, one of 1 MiB cannot.
const STREAM_WINDOW: u32 = 1 << 20;

/// What may wait in all for a relay that does not read.
const CONNECTION_WINDOW: u32 = 64 << 20;

/// 256 KiB stalled for hundreds of milliseconds.
const SEND_WINDOW: u64 = 8 << 20;

const IDLE: Duration = Duration::from_secs(5);
const PATH_IDLE: Duration = Duration::from_secs(4);
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// Later than this a packet is lost that came after others: in packets, and in round-trip times. With less than these jitter
/// is taken for loss.
const PACKET_THRESHOLD: u32 = 20;
const TIME_THRESHOLD: f32 = 1.5;

/// The largest payload that is looked for: an Ethernet's over IPv4, and the most that noq takes.
const PAYLOAD: u16 = 1472;

fn transport() -> QuicTransportConfig {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(PAYLOAD);
    QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(MAX_STREAMS))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(SEND_WINDOW)
        .send_fairness(false) // what was written first leaves first: an old object is of more use than a part of a new one
        .max_idle_timeout(Some(IDLE.try_into().expect("5 s")))
        .keep_alive_interval(KEEP_ALIVE)
        .default_path_max_idle_timeout(PATH_IDLE)
        .default_path_keep_alive_interval(KEEP_ALIVE)
        .packet_threshold(PACKET_THRESHOLD)
        .time_threshold(TIME_THRESHOLD)
        .mtu_discovery_config(Some(mtu))
        .congestion_controller_factory(Arc::new(congestion::Factory))
        .build()
}

/// The ports of which a key chooses one: below those that kernels give to whom wants any.
const PORTS: std::ops::Range<u16> = 20_480..32_768;

/// The port of a node that has a key of its own. It is the same after each start, so that what others know of the node, a ticket, leads
/// to it again.
fn port(key: &SecretKey) -> u16 {
    let [a, b, ..] = *key.public().as_bytes();
    PORTS.start + u16::from_be_bytes([a, b]) % (PORTS.end - PORTS.start)
}

pub async fn bind(args: &Args) -> Result<Endpoint, Failure> {
    let failed = |e| Failure::new(IO, format!("to listen: {}", chain(&e)));
    let Some(path) = &args.key else {
        return builder(args, SecretKey::generate())?.bind().await.map_err(failed);
    };
    let key = key::read(path)?;
    if args.bind.is_empty() {
        let port = port(&key);
        let v6 = BindOpts::default().set_is_required(false);
        let b = builder(args, key.clone())?.clear_ip_transports();
        let b = b.bind_addr((Ipv4Addr::UNSPECIFIED, port)).and_then(|b| b.bind_addr_with_opts((Ipv6Addr::UNSPECIFIED, port), v6));
        match b.map_err(|e| Failure::new(IO, chain(&e)))?.bind().await {
            Ok(endpoint) => return Ok(endpoint),
            Err(e) => log::warn(format_args!("port {port} is taken, so another one: a ticket may not lead here after a restart: {}", chain(&e))),
        }
    }
    builder(args, key)?.bind().await.map_err(failed)
}

/// What is encrypted with, AES-128 first, as by QUIC elsewhere: AES-256, which rustls would offer first, takes two fifths more rounds.
fn crypto() -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != TLS13_AES_128_GCM_SHA256.suite());
    Arc::new(provider)
}

/// Nothing is looked up or contacted but what args name: no DNS for nodes, no pkarr, no relay of others, no port mapping.
fn builder(args: &Args, key: SecretKey) -> Result<Builder, Failure> {
    let mut reports = NetReportConfig::default();
    reports.captive_portal_check = false;
    let mut b = Endpoint::builder(presets::Minimal)
        .secret_key(key)
        .crypto_provider(crypto())
        .alpns(record::ALPNS.map(|a| a.as_bytes().to_vec()).to_vec())
        .transport_config(transport())
        .portmapper_config(PortmapperConfig::Disabled)
        .net_report_config(reports);
    if !args.bind.is_empty() {
        b = b.clear_ip_transports();
    }
    for addr in &args.bind {
        b = b.bind_addr(*addr).map_err(|e| Failure::new(USAGE, format!("--bind {addr}: {}", chain(&e))))?;
    }
    if !args.relays.is_empty() {
        let urls = args.relays.iter().map(|url| url.parse::<RelayUrl>().map_err(|e| Failure::new(USAGE, format!("--relay {url:?}: {}", chain(&e)))));
        b = b.relay_mode(RelayMode::Custom(urls.collect::<Result<RelayMap, _>>()?));
    }
    if let Some(path) = &args.relay_ca {
        let pem = std::fs::read(path).map_err(|e| Failure::new(IO, format!("{}: {e}", path.display())))?;
        let roots: Vec<_> =
            CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|e| Failure::new(CONFIG, format!("{}: {e}", path.display())))?;
        if roots.is_empty() {
            return Err(Failure::new(CONFIG, format!("{} holds no certificate (PEM)", path.display())));
        }
        b = b.ca_tls_config(CaTlsConfig::custom_roots(roots));
    }
    Ok(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aes_128_is_offered_first() {
        let suites = crypto().cipher_suites.clone();
        assert!(suites.len() > 1 && suites[0].suite() == TLS13_AES_128_GCM_SHA256.suite(), "{suites:?}");
    }

    #[test]
    fn a_key_chooses_its_port() {
        let ports: Vec<_> = (0..100u8).map(|n| port(&SecretKey::from_bytes(&[n; 32]))).collect();
        assert!(ports.iter().all(|p| PORTS.contains(p)), "{ports:?}");
        assert_eq!(ports[7], port(&SecretKey::from_bytes(&[7; 32])));
        assert!(ports.iter().collect::<std::collections::BTreeSet<_>>().len() > 90, "{ports:?}");
    }
}
