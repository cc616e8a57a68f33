//! The life of the process: what begins and ends connections, and what is told of them.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use iroh::{
    Endpoint, EndpointId, Watcher,
    endpoint::{
        ConnectError, ConnectOptions, ConnectWithOptsError, ConnectingError, Connection, ConnectionError, Incoming, TransportErrorCode, VarInt,
    },
};
use iroh_mdns_address_lookup::{DiscoveryEvent, MdnsAddressLookup};
use n0_future::StreamExt;
use tokio::{
    net::UnixStream,
    signal::unix::{SignalKind, signal},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    args::Args,
    bridge,
    door::{self, Door},
    endpoint,
    fail::{Failure, OTHER, brief, chain},
    log, qmux,
    record::{self, Addrs, Code, Connected, Dial, Event, Path, Refusal},
};

/// How often a peer's round-trip time is told.
const TELL_RTT: Duration = Duration::from_secs(5);
/// How long a peer that dials may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How many peers may be in their handshake, and how many connections there may be; more are refused.
const MAX_HANDSHAKES: usize = 64;
const MAX_CONNECTIONS: usize = 1024;
/// How long peers may take to hear of the end.
const CLOSING: Duration = Duration::from_secs(2);
/// mDNS service: only nodes of this software answer.
const MDNS_SERVICE: &str = "every-channel";

/// What all connections share.
struct Node {
    endpoint: Endpoint,
    door: Door,
    has_relay: bool,
    mdns: bool,
    conns: AtomicU64,
    room: Arc<Semaphore>,
    stop: CancellationToken,
}

pub async fn run(args: Args) -> Result<u8, Failure> {
    let stop = CancellationToken::new();
    end_with_stdin(stop.clone())?;
    let signals = [(SignalKind::terminate(), 143), (SignalKind::interrupt(), 130)];
    let mut signals = signals.map(|(kind, code)| signal(kind).map(|s| (s, code)));
    let [term, int] = &mut signals;
    let (term, int) = match (term, int) {
        (Ok(term), Ok(int)) => (term, int),
        (Err(e), _) | (_, Err(e)) => return Err(Failure::new(OTHER, format!("to wait for signals: {e}"))),
    };
    let door = Door::open(&args.dir)?;
    let accepts = door.accept_path().exists();
    let endpoint = endpoint::bind(&args).await?;
    let node = Arc::new(Node {
        endpoint: endpoint.clone(),
        door,
        has_relay: !args.relays.is_empty(),
        mdns: args.mdns,
        conns: AtomicU64::new(0),
        room: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        stop: stop.clone(),
    });
    let tasks = TaskTracker::new();
    if args.mdns {
        let mdns = MdnsAddressLookup::builder()
            .service_name(MDNS_SERVICE)
            .advertise(accepts) // who takes no peers needs not be found
            .build(endpoint.id())
            .map_err(|e| Failure::new(OTHER, format!("to look for nodes on the local network: {}", chain(&e))))?;
        let found = mdns.subscribe().await;
        endpoint.address_lookup().map_err(|e| Failure::new(OTHER, chain(&e)))?.add(mdns);
        tasks.spawn(stopping(&stop, tell_found(found)));
    }
    tell(&Event::Ready { id: endpoint.id().to_string(), at: Addrs::new(endpoint.addr().addrs.iter()) }, &stop);
    tasks.spawn(stopping(&stop, tell_addrs(endpoint.clone(), stop.clone())));
    tasks.spawn(stopping(&stop, node.clone().serve_peers(tasks.clone())));
    tasks.spawn(stopping(&stop, node.clone().serve_starter(tasks.clone())));

    let code = tokio::select! {
        () = stop.cancelled() => 0,
        _ = term.0.recv() => term.1,
        _ = int.0.recv() => int.1,
    };
    stop.cancel();
    tasks.close();
    if timeout(CLOSING, tasks.wait()).await.is_err() {
        log::warn("some connections did not end in time");
    }
    if timeout(CLOSING, endpoint.close()).await.is_err() {
        log::debug("some peers did not hear of the end");
    }
    Ok(code)
}

/// Waits for the end of stdin on a thread: the starter holds the other end and never writes, so its end is the starter's,
/// however that came.
fn end_with_stdin(stop: CancellationToken) -> Result<(), Failure> {
    thread::Builder::new()
        .name("stdin".into())
        .spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()); // an error is an end too
            stop.cancel();
        })
        .map(drop)
        .map_err(|e| Failure::new(OTHER, format!("to wait for stdin: {e}")))
}

