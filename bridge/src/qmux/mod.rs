//! QMux on a Unix socket (docs/format/qmux.md), as the bridge needs it: streams with credit of their own, none of which holds up
//! another one, and nothing copied that can be passed on.
//!
//! One task reads the socket, another one writes it; what both share, and the streams' owners, is State behind one lock that is
//! never held while anything waits.

mod state;
#[cfg(test)]
mod tests;
mod wire;

use std::{
    future::poll_fn,
    io,
    sync::{Arc, Mutex, MutexGuard},
    task::Poll,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

pub use state::MAX_ROOM;
use state::State;

/// How long the other side may take for its transport parameters.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long what is said last may take to leave, and the other side to end.
const LINGER: Duration = Duration::from_secs(1);
/// MoQ's code for a session that ends without one of its own.
const INTERNAL_ERROR: u32 = 0x1;
/// What is read from the socket at a time, at most.
const READ: usize = 256 << 10;

#[derive(Debug, Clone)]
pub struct Config {
    /// The application protocol, the only one offered.
    pub protocol: String,
    /// How many streams the other side may have open, of each direction.
    pub max_streams: u64,
    /// What may wait to be read in one stream. Credit for the connection is what all streams together may hold.
    pub stream_window: u64,
    /// The longest DATAGRAM frame that is taken.
    pub max_datagram_frame_size: u64,
}

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The other side's application closed it.
    Closed { code: u64, words: String },
    /// The socket ended, or one side broke the protocol.
    Broken(String),
    /// This side closed it.
    Left,
}

/// Why a stream does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamError {
    /// RESET_STREAM or STOP_SENDING of the other side, with its code.
    Code(u64),
    /// The session ended.
    Lost,
}

struct Shared {
    state: Mutex<State>,
    wake: Wake,
    ended: CancellationToken,
    /// What was to be said last has left.
    flushed: CancellationToken,
}

/// Who waits for what, but for the owners of streams.
#[derive(Default)]
struct Wake {
    writer: Notify,
    known: Notify,
    accept: [Notify; 2],
    open: Notify,
    datagram: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Does something to the state; whoever waits for what came of it is woken.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut s = self.lock();
        let was_ended = s.end.is_some();
        let out = change(&mut s);
        let (ended, woken) = (s.end.is_some() && !was_ended, std::mem::take(&mut s.woken));
        drop(s);
        if woken.writer || ended {
            self.wake.writer.notify_one();
        }
        for (notify, is) in self.wake.accept.iter().zip(woken.accept) {
            if is {
                notify.notify_one();
            }
        }
        if woken.open {
            self.wake.open.notify_waiters();
        }
        if woken.known {
            self.wake.known.notify_one();
        }
        if woken.datagram {
            self.wake.datagram.notify_one();
        }
        woken.streams.into_iter().for_each(|waker| waker.wake());
        if ended {
            self.ended.cancel();
        }
        out
    }
}

/// One connection. Dropping it closes it.
pub struct Session(Arc<Shared>);

impl Drop for Session {
    fn drop(&mut self) {
        self.close(INTERNAL_ERROR, "dropped");
    }
}

impl Session {
    /// Begins as client of whoever listens at the socket.
    pub async fn connect(socket: UnixStream, config: Config) -> Result<Self, String> {
        Self::start(socket, config, false).await
    }

    /// Serves a client.
    pub async fn accept(socket: UnixStream, config: Config) -> Result<Self, String> {
        Self::start(socket, config, true).await
    }

