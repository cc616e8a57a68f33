//! Two ec-iroh processes on loopback, with a QMux peer in the place of each relay.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::mpsc,
    time::timeout,
};
use web_transport_trait::{Error as _, RecvStream as _, SendStream as _, Session as _};

/// Those of ec-iroh, the one that is taken first.
const ALPNS: [&str; 4] = ["moqt-22", "moqt-20", "moqt-18", "moqt-16"];

/// Nothing here takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(30);

async fn within<T>(what: &str, f: impl Future<Output = T>) -> T {
    timeout(PATIENCE, f).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

fn qmux_config() -> qmux::Config {
    let mut c = qmux::Config::new(qmux::Version::QMux01);
    c.protocol = qmux::Protocol::Negotiate(ALPNS.map(Into::into).to_vec());
    (c.max_streams_bidi, c.max_streams_uni, c.max_data) = (2048, 2048, 1 << 40);
    c
}

fn transport(stream: UnixStream) -> qmux::transport::Stream<UnixStream> {
    qmux::transport::Stream::new(stream, qmux::Version::QMux01, 66_560)
}

async fn read_line(stream: &mut UnixStream) -> Value {
    let mut line = Vec::new();
    loop {
        match stream.read_u8().await.expect("a line") {
            b'\n' => return serde_json::from_slice(&line).expect("JSON"),
            b => line.push(b),
        }
    }
}

/// One ec-iroh and its folder.
struct Node {
    child: Child,
    dir: PathBuf,
    records: mpsc::UnboundedReceiver<Value>,
    id: String,
    addrs: Value,
    accept: Option<UnixListener>,
}

fn folder() -> PathBuf {
    static N: AtomicU32 = AtomicU32::new(0);
    let dir = std::env::temp_dir().join(format!("ec-iroh-{}-{}", std::process::id(), N.fetch_add(1, Ordering::Relaxed)));
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    dir
}

impl Node {
    async fn start() -> Self {
        Self::start_with(Stdio::piped(), true).await
    }

    async fn start_with(stdin: Stdio, accepts: bool) -> Self {
        let dir = folder();
        let accept = accepts.then(|| UnixListener::bind(dir.join("accept.sock")).unwrap());
        let mut child = Command::new(env!("CARGO_BIN_EXE_ec-iroh"))
            .args(["--bind", "127.0.0.1:0", "--dir"])
            .arg(&dir)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let (tx, records) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let record: Value = serde_json::from_str(&line.unwrap()).expect("a record");
                assert_eq!(record["v"], 1);
                if tx.send(record).is_err() {
                    return;
                }
            }
        });
        let mut node = Node { child, dir, records, id: String::new(), addrs: Value::Null, accept };
        let ready = node.record("ready").await;
        node.id = ready["id"].as_str().unwrap().into();
        node.addrs = ready["addrs"].clone();
        assert_eq!(node.addrs.as_array().unwrap().len(), 1, "{ready}");
        assert_eq!(ready.get("relay"), None);
        node
    }

    /// The next record of this kind.
    async fn record(&mut self, event: &str) -> Value {
        within(event, async {
            loop {
                let record = self.records.recv().await.expect("ec-iroh goes on");
                if record["event"] == event {
                    return record;
                }
            }
        })
        .await
    }

    async fn ask(&self, line: &[u8]) -> (UnixStream, Value) {
        let mut stream = UnixStream::connect(self.dir.join("dial.sock")).await.unwrap();
        let _ = stream.write_all(line).await; // an answer may come before all was read
        let answer = within("an answer", read_line(&mut stream)).await;
        (stream, answer)
    }

    async fn dial(&self, request: Value) -> (UnixStream, Value) {
        self.ask(format!("{request}\n").as_bytes()).await
    }

    /// Connects this node's relay to that of another one.
    async fn connect(&self, to: &Node) -> (qmux::Session, qmux::Session) {
        let dialled = async {
            let (stream, answer) = self.dial(json!({"v": 1, "dial": to.id, "addrs": to.addrs})).await;
            assert_eq!((&answer["id"], &answer["alpn"], &answer["path"]), (&json!(to.id), &json!(ALPNS[0]), &json!("direct")), "{answer}");
            qmux::Session::connect(transport(stream), qmux_config()).await.unwrap()
        };
        let accepted = async {
            let (mut stream, _) = to.accept.as_ref().unwrap().accept().await.unwrap();
            let line = read_line(&mut stream).await;
            assert_eq!(
                (&line["v"], &line["id"], &line["alpn"], &line["path"]),
                (&json!(1), &json!(self.id), &json!(ALPNS[0]), &json!("direct")),
                "{line}"
            );
            qmux::Session::accept(transport(stream), qmux_config()).await.unwrap()
        };
        within("a connection", async { tokio::join!(dialled, accepted) }).await
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().unwrap().success());
    }

    async fn ended(&mut self) -> std::process::ExitStatus {
        within("its end", async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

async fn pair() -> (Node, Node, qmux::Session, qmux::Session) {
    let (a, b) = tokio::join!(Node::start(), Node::start());
    let (qa, qb) = a.connect(&b).await;
    (a, b, qa, qb)
}

/// Bytes that no other place of the stream has.
fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut x = seed | 1;
    (0..len)
        .map(|_| {
            x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (x >> 56) as u8
        })
        .collect()
}

#[tokio::test]
async fn records_tell_of_peers() {
    let (mut a, mut b, qa, _qb) = pair().await;
    let (from_a, from_b) = (a.record("peer").await, b.record("peer").await);
    assert_eq!((&from_a["id"], &from_a["direction"], &from_a["addr"]), (&json!(b.id), &json!("out"), &b.addrs[0]));
    assert_eq!((&from_b["id"], &from_b["direction"], &from_b["addr"]), (&json!(a.id), &json!("in"), &a.addrs[0]));
    assert!(from_a["rtt_us"].as_u64().unwrap() > 0 && from_a["path"] == "direct" && from_a["alpn"] == ALPNS[0]);
    qa.close(5, "enough");
    let (gone_a, gone_b) = (a.record("gone").await, b.record("gone").await);
    assert_eq!(gone_a["reason"], "closed by the relay with code 5: enough");
    assert_eq!(gone_b["reason"], "closed by the peer with code 5: enough");
    assert_eq!(gone_a["conn"], from_a["conn"]);
}

#[tokio::test]
async fn a_stream_of_64_mib_arrives_whole_each_way() {
    let (_a, _b, qa, qb) = pair().await;
    let data = Bytes::from(pattern(64 << 20, 1));
    for (from, to) in [(&qa, &qb), (&qb, &qa)] {
        let sending = async {
            let mut s = from.open_uni().await.unwrap();
            s.write_chunk(data.clone()).await.unwrap();
            s.finish().unwrap();
            s.closed().await.unwrap();
        };
        let reading = async { to.accept_uni().await.unwrap().read_all().await.unwrap() };
        let (_, got) = within("64 MiB", async { tokio::join!(sending, reading) }).await;
        assert!(got == data, "{} bytes of {}, or others", got.len(), data.len());
    }
}

#[tokio::test]
async fn more_than_a_thousand_streams_are_open_at_once() {
    const N: usize = 1500;
    let (_a, _b, qa, qb) = pair().await;
    within("1,500 streams", async {
        // Each is answered only when all are open.
        let mut opened = Vec::new();
        for n in 0..N {
            let (mut s, r) = qa.open_bi().await.unwrap();
            s.write_all(&pattern(100, n as u64)).await.unwrap();
            opened.push((s, r));
        }
        let mut accepted = Vec::new();
        for _ in 0..N {
            accepted.push(qb.accept_bi().await.unwrap());
        }
        for (mut s, mut r) in accepted {
            let mut got = vec![0; 100];
            let mut n = 0;
            while n < got.len() {
                n += r.read(&mut got[n..]).await.unwrap().unwrap();
            }
            s.write_all(&got).await.unwrap();
            s.finish().unwrap();
            tokio::spawn(async move { (s.closed().await, r.read_all().await) });
        }
        for (n, (mut s, mut r)) in opened.into_iter().enumerate() {
            assert_eq!(r.read_all().await.unwrap(), pattern(100, n as u64));
            s.finish().unwrap();
            s.closed().await.unwrap();
        }
        // And as many again, so that the first ones are not counted for ever.
        for n in 0..N {
            let (mut s, _r) = qa.open_bi().await.unwrap();
            s.write_all(b"again").await.unwrap();
            let (_s, mut r) = qb.accept_bi().await.unwrap(); // a stream that is reset before is none
            s.reset(n as u32);
            let _ = r.read_all().await;
        }
    })
    .await;
}

impl Node {
    /// What it has in memory, in KiB.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim().trim_end_matches(" kB").parse().unwrap()
    }
}