fn stopping(stop: &CancellationToken, task: impl Future<Output = ()> + Send + 'static) -> impl Future<Output = ()> + Send + 'static {
    let stop = stop.clone();
    async move {
        stop.run_until_cancelled(task).await;
    }
}

/// Writes a record on stdout. A starter that reads no more is gone.
fn tell(event: &Event, stop: &CancellationToken) {
    let mut out = std::io::stdout().lock();
    if out.write_all(record::line(event).as_bytes()).and_then(|()| out.flush()).is_err() {
        stop.cancel();
    }
}

async fn tell_addrs(endpoint: Endpoint, stop: CancellationToken) {
    let id = endpoint.id().to_string();
    let mut last = Addrs::new(endpoint.addr().addrs.iter());
    let mut changes = endpoint.watch_addr().stream();
    while let Some(addr) = changes.next().await {
        let at = Addrs::new(addr.addrs.iter());
        if at != last {
            last = at.clone();
            tell(&Event::Addrs { id: id.clone(), at }, &stop);
        }
    }
}

async fn tell_found(mut events: impl n0_future::Stream<Item = DiscoveryEvent> + Unpin) {
    // No stop: a write that does not succeed is seen by others too.
    let stop = CancellationToken::new();
    while let Some(event) = events.next().await {
        match event {
            DiscoveryEvent::Discovered { endpoint_info, .. } => {
                let at = Addrs::new(endpoint_info.addrs());
                tell(&Event::Found { id: endpoint_info.endpoint_id.to_string(), at }, &stop);
            }
            DiscoveryEvent::Expired { endpoint_id } => tell(&Event::Lost { id: endpoint_id.to_string() }, &stop),
            _ => {}
        }
    }
}

/// The way that data takes just now, or the best one known.
fn path_of(conn: &Connection) -> Path {
    let paths = conn.paths();
    let path = paths.iter().find(|p| p.is_selected()).or_else(|| paths.iter().next());
    match path {
        Some(p) => {
            let (path, addr) = match p.remote_addr() {
                iroh::TransportAddr::Ip(addr) => ("direct", addr.to_string()),
                iroh::TransportAddr::Relay(url) => ("relayed", url.to_string()),
                other => ("direct", other.to_string()),
            };
            Path { path, addr, rtt_us: p.rtt().as_micros().try_into().unwrap_or(u64::MAX) }
        }
        None => Path { path: "direct", addr: String::new(), rtt_us: 0 },
    }
}

impl Node {
    async fn serve_peers(self: Arc<Self>, tasks: TaskTracker) {
        let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
        while let Some(incoming) = self.endpoint.accept().await {
            let (Ok(place), Ok(room)) = (handshakes.clone().try_acquire_owned(), self.room.clone().try_acquire_owned()) else {
                incoming.refuse();
                continue;
            };
            let node = self.clone();
            tasks.spawn(async move {
                node.take(incoming, place).await;
                drop(room);
            });
        }
    }

    /// Brings a connection that a peer began to the relay.
    async fn take(&self, incoming: Incoming, place: OwnedSemaphorePermit) {
        let path = self.door.accept_path();
        if !path.exists() {
            incoming.refuse();
            return;
        }
        let handshake = async { incoming.accept().map_err(|e| e.to_string())?.await.map_err(|e| chain(&e)) };
        let conn = tokio::select! {
            conn = timeout(HANDSHAKE, handshake) => match conn {
                Ok(Ok(conn)) => conn,
                Ok(Err(e)) => return log::debug(format_args!("a peer that dialled: {e}")),
                Err(_) => return log::debug("a peer that dialled did not end its handshake"),
            },
            () = self.stop.cancelled() => return,
        };
        drop(place);
        let id = self.begin();
        let session = async {
            let mut stream = UnixStream::connect(&path).await.map_err(|e| format!("{}: {e}", path.display()))?;
            let line = record::line(&self.connected(&conn, id));
            door::write_line(&mut stream, &line).await.map_err(|e| format!("{}: {e}", path.display()))?;
            qmux::Session::connect(stream, bridge::qmux_config(&conn)).await
        };
        match session.await {
            Ok(session) => self.join(id, "in", conn, session).await,
            Err(e) => {
                log::warn(format_args!("the relay did not take {}: {e}", conn.remote_id()));
                conn.close(VarInt::from_u32(1), b"the relay does not take it");
            }
        }
    }

    async fn serve_starter(self: Arc<Self>, tasks: TaskTracker) {
        loop {
            match self.door.dial.accept().await {
                Ok((stream, _)) => {
                    let node = self.clone();
                    tasks.spawn(async move { node.dial(stream).await });
                }
                Err(e) => {
                    log::warn(format_args!("dial.sock: {e}"));
                    tokio::time::sleep(Duration::from_millis(100)).await; // out of files, as a rule: others end meanwhile
                }
            }
        }
    }

    /// Serves one connection of the starter's.
    async fn dial(&self, mut stream: UnixStream) {
        let dialled = tokio::select! {
            dialled = async {
                let dial: Dial = door::read_line(&mut stream).await?.parse()?;
                self.connect(dial).await
            } => dialled,
            () = self.stop.cancelled() => Err(Refusal::new(Code::Ending, "ec-iroh ends")),
        };
        let conn = match dialled {
            Ok(conn) => conn,
            Err(refusal) => {
                log::debug(format_args!("no connection: {}", refusal.error));
                let _ = door::write_line(&mut stream, &record::line(&refusal)).await; // the starter may be gone
                return;
            }
        };
        let id = self.begin();
        let gone = |e: String| {
            log::debug(format_args!("the starter left: {e}"));
            conn.close(VarInt::from_u32(0), b"");
        };
        if let Err(e) = door::write_line(&mut stream, &record::line(&self.connected(&conn, id))).await {
            return gone(e.to_string());
        }
        match qmux::Session::accept(stream, bridge::qmux_config(&conn)).await {
            Ok(session) => self.join(id, "out", conn, session).await,
            Err(e) => gone(e),
        }
    }

    async fn connect(&self, dial: Dial) -> Result<Connection, Refusal> {
        let mut to = dial.to;
        if to.relay_urls().next().is_some() && !self.has_relay {
            to.addrs.retain(|addr| !addr.is_relay()); // started without --relay, this node contacts none
        }
        if to.is_empty() && !self.mdns {
            return Err(Refusal::new(Code::Unreachable, "no address of it is known, and --mdns is off"));
        }
        let id = to.id;
        let mut alpns = dial.alpns.into_iter().map(String::into_bytes);
        let first = alpns.next().unwrap_or_default();
        let options = ConnectOptions::new().with_additional_alpns(alpns.collect());
        let connecting = async { Ok(self.endpoint.connect_with_opts(to, &first, options).await?.await?) };
        match timeout(dial.timeout, connecting).await {
            Ok(Ok(conn)) => Ok(conn),
            Ok(Err(e)) => Err(refusal(&e)),
            Err(_) => Err(Refusal::new(Code::Unreachable, format!("{} did not answer within {} ms", short(id), dial.timeout.as_millis()))),
        }
    }

    fn begin(&self) -> u64 {
        self.conns.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn connected(&self, conn: &Connection, id: u64) -> Connected {
        Connected { conn: id, id: conn.remote_id().to_string(), alpn: String::from_utf8_lossy(conn.alpn()).into_owned(), path: path_of(conn) }
    }

    /// Joins both sides until one ends, and tells of the peer.
    async fn join(&self, id: u64, direction: &'static str, conn: Connection, session: qmux::Session) {
        let peer = conn.remote_id().to_string();
        let tell_peer = |path: &Path| {
            let alpn = String::from_utf8_lossy(conn.alpn()).into_owned();
            tell(&Event::Peer { conn: id, id: peer.clone(), direction, alpn, path: path.clone() }, &self.stop);
        };
        let mut path = path_of(&conn);
        tell_peer(&path);
        let watching = async {
            let mut paths = conn.paths_stream();
            let mut tick = interval(TELL_RTT);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            tick.tick().await; // the first one is now
            loop {
                let rtt = tokio::select! {
                    next = paths.next() => match next {
                        Some(_) => false,
                        None => std::future::pending().await,
                    },
                    _ = tick.tick() => true,
                };
                let now = path_of(&conn);
                if rtt || now.is_other(&path) {
                    tell_peer(&now);
                    path = now;
                }
            }
        };
        let reason = tokio::select! {
            reason = bridge::run(conn.clone(), session, self.stop.clone()) => reason,
            () = watching => unreachable!("it has no end"),
        };
        tell(&Event::Gone { conn: id, id: peer, reason: brief(&reason) }, &self.stop);
    }
}

fn short(id: EndpointId) -> String {
    id.fmt_short().to_string()
}

/// What a failed dial is called.
fn refusal(e: &ConnectError) -> Refusal {
    let connection = match e {
        ConnectError::Connection { source, .. } => Some(source),
        ConnectError::Connecting { source: ConnectingError::ConnectionError { source, .. }, .. } => Some(source),
        _ => None,
    };
    let code = match (e, connection) {
        (ConnectError::Connect { source: ConnectWithOptsError::SelfConnect { .. }, .. }, _) => Code::Itself,
        (ConnectError::Connect { source: ConnectWithOptsError::EndpointClosed { .. }, .. }, _) => Code::Ending,
        (ConnectError::Connect { .. }, _) => Code::Unreachable,
        (_, Some(ConnectionError::TimedOut)) => Code::Unreachable,
        (_, Some(ConnectionError::ConnectionClosed(close))) if close.error_code == TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL) => {
            return Refusal::new(Code::Protocol, "it speaks none of the drafts of MoQ offered");
        }
        (_, Some(ConnectionError::ConnectionClosed(close))) if close.error_code == TransportErrorCode::CONNECTION_REFUSED => {
            return Refusal::new(Code::Refused, "it refused the connection");
        }
        (_, Some(_)) => Code::Refused,
        _ => Code::Refused,
    };
    Refusal::new(code, brief(&chain(e)))
}

/// The TLS alert (RFC 7301 §3.2).
const NO_APPLICATION_PROTOCOL: u8 = 120;
