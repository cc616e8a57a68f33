//! One iroh connection and one QMux connection, joined: what one side does to a stream is done on the other.
//!
//! Data, FIN, resets, stop codes, datagrams and close codes pass as they are. Credit passes by itself: a stream is read on
//! one side only as fast as the other side takes it.

use std::{
    cell::RefCell,
    future::{pending, poll_fn},
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use iroh::endpoint::{Connection, ConnectionError, ReadError, RecvStream, SendDatagramError, SendStream, VarInt, WriteError};
use tokio::{task::JoinSet, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    endpoint::MAX_STREAMS,
    log,
    qmux::{self, End, StreamError},
};

/// How long a stream waits before it is watched for what may end the waiting. noq 1.4.0 keeps something of each stream that was watched
/// until the connection ends, if not the watched-for came: of one that is read what wakes its reader, of one that is written and then
/// reset a hundred bytes. So streams that flow are not watched, and who waits for a reset wakes by himself.
const WATCH: Duration = Duration::from_millis(100);

/// What may wait in one stream of the relay's. With 128 KiB a relay that sends one stream at a time stops for credit so often that both
/// cores of a machine are idle for a third of the time: 0.63 to 0.72 of QUIC's throughput, 0.76 to 0.80 with this, no more with 1 MiB.
const STREAM_WINDOW: u64 = 512 << 10;

/// Type and length of a DATAGRAM frame of less than 16 KiB (RFC 9221 §4).
const DATAGRAM_HEADER: u64 = 3;

/// How a session with the relay's socket is made.
pub fn qmux_config(conn: &Connection) -> qmux::Config {
    qmux::Config {
        protocol: String::from_utf8_lossy(conn.alpn()).into_owned(),
        max_streams: MAX_STREAMS.into(),
        stream_window: STREAM_WINDOW,
        // A datagram passes only if iroh's packets can hold it; what the path carries at the beginning it carries always.
        max_datagram_frame_size: conn.max_datagram_size().map_or(0, |payload| payload as u64 + DATAGRAM_HEADER),
    }
}

/// Codes of MoQ with which a side is closed when the other one ended without a code of its own.
const NO_ERROR: u32 = 0x0;
const INTERNAL_ERROR: u32 = 0x1;

/// Codes are of 62 bits; none of MoQ is larger than 32.
fn narrow(code: u64) -> u32 {
    code.try_into().unwrap_or(u32::MAX)
}

/// Joins both until one ends or stop is cancelled, closes the other one, and says why in words.
pub async fn run(conn: Connection, qmux: qmux::Session, stop: CancellationToken) -> String {
    let both = Arc::new(Both { conn, qmux });
    let (conn, qmux) = (&both.conn, &both.qmux);
    let tasks = TaskTracker::new();
    let abort = CancellationToken::new();
    let mut loops = JoinSet::new();
    let streams = Streams { both: both.clone(), tasks: tasks.clone(), abort: abort.clone() };
    loops.spawn(streams.clone().uni_from_iroh());
    loops.spawn(streams.clone().bi_from_iroh());
    loops.spawn(streams.clone().uni_from_relay());
    loops.spawn(streams.clone().bi_from_relay());
    loops.spawn(streams.clone().datagrams_from_iroh());
    loops.spawn(streams.clone().datagrams_from_relay());

    let reason = tokio::select! {
        e = conn.closed() => {
            let (code, words, reason) = iroh_end(&e);
            // Before any stream ends: a relay takes a control stream that is reset for a breach of protocol.
            qmux.close(code, &words);
            reason
        }
        e = qmux.closed() => {
            let (code, words, reason) = match e {
                End::Closed { code, words } => {
                    let reason = format!("closed by the relay with code {code}{}", colon(&words));
                    (narrow(code), words, reason)
                }
                End::Broken(why) => (INTERNAL_ERROR, "the relay is gone".into(), format!("the relay's connection ended: {why}")),
                End::Left => (INTERNAL_ERROR, "the relay is gone".into(), "the relay's connection ended".into()),
            };
            conn.close(VarInt::from_u32(code), words.as_bytes());
            reason
        }
        () = stop.cancelled() => {
            let words = "ec-iroh ends";
            qmux.close(NO_ERROR, words);
            conn.close(VarInt::from_u32(NO_ERROR), words.as_bytes());
            words.into()
        }
    };
    loops.shutdown().await;
    abort.cancel();
    tasks.close();
    tasks.wait().await;
    qmux.flushed().await;
    reason
}

fn colon(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(": {words}") }
}