/// Many short streams one after the other, some of which may be over before the other side has seen them.
async fn many_streams(from: &qmux::Session, to: &qmux::Session, count: u32, reset: bool) {
    let sending = async {
        for n in 0..count {
            let mut s = from.open_uni().await.unwrap();
            s.write_all(&[7; 100]).await.unwrap();
            if n % 16 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await; // they are sent
            }
            if reset { s.reset(9) } else { s.finish().unwrap() }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    let reading = async {
        loop {
            let _ = to.accept_uni().await.unwrap().read_all().await; // an error is a reset
        }
    };
    within("streams", async {
        tokio::select! {
            () = sending => {}
            () = reading => {}
        }
    })
    .await;
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn streams_that_are_over_leave_nothing() {
    for reset in [true, false] {
        let (a, b, qa, qb) = pair().await;
        many_streams(&qa, &qb, 4000, reset).await;
        let before = (a.memory(), b.memory());
        many_streams(&qa, &qb, 24_000, reset).await;
        let after = (a.memory(), b.memory());
        assert!(
            after.0 < before.0 + (6 << 10) && after.1 < before.1 + (6 << 10),
            "reset {reset}: KiB {before:?} before 24,000 streams, {after:?} after"
        );
    }
}

#[tokio::test]
async fn resets_and_stops_keep_their_codes_both_ways() {
    let (_a, _b, qa, qb) = pair().await;
    within("codes", async {
        for (from, to) in [(&qa, &qb), (&qb, &qa)] {
            for code in [0u32, 1, 0x12, 0xffff_fffe] {
                // A reset by the side that opened.
                let mut s = from.open_uni().await.unwrap();
                s.write_all(b"x").await.unwrap();
                let mut r = to.accept_uni().await.unwrap();
                assert_eq!(r.read_chunk(10).await.unwrap().unwrap(), "x");
                s.reset(code);
                assert_eq!(r.read_chunk(10).await.unwrap_err().stream_error(), Some(code));

                // A stop by the other side.
                let mut s = from.open_uni().await.unwrap();
                s.write_all(b"x").await.unwrap();
                let mut r = to.accept_uni().await.unwrap();
                r.stop(code);
                assert_eq!(s.closed().await.unwrap_err().stream_error(), Some(code));

                // Both halves of a stream, each with its own end.
                let (mut s, mut r) = from.open_bi().await.unwrap();
                s.write_all(b"x").await.unwrap();
                let (mut s2, mut r2) = to.accept_bi().await.unwrap();
                s2.write_all(b"y").await.unwrap();
                assert_eq!(r.read_chunk(10).await.unwrap().unwrap(), "y");
                s2.reset(code);
                s.finish().unwrap();
                assert_eq!(r.read_chunk(10).await.unwrap_err().stream_error(), Some(code));
                assert_eq!(r2.read_all().await.unwrap(), "x");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_nobody_reads_is_reset_and_stopped_all_the_same_and_holds_up_no_other() {
    let (_a, _b, qa, qb) = pair().await;
    within("resets", async {
        // More than the far relay gives credit for, and less than fits on the way: this side's qmux would stop at eight that wait.
        let data = pattern(600 << 10, 3);
        let (mut writers, mut unread) = (Vec::new(), Vec::new());
        for _ in 0..20 {
            let mut s = qa.open_uni().await.unwrap();
            s.write_all(&data).await.unwrap();
            writers.push(s);
            unread.push(qb.accept_uni().await.unwrap());
        }
        let mut s = qa.open_uni().await.unwrap();
        let small = pattern(1 << 20, 4);
        let sent = tokio::spawn(async move {
            s.write_all(&small).await.unwrap();
            s.finish().unwrap();
            s.closed().await.unwrap();
        });
        assert_eq!(qb.accept_uni().await.unwrap().read_all().await.unwrap(), pattern(1 << 20, 4));
        sent.await.unwrap();
        for (n, s) in writers.iter_mut().enumerate() {
            s.reset(n as u32);
        }
        for (n, mut r) in unread.into_iter().enumerate() {
            // Whatever arrived before may be read or not.
            let code = loop {
                match r.read_chunk(1 << 20).await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("a FIN"),
                    Err(e) => break e.stream_error(),
                }
            };
            assert_eq!(code, Some(n as u32));
        }
    })
    .await;
}

#[tokio::test]
async fn datagrams() {
    let (_a, _b, qa, qb) = pair().await;
    let max = qa.max_datagram_size();
    assert!((1100..1500).contains(&max), "{max}");
    for (from, to) in [(&qa, &qb), (&qb, &qa)] {
        for len in [0, 1, 1000, max.min(from.max_datagram_size())] {
            let data = Bytes::from(pattern(len, 5));
            // It may be lost, as any may.
            within("a datagram", async {
                loop {
                    from.send_datagram(data.clone()).unwrap();
                    match timeout(Duration::from_secs(1), to.recv_datagram()).await {
                        Ok(got) if got.as_ref().unwrap() == &data => return,
                        _ => {}
                    }
                }
            })
            .await;
        }
        assert!(from.send_datagram(vec![0; from.max_datagram_size() + 1].into()).is_err());
    }
}

#[tokio::test]
async fn close_codes_pass_both_ways() {
    let (a, b) = tokio::join!(Node::start(), Node::start());
    for code in [0, 3, 0x1_0000] {
        let (qa, qb) = a.connect(&b).await;
        qa.close(code, "so it is");
        assert_eq!(within("close", qb.closed()).await.session_error(), Some((code, "so it is".into())));
        let (qa, qb) = a.connect(&b).await;
        qb.close(code, "so it is");
        assert_eq!(within("close", qa.closed()).await.session_error(), Some((code, "so it is".into())));
    }
}

#[tokio::test]
async fn a_relay_that_dies_is_told_to_the_peer() {
    let (a, mut b) = tokio::join!(Node::start(), Node::start());
    let (mut stream, _) = a.dial(json!({"v": 1, "dial": b.id, "addrs": b.addrs})).await;
    let (mut accepted, _) = within("accept", b.accept.as_ref().unwrap().accept()).await.unwrap();
    read_line(&mut accepted).await;
    let session = tokio::spawn(qmux::Session::accept(transport(accepted), qmux_config()));
    // The bytes of a QMux client that says who it is and dies: the length of the record, its one frame.
    let mut hello = vec![0x40, 9 + 9 + 8];
    hello.extend(0xff51_5330_0d0a_0d0au64.to_be_bytes()); // QX_TRANSPORT_PARAMETERS in eight bytes
    hello.push(17);
    hello.extend(0xfd4f_9c2a_8b1e_6075u64.to_be_bytes()); // the application protocols
    hello.extend([8, 7]);
    hello.extend(ALPNS[0].as_bytes());
    hello[1] = (hello.len() - 2) as u8;
    hello[10] = (hello.len() - 11) as u8;
    stream.write_all(&hello).await.unwrap();
    let session = within("a session", session).await.unwrap().unwrap();
    b.record("peer").await;
    drop(stream);
    assert_eq!(within("close", session.closed()).await.session_error(), Some((1, "the relay is gone".into())));
    assert_eq!(b.record("gone").await["reason"], "closed by the peer with code 1: the relay is gone");
}

#[tokio::test]
async fn it_ends_with_its_starter_and_tells_its_peers() {
    // The starter is a process that holds the other end of stdin, and is killed.
    let mut starter = Command::new("sleep").arg("1000").stdout(Stdio::piped()).spawn().unwrap();
    let stdin = Stdio::from(starter.stdout.take().unwrap());
    let (mut a, b) = tokio::join!(Node::start_with(stdin, true), Node::start());
    let (qa, qb) = a.connect(&b).await;
    let mut s = qb.open_uni().await.unwrap();
    s.write_all(b"x").await.unwrap();
    let _r = qa.accept_uni().await.unwrap();
    let begun = Instant::now();
    starter.kill().unwrap();
    starter.wait().unwrap();
    for q in [&qa, &qb] {
        assert_eq!(within("close", q.closed()).await.session_error(), Some((0, "ec-iroh ends".into())));
    }
    assert_eq!(a.ended().await.code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(!a.dir.join("dial.sock").exists());
}

#[tokio::test]
async fn signals_end_it_in_order() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let (mut a, _b, _qa, qb) = pair().await;
        a.signal(signal);
        assert_eq!(within("close", qb.closed()).await.session_error(), Some((0, "ec-iroh ends".into())));
        assert_eq!(a.ended().await.code(), Some(code));
    }
}

#[tokio::test]
async fn a_peer_that_is_killed_is_noticed_and_no_stream_is_reset_before() {
    let (mut a, mut b, qa, qb) = pair().await;
    let (mut s, mut r) = qa.open_bi().await.unwrap();
    s.write_all(b"x").await.unwrap();
    let (_s2, _r2) = within("a stream", qb.accept_bi()).await.unwrap();
    let begun = Instant::now();
    b.signal("KILL");
    assert_eq!(b.ended().await.signal(), Some(9));
    let e = within("the end of a stream", r.read_chunk(1)).await.unwrap_err();
    assert_eq!(e.stream_error(), None, "{e}");
    let words = "the peer is gone: nothing came from it";
    assert_eq!(within("close", qa.closed()).await.session_error(), Some((1, words.into())));
    assert!((3..9).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!(a.record("gone").await["reason"], "nothing came from the peer any more");
    // And the one that is left takes a new connection.
    let c = Node::start().await;
    a.connect(&c).await;
}

#[tokio::test]
async fn a_peer_that_does_not_answer_costs_no_more_than_the_time_given() {
    let a = Node::start().await;
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let b = Node::start().await; // for an id that is one
    for ms in [300, 1500] {
        let begun = Instant::now();
        let (_, answer) = a.dial(json!({"v": 1, "dial": b.id, "addrs": [silent.local_addr().unwrap().to_string()], "timeout_ms": ms})).await;
        let took = begun.elapsed().as_millis();
        assert_eq!(answer["code"], "unreachable", "{answer}");
        assert!((ms..ms + 1000).contains(&took), "{took} ms of {ms}");
    }
    // Nothing known of where it is: no time at all.
    let begun = Instant::now();
    let (_, answer) = a.dial(json!({"v": 1, "dial": "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1"})).await;
    assert_eq!(answer["code"], "unreachable", "{answer}");
    // A relay that this node was not told to use is none.
    let (_, answer) =
        a.dial(json!({"v": 1, "dial": "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1", "relay": "https://127.0.0.1:1"})).await;
    assert_eq!(answer["code"], "unreachable", "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_is_refused_is_refused_at_once() {
    let (mut a, b) = tokio::join!(Node::start(), Node::start_with(Stdio::piped(), false));
    // Without accept.sock nobody is let in.
    let (_, answer) = a.dial(json!({"v": 1, "dial": b.id, "addrs": b.addrs})).await;
    assert_eq!(answer, json!({"v": 1, "code": "refused", "error": "it refused the connection"}));
    let (_, answer) = a.dial(json!({"v": 1, "dial": a.id, "addrs": a.addrs})).await;
    assert_eq!(answer["code"], "itself", "{answer}");
    // Another key at the address is not who was meant.
    let c = Node::start().await;
    let (_, answer) = a.dial(json!({"v": 1, "dial": c.id, "addrs": b.addrs, "timeout_ms": 1000})).await;
    assert!(["refused", "unreachable"].contains(&answer["code"].as_str().unwrap()), "{answer}");
    // A relay that is there and hangs up.
    let c = Node::start().await; // of another id: iroh remembers where it looked for one
    let hangs_up = async { drop(c.accept.as_ref().unwrap().accept().await.unwrap()) };
    let dialled = async {
        let (stream, answer) = a.dial(json!({"v": 1, "dial": c.id, "addrs": c.addrs})).await;
        assert!(answer["conn"].is_u64(), "{answer}"); // the peer itself was there
        let session = qmux::Session::connect(transport(stream), qmux_config()).await.unwrap();
        session.closed().await.session_error()
    };
    let (_, closed) = within("close", async { tokio::join!(hangs_up, dialled) }).await;
    assert_eq!(closed, Some((1, "the relay does not take it".into())));
    a.record("gone").await;
}

#[tokio::test]
async fn garbage_on_dial_sock_is_answered_and_harms_nobody() {
    let (a, b, qa, qb) = pair().await;
    for (line, words) in [
        (b"\n".to_vec(), "this is no dial"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), "this is no dial"),
        (b"{\"v\":1,\"dial\":7}\n".to_vec(), "this is no dial"),
        (b"\xff\xfe\n".to_vec(), "the line is not UTF-8"),
        (vec![b'a'; 5000], "the line has more than 4,096 bytes"),
        ([vec![b'{'; 4000], b"\n".to_vec()].concat(), "this is no dial"),
    ] {
        let (mut stream, answer) = a.ask(&line).await;
        assert_eq!((&answer["v"], &answer["code"]), (&json!(1), &json!("bad-request")), "{answer}");
        assert!(answer["error"].as_str().unwrap().starts_with(words), "{answer}");
        // Nothing comes after it; bytes that were not read make the end a reset.
        assert!(matches!(within("the end", stream.read(&mut [0; 1])).await, Ok(0) | Err(_)));
    }
    drop(UnixStream::connect(a.dir.join("dial.sock")).await.unwrap()); // who says nothing
    // A dial after which no QMux comes is ended, and nobody else is.
    let (mut stream, answer) = a.dial(json!({"v": 1, "dial": b.id, "addrs": b.addrs})).await;
    assert!(answer["conn"].is_u64());
    stream.write_all(&[0xff; 64]).await.unwrap();
    let _ = within("the end", stream.read_to_end(&mut Vec::new())).await;
    let mut s = qa.open_uni().await.unwrap();
    s.write_all(b"still here").await.unwrap();
    s.finish().unwrap();
    assert_eq!(within("a stream", async { qb.accept_uni().await.unwrap().read_all().await }).await.unwrap(), "still here");
}

#[tokio::test]
async fn the_older_draft_is_spoken_where_only_that_is_wanted() {
    let (a, b) = tokio::join!(Node::start(), Node::start());
    let (_stream, answer) = a.dial(json!({"v": 1, "dial": b.id, "addrs": b.addrs, "alpns": ["moqt-16"]})).await;
    assert_eq!(answer["alpn"], "moqt-16", "{answer}");
    let (mut accepted, _) = within("accept", b.accept.as_ref().unwrap().accept()).await.unwrap();
    assert_eq!(read_line(&mut accepted).await["alpn"], "moqt-16");
}

#[tokio::test]
async fn what_is_wrong_at_the_start_is_said_in_one_sentence() {
    let dir = folder();
    for (args, code, words) in [
        (vec!["--dir".into(), "/nonexistent".into()], 74, "ec-iroh: error: the folder /nonexistent: No such file"),
        (vec!["--what".into()], 64, "ec-iroh: error: there is no flag or argument \"--what\"\nec-iroh: hint: ec-iroh --help"),
        (
            vec!["--dir".to_string(), dir.display().to_string(), "--key".into(), "/dev/null".into()],
            78,
            "ec-iroh: error: the key /dev/null may be read by others",
        ),
    ] {
        let out = Command::new(env!("CARGO_BIN_EXE_ec-iroh")).args(args).stdin(Stdio::piped()).output().unwrap();
        let err = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(code), "{err}");
        assert!(err.starts_with(words) && out.stdout.is_empty(), "{err}");
    }
    fs::remove_dir_all(&dir).unwrap();
}

/// Runs ec-iroh for four seconds in a network namespace with a default route, and tells how many packets left and what was recorded.
fn packets_sent(args: &[&str]) -> Option<(u64, String)> {
    let dir = folder();
    let script = r#"ip link add v0 type veth peer name v1 && ip addr add 192.0.2.1/24 dev v0 &&
        echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6 && ip link set lo up && ip link set v0 up && ip link set v1 up &&
        ip route add default via 192.0.2.2 || exit 9
        sleep 4 | "$@" >&2; ip -s -j link show v0"#;
    let out =
        Command::new("unshare").args(["-n", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_ec-iroh"), "--dir"]).arg(&dir).args(args).output().ok()?;
    fs::remove_dir_all(&dir).unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    if matches!(out.status.code(), Some(1 | 9 | 127)) {
        eprintln!("skipped: no network namespaces here: {said}");
        return None;
    }
    let links: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
    Some((links[0]["stats64"]["tx"]["packets"].as_u64().unwrap(), said))
}

#[test]
fn nothing_is_contacted_that_was_not_named() {
    let Some((quiet, said)) = packets_sent(&[]) else { return };
    assert!(said.contains(r#""event":"ready""#) && said.contains("192.0.2.1:"), "{said}");
    assert_eq!(quiet, 0, "{said}");
    // And packets are seen where there are some.
    let (mdns, said) = packets_sent(&["--mdns"]).unwrap();
    assert!(mdns > 0, "{said}");
    let (relay, said) = packets_sent(&["--relay", "https://192.0.2.2:3340"]).unwrap();
    assert!(relay > 0, "{said}");
}