    async fn start(socket: UnixStream, config: Config, server: bool) -> Result<Self, String> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(config, server)),
            wake: Wake::default(),
            ended: CancellationToken::new(),
            flushed: CancellationToken::new(),
        });
        let (r, w) = socket.into_split();
        tokio::spawn(read_loop(shared.clone(), r));
        tokio::spawn(write_loop(shared.clone(), w));
        let session = Self(shared);
        let known = async {
            while !session.0.lock().known() {
                session.0.wake.known.notified().await;
            }
        };
        tokio::select! {
            biased; // one that was closed at once is a session too, with a code and words to be passed on
            known = timeout(HANDSHAKE, known) => match known {
                Ok(()) => Ok(session),
                Err(_) => {
                    session.0.change(|s| s.break_off(wire::broken(wire::PROTOCOL_VIOLATION, "no transport parameters in time")));
                    Err("it sent no transport parameters in time".into())
                }
            },
            end = session.closed() => Err(match end {
                End::Closed { code, words } => format!("it closed with code {code}: {words}"),
                End::Broken(words) => words,
                End::Left => "closed".into(),
            }),
        }
    }

    /// Waits for the end.
    pub async fn closed(&self) -> End {
        self.0.ended.cancelled().await;
        self.0.lock().end.clone().unwrap_or(End::Left)
    }

    /// Ends the session, and tells the other side why. What streams still had to say is not said.
    pub fn close(&self, code: u32, words: &str) {
        self.0.change(|s| s.close(code, words));
    }

    /// Waits until what was said last has left, a second at most.
    pub async fn flushed(&self) {
        let _ = timeout(LINGER, self.0.flushed.cancelled()).await;
    }

    /// Opens a stream that this side writes, as soon as the other side lets it.
    pub async fn open_uni(&self) -> Result<SendStream, StreamError> {
        let id = self.open(true).await?;
        Ok(SendStream { shared: self.0.clone(), id })
    }

    pub async fn open_bi(&self) -> Result<(SendStream, RecvStream), StreamError> {
        Ok(self.both(self.open(false).await?))
    }

    async fn open(&self, uni: bool) -> Result<u64, StreamError> {
        loop {
            let more = self.0.wake.open.notified();
            if let Some(id) = self.0.change(|s| s.open(uni))? {
                return Ok(id);
            }
            tokio::select! {
                () = more => {}
                () = self.0.ended.cancelled() => {}
            }
        }
    }

    /// The next stream that the other side writes.
    pub async fn accept_uni(&self) -> Result<RecvStream, StreamError> {
        let id = self.next(true).await?;
        Ok(RecvStream { shared: self.0.clone(), id })
    }

    pub async fn accept_bi(&self) -> Result<(SendStream, RecvStream), StreamError> {
        Ok(self.both(self.next(false).await?))
    }

    async fn next(&self, uni: bool) -> Result<u64, StreamError> {
        loop {
            if let Some(id) = self.0.lock().accept(uni)? {
                return Ok(id);
            }
            tokio::select! {
                () = self.0.wake.accept[usize::from(uni)].notified() => {}
                () = self.0.ended.cancelled() => {}
            }
        }
    }

    fn both(&self, id: u64) -> (SendStream, RecvStream) {
        (SendStream { shared: self.0.clone(), id }, RecvStream { shared: self.0.clone(), id })
    }

    /// Sends a datagram; one that the other side does not take, or for which there is no room, is lost.
    pub fn send_datagram(&self, datagram: Bytes) {
        self.0.change(|s| s.send_datagram(datagram));
    }

    pub async fn recv_datagram(&self) -> Result<Bytes, StreamError> {
        loop {
            if let Some(datagram) = self.0.lock().recv_datagram()? {
                return Ok(datagram);
            }
            tokio::select! {
                () = self.0.wake.datagram.notified() => {}
                () = self.0.ended.cancelled() => {}
            }
        }
    }
}

/// The half of a stream that this side writes. Dropping one that is not finished resets it.
pub struct SendStream {
    shared: Arc<Shared>,
    id: u64,
}

impl SendStream {
    /// Takes data, when there is room. Cancelled, nothing of it was taken.
    pub async fn write(&mut self, data: Bytes) -> Result<(), StreamError> {
        let mut data = Some(data);
        poll_fn(|cx| match self.shared.change(|s| s.write(self.id, &mut data, cx.waker())) {
            Ok(()) if data.is_some() => Poll::Pending,
            done => Poll::Ready(done),
        })
        .await
    }

    /// How much to bring at once: less where much waits in other streams.
    pub fn room(&self) -> usize {
        self.shared.lock().room()
    }

    /// Waits for STOP_SENDING, or the end of the session.
    pub async fn stopped(&mut self) -> StreamError {
        poll_fn(|cx| self.shared.lock().stopped(self.id, cx.waker())).await
    }