/// What the relay is told when iroh's side ended: code, words, and the words for the record.
fn iroh_end(e: &ConnectionError) -> (u32, String, String) {
    match e {
        ConnectionError::ApplicationClosed(close) => {
            let (code, words) = (narrow(close.error_code.into_inner()), String::from_utf8_lossy(&close.reason).into_owned());
            let reason = format!("closed by the peer with code {code}{}", colon(&words));
            (code, words, reason)
        }
        ConnectionError::TimedOut => (INTERNAL_ERROR, "the peer is gone: nothing came from it".into(), "nothing came from the peer any more".into()),
        e => (INTERNAL_ERROR, format!("the connection to the peer broke: {e}"), format!("the connection broke: {e}")),
    }
}

struct Both {
    conn: Connection,
    qmux: qmux::Session,
}

/// Takes the streams of either side. A loop that cannot go on waits: the end of the connection is run's to deal with.
#[derive(Clone)]
struct Streams {
    both: Arc<Both>,
    tasks: TaskTracker,
    /// Lets streams go after both connections were closed; not before, because dropping one resets it.
    abort: CancellationToken,
}

impl Streams {
    fn spawn(&self, stream: impl Future<Output = ()> + Send + 'static) {
        let abort = self.abort.clone();
        self.tasks.spawn(async move { abort.run_until_cancelled(stream).await });
    }

    async fn uni_from_iroh(self) {
        while let Ok(recv) = self.both.conn.accept_uni().await {
            let Ok(send) = self.both.qmux.open_uni().await else { break };
            self.spawn(to_relay(recv, send));
        }
        pending::<()>().await
    }

    async fn bi_from_iroh(self) {
        while let Ok((send, recv)) = self.both.conn.accept_bi().await {
            before_data(&send);
            let Ok((qsend, qrecv)) = self.both.qmux.open_bi().await else { break };
            self.spawn(to_relay(recv, qsend));
            self.spawn(to_iroh(qrecv, send));
        }
        pending::<()>().await
    }

    async fn uni_from_relay(self) {
        let mut control = true; // the first one: later ones carry data
        while let Ok(recv) = self.both.qmux.accept_uni().await {
            let Ok(send) = self.both.conn.open_uni().await else { break };
            if std::mem::take(&mut control) {
                before_data(&send);
            }
            self.spawn(to_iroh(recv, send));
        }
        pending::<()>().await
    }

    async fn bi_from_relay(self) {
        while let Ok((qsend, qrecv)) = self.both.qmux.accept_bi().await {
            let Ok((send, recv)) = self.both.conn.open_bi().await else { break };
            before_data(&send);
            self.spawn(to_relay(recv, qsend));
            self.spawn(to_iroh(qrecv, send));
        }
        pending::<()>().await
    }

    async fn datagrams_from_iroh(self) {
        while let Ok(datagram) = self.both.conn.read_datagram().await {
            self.both.qmux.send_datagram(datagram);
        }
        pending::<()>().await
    }

    async fn datagrams_from_relay(self) {
        while let Ok(datagram) = self.both.qmux.recv_datagram().await {
            match self.both.conn.send_datagram(datagram) {
                Err(SendDatagramError::ConnectionLost(_)) => break,
                Err(e) => log::debug(format_args!("a datagram is lost: {e}")),
                Ok(()) => {}
            }
        }
        pending::<()>().await
    }
}

/// What MoQ says in requests and on its control stream does not wait behind objects.
fn before_data(send: &SendStream) {
    let _ = send.set_priority(1); // a stream that ended needs none
}