    /// Ends the stream. What was written before leaves when the other side lets it.
    pub fn finish(self) {
        self.shared.change(|s| s.finish(self.id));
    }

    /// Gives the stream up, and what has not left.
    pub fn reset(self, code: u32) {
        self.shared.change(|s| s.reset(self.id, code));
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        self.shared.change(|s| s.drop_send(self.id));
    }
}

/// The half of a stream that the other side writes. Dropping one that did not end stops it.
pub struct RecvStream {
    shared: Arc<Shared>,
    id: u64,
}

impl RecvStream {
    /// The next data, or None at the end.
    pub async fn read(&mut self) -> Result<Option<Bytes>, StreamError> {
        poll_fn(|cx| self.shared.change(|s| s.read(self.id, cx.waker()))).await
    }

    /// Waits for a reset, however much was not read yet; for ever if none can come.
    pub async fn was_reset(&mut self) -> u64 {
        poll_fn(|cx| self.shared.lock().was_reset(self.id, cx.waker())).await
    }

    /// Asks the other side to send no more.
    pub fn stop(self, code: u32) {
        self.shared.change(|s| s.stop(self.id, code));
    }
}

impl Drop for RecvStream {
    fn drop(&mut self) {
        self.shared.change(|s| s.stop(self.id, 0));
    }
}

async fn read_loop(shared: Arc<Shared>, mut socket: OwnedReadHalf) {
    let mut buf = BytesMut::new();
    let lost = |shared: &Shared, why: &str| shared.change(|s| s.lose(why));
    while !shared.ended.is_cancelled() {
        match wire::take_record(&mut buf) {
            Ok(Some(record)) => shared.change(|s| s.take(record)),
            Ok(None) => {
                if buf.capacity() - buf.len() < READ / 8 {
                    buf.reserve(READ);
                }
                tokio::select! {
                    n = socket.read_buf(&mut buf) => match n {
                        Ok(0) => lost(&shared, "the socket ended"),
                        Ok(_) => {}
                        Err(e) => lost(&shared, &e.to_string()),
                    },
                    () = shared.ended.cancelled() => {}
                }
            }
            Err(broken) => shared.change(|s| s.break_off(broken)),
        }
    }
    // What is under way is read without a look, so that it does not break the socket before the other side has read why.
    let drain = async {
        loop {
            buf.clear();
            buf.reserve(READ);
            if !socket.read_buf(&mut buf).await.is_ok_and(|n| n > 0) {
                return;
            }
        }
    };
    let _ = timeout(2 * LINGER, drain).await;
}

async fn write_loop(shared: Arc<Shared>, mut socket: OwnedWriteHalf) {
    let mut pieces = Vec::new();
    let late = async {
        shared.ended.cancelled().await;
        sleep(LINGER).await;
    };
    let write = async {
        loop {
            let over = shared.change(|s| s.batch(&mut pieces));
            if !pieces.is_empty() {
                if let Err(e) = write_all(&mut socket, &pieces).await {
                    shared.change(|s| s.lose(&e.to_string()));
                    return;
                }
                pieces.clear();
            } else if !over {
                shared.wake.writer.notified().await;
            }
            if over {
                let _ = socket.shutdown().await; // the other side may have gone
                return;
            }
        }
    };
    tokio::select! {
        () = write => {}
        () = late => {}
    }
    shared.flushed.cancel();
}

/// How many pieces are written at once; Linux takes 1,024.
const SLICES: usize = 64;

async fn write_all(socket: &mut OwnedWriteHalf, pieces: &[Bytes]) -> io::Result<()> {
    let mut at = 0; // piece
    let mut within = 0;
    while at < pieces.len() {
        let slices: Vec<_> =
            pieces[at..].iter().take(SLICES).enumerate().map(|(n, p)| io::IoSlice::new(if n == 0 { &p[within..] } else { p })).collect();
        let mut n = socket.write_vectored(&slices).await?;
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while at < pieces.len() && n >= pieces[at].len() - within {
            n -= pieces[at].len() - within;
            (at, within) = (at + 1, 0);
        }
        within += n;
    }
    Ok(())
}