/// The next data of a stream, in one piece all that has arrived of it, room at most; None at its end. noq has it in as many pieces as there
/// were packets, and the relay's session would join them by copying them more than once.
async fn read(recv: &mut RecvStream, room: usize) -> Result<Option<Bytes>, ReadError> {
    thread_local! {
        static ARRIVED: RefCell<Box<[u8]>> = RefCell::new(vec![0; qmux::MAX_ROOM].into());
    }
    poll_fn(|cx| {
        ARRIVED.with_borrow_mut(|buf| {
            let n = ready!(recv.poll_read(cx, &mut buf[..room.min(qmux::MAX_ROOM)]))?;
            Poll::Ready(Ok((n > 0).then(|| Bytes::copy_from_slice(&buf[..n]))))
        })
    })
    .await
}

/// Copies a stream of the peer's to the relay.
async fn to_relay(mut recv: RecvStream, mut send: qmux::SendStream) {
    loop {
        let data = tokio::select! {
            data = read(&mut recv, send.room()) => data,
            stopped = send.stopped() => return stop_iroh(recv, send, stopped).await,
        };
        match data {
            Ok(Some(bytes)) => {
                // A reset passes although the relay takes no more data.
                let written = tokio::select! {
                    biased;
                    written = send.write(bytes) => Ok(written),
                    code = reset_by_iroh(&mut recv) => Err(code),
                };
                match written {
                    Ok(Ok(())) => {}
                    Ok(Err(e)) => return stop_iroh(recv, send, e).await,
                    Err(code) => return send.reset(code),
                }
            }
            Ok(None) => return send.finish(),
            Err(ReadError::Reset(code)) => return send.reset(narrow(code.into_inner())),
            Err(_) => return hold((recv, send)).await,
        }
    }
}

/// Waits for a reset; forever if none can come any more.
async fn reset_by_iroh(recv: &mut RecvStream) -> u32 {
    loop {
        sleep(WATCH).await;
        let now = pin!(recv.received_reset()).poll(&mut Context::from_waker(Waker::noop()));
        match now {
            Poll::Pending => {}
            Poll::Ready(Ok(Some(code))) => return narrow(code.into_inner()),
            Poll::Ready(_) => return pending().await,
        }
    }
}

/// Waits for STOP_SENDING, or the end of the connection.
async fn stopped_by_iroh(send: &SendStream) -> Option<u32> {
    sleep(WATCH).await; // a write notices it too
    send.stopped().await.ok().flatten().map(|code| narrow(code.into_inner()))
}

/// Passes the relay's STOP_SENDING on.
async fn stop_iroh(mut recv: RecvStream, send: qmux::SendStream, e: StreamError) {
    match e {
        StreamError::Code(code) => {
            let _ = recv.stop(VarInt::from_u32(narrow(code))); // what ended meanwhile needs no stop
        }
        StreamError::Lost => hold((recv, send)).await,
    }
}

/// Copies a stream of the relay's to the peer.
async fn to_iroh(mut recv: qmux::RecvStream, mut send: SendStream) {
    loop {
        let chunk = tokio::select! {
            biased;
            chunk = recv.read() => chunk,
            stopped = stopped_by_iroh(&send) => match stopped {
                Some(code) => return recv.stop(code),
                None => return hold((recv, send)).await,
            },
        };
        match chunk {
            Ok(Some(bytes)) => {
                // A reset passes although the peer takes no more data.
                let written = tokio::select! {
                    written = send.write_chunk(bytes) => Ok(written),
                    code = recv.was_reset() => Err(code),
                };
                match written {
                    Ok(Ok(())) => {}
                    Ok(Err(WriteError::Stopped(code))) => return recv.stop(narrow(code.into_inner())),
                    Ok(Err(_)) => return hold((recv, send)).await,
                    Err(code) => return reset_iroh(send, narrow(code)),
                }
            }
            Ok(None) => {
                let _ = send.finish(); // what ended meanwhile needs no FIN
                return;
            }
            Err(StreamError::Code(code)) => return reset_iroh(send, narrow(code)),
            Err(StreamError::Lost) => return hold((recv, send)).await,
        }
    }
}

fn reset_iroh(mut send: SendStream, code: u32) {
    let _ = send.reset(VarInt::from_u32(code)); // what ended meanwhile needs no reset
}

/// Keeps streams of a connection that ended, until run has closed the other one.
async fn hold<T>(streams: T) {
    pending::<()>().await;
    drop(streams);
}
