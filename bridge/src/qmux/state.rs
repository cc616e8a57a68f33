//! What a session knows: its streams, their credit, and what is to be sent.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    task::{Poll, Waker},
};

use bytes::{Bytes, BytesMut};

use super::{
    Config, End, StreamError,
    wire::{self, Broken, Frame, Parameters, broken},
};

/// What may wait in a stream for the other side's credit, or for the socket.
const SEND_BUFFER: usize = 128 << 10;
/// What a stream that has nothing waiting may take at once, at most.
pub const MAX_ROOM: usize = SEND_BUFFER / 2;
/// What leaves in one go, at most; then what is more urgent has its turn.
const BATCH: usize = 256 << 10;
/// A piece of a stream that is smaller than this is copied to those before it: it would keep all that arrived with it, and an entry
/// of its own. From the socket 256 KiB arrive together, over iroh a few packets.
const COPIED_IN: usize = 32 << 10;
const COPIED_OUT: usize = 4 << 10;
/// What a stream that is new may hold, and what each may hold at any time, of each direction.
pub const FIRST_WINDOW: u64 = 16 << 10;
/// What the streams of a connection may hold beyond that in all, of each direction.
const SHARED: u64 = 16 << 20;
/// Control frames that wait. Whoever lets more come together asks for answers and does not read them.
const CONTROL: usize = 64 << 10;
/// What a DATAGRAM frame adds to its data at most.
const DATAGRAM_HEADER: usize = 1 + 4;
/// Datagrams that wait, of each direction; of more, the oldest are lost.
const DATAGRAMS: usize = 128;

pub struct State {
    config: Config,
    server: bool,
    peer: Option<Parameters>,
    pub end: Option<End>,
    last_words: Option<Bytes>,

    streams: HashMap<u64, Stream>,
    own: [Own; 2],
    theirs: [Theirs; 2],
    opened: u64,
    /// Streams with something to send for which there is credit, in the order in which they go.
    ready: BTreeSet<Turn>,
    control: VecDeque<Bytes>,
    /// The last QX_PING that was not answered yet.
    pinged: Option<u64>,
    outgoing: VecDeque<Bytes>,
    incoming: VecDeque<Bytes>,

    sent: u64,
    send_max: u64,
    received: u64,
    recv_max: u64,
    consumed: u64,
    /// What waits in all streams to be sent.
    queued: u64,
    /// What windows have of SHARED.
    shared: u64,

    pub woken: Woken,
}

#[cfg(test)]
#[derive(Debug, PartialEq, Eq)]
pub struct Held {
    pub streams: usize,
    pub ready: usize,
    pub control: usize,
    pub pieces: usize,
    pub send_credit: u64,
    pub unread: u64,
    pub queued: u64,
    pub shared: u64,
}

/// Who is to be woken when the lock is free.
#[derive(Default)]
pub struct Woken {
    pub writer: bool,
    pub known: bool,
    pub accept: [bool; 2],
    pub open: bool,
    pub datagram: bool,
    pub streams: Vec<Waker>,
}

/// Streams of this side, of one direction.
#[derive(Default)]
struct Own {
    next: u64,
    limit: u64,
}

/// Streams of the other side, of one direction.
#[derive(Default)]
struct Theirs {
    next: u64,
    granted: u64,
    over: u64,
    queue: VecDeque<u64>,
}

/// Control before data, then the older stream first.
type Turn = (bool, u64, u64);

/// A half that is None is over, or was never there.
struct Stream {
    turn: Turn,
    send: Option<Sending>,
    recv: Option<Receiving>,
}

#[derive(Default)]
struct Sending {
    queue: Pieces,
    queued: usize,
    offset: u64,
    max: u64,
    finished: bool,
    /// FIN or RESET_STREAM has left, or is about to.
    over: bool,
    /// The code of the other side's STOP_SENDING.
    stopped: Option<u64>,
    /// The owner is gone.
    alone: bool,
    writer: Option<Waker>,
    watcher: Option<Waker>,
}

#[derive(Default)]
struct Receiving {
    queue: Pieces,
    received: u64,
    max: u64,
    read: u64,
    window: u64,
    fin: bool,
    reset: Option<u64>,
    /// Nobody reads: what comes is dropped.
    stopped: bool,
    reader: Option<Waker>,
    watcher: Option<Waker>,
}

/// Data that waits.
#[derive(Default)]
struct Pieces {
    whole: VecDeque<Bytes>,
    /// Small ones at the end, joined.
    small: BytesMut,
}

impl Pieces {
    fn push(&mut self, data: Bytes, copied: usize) {
        if data.len() < copied {
            self.small.extend_from_slice(&data);
        }
        if self.small.len() >= copied || data.len() >= copied {
            self.join();
        }
        if data.len() >= copied {
            self.whole.push_back(data);
        }
    }

    fn join(&mut self) {
        if !self.small.is_empty() {
            self.whole.push_back(std::mem::take(&mut self.small).freeze());
        }
    }

    fn pop(&mut self) -> Option<Bytes> {
        if self.whole.is_empty() {
            self.join();
        }
        self.whole.pop_front()
    }

    /// The first n bytes, in pieces, of which there are as many.
    fn take(&mut self, mut n: usize, to: &mut Vec<Bytes>) {
        while n > 0 {
            let Some(mut first) = self.pop() else { return };
            if first.len() > n {
                self.whole.push_front(first.split_off(n));
            }
            n -= first.len();
            to.push(first);
        }
    }

    /// Drops all, and says how much there was.
    fn clear(&mut self) -> u64 {
        let Self { whole, small } = std::mem::take(self);
        (whole.iter().map(Bytes::len).sum::<usize>() + small.len()) as u64
    }

    #[cfg(test)]
    fn count(&self) -> usize {
        self.whole.len() + usize::from(!self.small.is_empty())
    }
}

impl Receiving {
    fn ended(&self) -> bool {
        self.fin || self.reset.is_some()
    }
}

fn is_uni(id: u64) -> bool {
    id & 2 != 0
}

impl State {
    pub fn new(config: Config, server: bool) -> Self {
        let window = FIRST_WINDOW.min(config.stream_window);
        let all = Self::all(&config);
        let parameters = Parameters {
            max_data: all,
            max_stream_data_local: window,
            max_stream_data_remote: window,
            max_stream_data_uni: window,
            max_streams_bidi: config.max_streams,
            max_streams_uni: config.max_streams,
            max_datagram_frame_size: config.max_datagram_frame_size,
            max_record_size: wire::MAX_RECORD as u64,
            protocols: vec![config.protocol.clone()],
        };
        let theirs = || Theirs { granted: config.max_streams, ..Theirs::default() };
        Self {
            server,
            peer: None,
            end: None,
            last_words: None,
            streams: HashMap::new(),
            own: Default::default(),
            theirs: [theirs(), theirs()],
            opened: 0,
            ready: BTreeSet::new(),
            control: [parameters.frame()].into(),
            pinged: None,
            outgoing: VecDeque::new(),
            incoming: VecDeque::new(),
            sent: 0,
            send_max: 0,
            received: 0,
            recv_max: all,
            consumed: 0,
            queued: 0,
            shared: 0,
            woken: Woken { writer: true, ..Woken::default() },
            config,
        }
    }

    /// What all streams together may hold: those of either side, so that none that nobody reads holds up another one.
    fn all(config: &Config) -> u64 {
        3 * config.max_streams * FIRST_WINDOW + SHARED
    }

    pub fn known(&self) -> bool {
        self.peer.is_some()
    }

    /// Streams, frames that wait, pieces that wait, and the credit that each side has left for the connection.
    #[cfg(test)]
    pub fn held(&self) -> Held {
        let sent = self.streams.values().flat_map(|s| &s.send).map(|s| s.queue.count());
        let got = self.streams.values().flat_map(|s| &s.recv).map(|r| r.queue.count());
        Held {
            streams: self.streams.len(),
            ready: self.ready.len(),
            control: self.control.len(),
            pieces: sent.chain(got).sum(),
            send_credit: self.send_max - self.sent,
            unread: self.received - self.consumed,
            queued: self.queued,
            shared: self.shared,
        }
    }

    fn say(&mut self, frame: Bytes) {
        self.control.push_back(frame);
        self.woken.writer = true;
    }

    // The end.

    pub fn close(&mut self, code: u32, words: &str) {
        self.finally(End::Left, Some(wire::close(true, code.into(), words)));
    }

    pub fn break_off(&mut self, b: Broken) {
        self.finally(End::Broken(b.words.clone()), Some(wire::close(false, b.code, &b.words)));
    }

    pub fn lose(&mut self, why: &str) {
        self.finally(End::Broken(why.into()), None);
    }

    fn finally(&mut self, end: End, last_words: Option<Bytes>) {
        if self.end.is_some() {
            return;
        }
        (self.end, self.last_words) = (Some(end), last_words);
        self.ready.clear();
        self.woken.writer = true;
        for stream in self.streams.values_mut() {
            let send = stream.send.iter_mut().flat_map(|s| [s.writer.take(), s.watcher.take()]);
            let recv = stream.recv.iter_mut().flat_map(|r| [r.reader.take(), r.watcher.take()]);
            self.woken.streams.extend(send.chain(recv).flatten());
        }
        self.streams.clear();
    }

    fn alive(&self) -> Result<(), StreamError> {
        match self.end {
            None => Ok(()),
            Some(_) => Err(StreamError::Lost),
        }
    }

    // Streams begin.

    fn insert(&mut self, id: u64, send_max: u64) -> &mut Stream {
        let mine = (id & 1 == 1) == self.server;
        let control = !is_uni(id) || mine && id >> 2 == 0; // requests, and what this side opened first: MoQ's control stream
        let turn = (!control, self.opened, id);
        self.opened += 1;
        let window = FIRST_WINDOW.min(self.config.stream_window);
        let send = (mine || !is_uni(id)).then(|| Sending { max: send_max, ..Sending::default() });
        let recv = (!mine || !is_uni(id)).then(|| Receiving { max: window, window, ..Receiving::default() });
        self.streams.entry(id).or_insert(Stream { turn, send, recv })
    }

    /// Opens a stream; None if the other side does not let it yet.
    pub fn open(&mut self, uni: bool) -> Result<Option<u64>, StreamError> {
        self.alive()?;
        let Some(peer) = &self.peer else { return Ok(None) };
        let max = if uni { peer.max_stream_data_uni } else { peer.max_stream_data_remote };
        let own = &mut self.own[usize::from(uni)];
        if own.next >= own.limit {
            return Ok(None);
        }
        let id = own.next << 2 | u64::from(uni) << 1 | u64::from(self.server);
        own.next += 1;
        self.insert(id, max);
        Ok(Some(id))
    }

    pub fn accept(&mut self, uni: bool) -> Result<Option<u64>, StreamError> {
        self.alive()?;
        Ok(self.theirs[usize::from(uni)].queue.pop_front())
    }

    /// The stream of a frame; those of the other side up to it begin with it. None: it is over. sent says that the frame speaks of what
    /// this side sends.
    fn find(&mut self, id: u64, sent: bool) -> Result<Option<&mut Stream>, Broken> {
        let (uni, index, mine) = (is_uni(id), id >> 2, (id & 1 == 1) == self.server);
        if uni && mine != sent {
            return Err(broken(wire::STREAM_STATE_ERROR, format!("stream {id} goes the other way")));
        }
        let d = usize::from(uni);
        if mine && index >= self.own[d].next {
            return Err(broken(wire::STREAM_STATE_ERROR, format!("stream {id} was not opened")));
        }
        if !mine && index >= self.theirs[d].granted {
            return Err(broken(wire::STREAM_LIMIT_ERROR, format!("stream {id}")));
        }
        let max = self.peer.as_ref().map_or(0, |p| p.max_stream_data_local);
        while !mine && self.theirs[d].next <= index {
            let next = self.theirs[d].next << 2 | id & 3;
            self.theirs[d].next += 1;
            self.theirs[d].queue.push_back(next);
            self.woken.accept[d] = true;
            self.insert(next, max);
        }
        Ok(self.streams.get_mut(&id))
    }

    /// Forgets what of a stream is over.
    fn retire(&mut self, id: u64) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if stream.send.as_ref().is_some_and(|s| s.over && s.alone) {
            stream.send = None;
        }
        if let Some(recv) = stream.recv.take_if(|r| r.ended() && r.stopped) {
            self.shared -= recv.window.saturating_sub(FIRST_WINDOW);
        }
        if stream.send.is_some() || stream.recv.is_some() {
            return;
        }
        self.streams.remove(&id);
        if (id & 1 == 1) == self.server {
            return;
        }
        let (uni, max) = (is_uni(id), self.config.max_streams);
        let theirs = &mut self.theirs[usize::from(uni)];
        theirs.over += 1;
        if theirs.over + max - theirs.granted >= max.div_ceil(8) {
            theirs.granted = theirs.over + max;
            let granted = theirs.granted;
            self.say(wire::max_streams(uni, granted));
        }
    }

    // What this side sends.

    fn send(&mut self, id: u64) -> Result<(&mut Sending, Turn), StreamError> {
        self.alive()?;
        let stream = self.streams.get_mut(&id).ok_or(StreamError::Lost)?;
        let turn = stream.turn;
        stream.send.as_mut().map(|s| (s, turn)).ok_or(StreamError::Lost)
    }

    /// Takes data if there is room for it.
    pub fn write(&mut self, id: u64, data: &mut Option<Bytes>, waker: &Waker) -> Result<(), StreamError> {
        let all = self.queued;
        let (send, turn) = self.send(id)?;
        if let Some(code) = send.stopped {
            return Err(StreamError::Code(code));
        }
        let n = data.as_ref().map_or(0, Bytes::len);
        if send.queued > 0 && (send.queued + n > SEND_BUFFER || all + n as u64 > SHARED) {
            send.writer = Some(waker.clone());
            return Ok(());
        }
        send.queued += n;
        if let Some(data) = data.take() {
            send.queue.push(data, COPIED_OUT);
        }
        let credit = send.offset < send.max;
        self.queued += n as u64;
        if n > 0 && credit {
            self.ready.insert(turn);
            self.woken.writer = true;
        }
        Ok(())
    }

    /// How much a stream that has nothing waiting may take at once.
    pub fn room(&self) -> usize {
        if self.queued < SHARED { MAX_ROOM } else { FIRST_WINDOW as usize }
    }

    pub fn stopped(&mut self, id: u64, waker: &Waker) -> Poll<StreamError> {
        match self.send(id) {
            Err(e) => Poll::Ready(e),
            Ok((Sending { stopped: Some(code), .. }, _)) => Poll::Ready(StreamError::Code(*code)),
            Ok((send, _)) => {
                send.watcher = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    pub fn finish(&mut self, id: u64) {
        let Ok((send, turn)) = self.send(id) else { return };
        if !send.over {
            send.finished = true;
            if send.queued == 0 || send.offset < send.max {
                self.ready.insert(turn);
                self.woken.writer = true;
            }
        }
    }

    pub fn reset(&mut self, id: u64, code: u32) {
        let Ok((send, turn)) = self.send(id) else { return };
        if send.over || send.finished {
            return;
        }
        send.over = true;
        (send.queued, send.finished) = (0, false);
        let (dropped, offset) = (send.queue.clear(), send.offset);
        self.queued -= dropped;
        self.ready.remove(&turn);
        self.say(wire::reset_stream(id, code, offset));
    }

    /// The owner is gone: what was not finished is reset.
    pub fn drop_send(&mut self, id: u64) {
        let Ok((send, _)) = self.send(id) else { return };
        send.alone = true;
        self.reset(id, 0);
        self.retire(id);
    }

    /// STOP_SENDING is answered with RESET_STREAM (RFC 9000 §3.5).
    fn stop_sending(&mut self, id: u64, code: u64) -> Result<(), Broken> {
        let Some(Stream { turn, send: Some(send), .. }) = self.find(id, true)? else { return Ok(()) };
        if send.over {
            return Ok(());
        }
        send.stopped = Some(code);
        send.over = true;
        send.queued = 0;
        let (turn, offset, dropped) = (*turn, send.offset, send.queue.clear());
        let wakers = [send.writer.take(), send.watcher.take()];
        self.queued -= dropped;
        self.woken.streams.extend(wakers.into_iter().flatten());
        self.ready.remove(&turn);
        self.say(wire::reset_stream(id, u32::try_from(code).unwrap_or(u32::MAX), offset));
        self.retire(id);
        Ok(())
    }

    fn max_stream_data(&mut self, id: u64, max: u64) -> Result<(), Broken> {
        let Some(Stream { turn, send: Some(send), .. }) = self.find(id, true)? else { return Ok(()) };
        if max > send.max {
            send.max = max;
            let turn = *turn;
            if send.queued > 0 {
                self.ready.insert(turn);
                self.woken.writer = true;
            }
        }
        Ok(())
    }

    pub fn send_datagram(&mut self, datagram: Bytes) {
        let Some(peer) = self.peer.as_ref().filter(|_| self.end.is_none()) else { return };
        let most = peer.max_datagram_frame_size.min(peer.max_record_size).min(wire::MAX_RECORD as u64);
        if (datagram.len() + DATAGRAM_HEADER) as u64 > most {
            return;
        }
        if self.outgoing.len() == DATAGRAMS {
            self.outgoing.pop_front();
        }
        self.outgoing.push_back(datagram);
        self.woken.writer = true;
    }

    /// Puts together what leaves next, and tells whether that is the last there will be.
    pub fn batch(&mut self, pieces: &mut Vec<Bytes>) -> bool {
        if self.end.is_some() {
            if let Some(words) = self.last_words.take() {
                let mut out = Vec::new();
                // Before them the other side must know the parameters.
                out.extend(self.peer.is_none().then(|| self.control.pop_front()).flatten());
                out.push(words);
                seal(pieces, out);
            }
            return true;
        }
        let mut n = 0;
        while n < BATCH {
            let mut frames = Vec::new();
            let size = self.fill(&mut frames);
            if size == 0 {
                break;
            }
            n += size;
            seal(pieces, frames);
        }
        false
    }

    /// The frames of one record: control, datagrams, streams in their turn. Returns their size.
    fn fill(&mut self, frames: &mut Vec<Bytes>) -> usize {
        let most = self.peer.as_ref().map_or(u64::MAX, |p| p.max_record_size).min(wire::MAX_RECORD as u64) as usize;
        let mut size = 0;
        while let Some(frame) = take_front(&mut self.control, most - size) {
            size += frame.len();
            frames.push(frame);
        }
        if let Some(pong) = self.pinged.map(wire::pong).filter(|pong| pong.len() <= most - size) {
            size += pong.len();
            frames.push(pong);
            self.pinged = None;
        }
        while let Some(datagram) = take_front(&mut self.outgoing, most.saturating_sub(size + DATAGRAM_HEADER)) {
            let mut head = BytesMut::with_capacity(DATAGRAM_HEADER);
            wire::put_datagram_header(&mut head, datagram.len());
            size += head.len() + datagram.len();
            frames.extend([head.freeze(), datagram]);
        }
        while size + wire::STREAM_HEADER < most {
            let Some(turn) = self.ready.first().copied() else { break };
            let Some(Stream { send: Some(send), .. }) = self.streams.get_mut(&turn.2) else {
                self.ready.remove(&turn);
                continue;
            };
            let room = most - size - wire::STREAM_HEADER;
            let credit = (send.max - send.offset).min(self.send_max - self.sent);
            let n = send.queued.min(room).min(usize::try_from(credit).unwrap_or(usize::MAX));
            let fin = send.finished && n == send.queued;
            if n == 0 && !fin {
                if self.send_max > self.sent {
                    self.ready.remove(&turn); // until there is credit for the stream
                    continue;
                }
                break; // until there is credit for the connection
            }
            let mut head = BytesMut::with_capacity(wire::STREAM_HEADER);
            wire::put_stream_header(&mut head, turn.2, send.offset, n, fin);
            size += head.len() + n;
            frames.push(head.freeze());
            send.queue.take(n, frames);
            send.queued -= n;
            send.offset += n as u64;
            self.sent += n as u64;
            self.queued -= n as u64;
            self.woken.streams.extend(send.writer.take_if(|_| n > 0));
            if fin {
                send.over = true;
            }
            if send.queued == 0 {
                self.ready.remove(&turn);
            }
            if fin {
                self.retire(turn.2);
            }
        }
        size
    }

    // What the other side sends.

    fn recv(&mut self, id: u64) -> Result<&mut Receiving, StreamError> {
        self.alive()?;
        self.streams.get_mut(&id).and_then(|s| s.recv.as_mut()).ok_or(StreamError::Lost)
    }

    pub fn read(&mut self, id: u64, waker: &Waker) -> Poll<Result<Option<Bytes>, StreamError>> {
        let recv = match self.recv(id) {
            Ok(recv) => recv,
            Err(e) => return Poll::Ready(Err(e)),
        };
        let Some(data) = recv.queue.pop() else {
            return match recv.reset {
                Some(code) => Poll::Ready(Err(StreamError::Code(code))),
                None if recv.fin => Poll::Ready(Ok(None)),
                None => {
                    recv.reader = Some(waker.clone());
                    Poll::Pending
                }
            };
        };
        recv.read += data.len() as u64;
        if recv.read + recv.window - recv.max >= recv.window / 2 {
            self.allow(id);
        }
        self.consume(data.len() as u64);
        Poll::Ready(Ok(Some(data)))
    }

    /// Gives the other side credit for a window after what was read; the window becomes wider, by half of what is left at most.
    fn allow(&mut self, id: u64) {
        let (most, left) = (self.config.stream_window, SHARED.saturating_sub(self.shared));
        let Ok(recv) = self.recv(id) else { return };
        if recv.ended() || recv.stopped {
            return;
        }
        let more = most.saturating_sub(recv.window).min(left / 2) / FIRST_WINDOW * FIRST_WINDOW;
        recv.window += more;
        let grown = recv.read + recv.window;
        let grows = grown > recv.max;
        recv.max = grown.max(recv.max);
        self.shared += more;
        if grows {
            self.say(wire::max_stream_data(id, grown));
        }
    }

    /// Takes back of the window of a stream that ended what it does not hold.
    fn narrow(&mut self, id: u64) {
        let Ok(recv) = self.recv(id) else { return };
        let holds = (recv.received - recv.read).max(FIRST_WINDOW);
        let back = recv.window.saturating_sub(holds);
        recv.window -= back;
        self.shared -= back;
    }

    /// Gives credit for the connection back.
    fn consume(&mut self, n: u64) {
        self.consumed += n;
        let all = Self::all(&self.config);
        if self.consumed + all - self.recv_max >= all / 4 {
            self.recv_max = self.consumed + all;
            self.say(wire::max_data(self.recv_max));
        }
    }

    pub fn was_reset(&mut self, id: u64, waker: &Waker) -> Poll<u64> {
        let Ok(recv) = self.recv(id) else { return Poll::Pending };
        match recv.reset {
            Some(code) => Poll::Ready(code),
            None => {
                recv.watcher = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    /// Nobody reads any more; the other side is told if it still sends.
    pub fn stop(&mut self, id: u64, code: u32) {
        let Ok(recv) = self.recv(id) else { return };
        if recv.stopped {
            return;
        }
        recv.stopped = true;
        let (ended, dropped) = (recv.ended(), recv.queue.clear());
        if !ended {
            self.say(wire::stop_sending(id, code));
        }
        self.consume(dropped);
        self.retire(id);
    }

    pub fn recv_datagram(&mut self) -> Result<Option<Bytes>, StreamError> {
        self.alive()?;
        Ok(self.incoming.pop_front())
    }

    /// Takes a record.
    pub fn take(&mut self, record: Bytes) {
        if let Err(broken) = self.frames(record) {
            self.break_off(broken);
        }
    }

    fn frames(&mut self, mut record: Bytes) -> Result<(), Broken> {
        while !record.is_empty() && self.end.is_none() {
            let frame = wire::take_frame(&mut record)?;
            if frame == Frame::Padding {
                continue;
            }
            if matches!(frame, Frame::Parameters(_)) == self.peer.is_some() {
                return Err(broken(wire::PROTOCOL_VIOLATION, "transport parameters are the first frame, and only that"));
            }
            self.frame(frame)?;
        }
        if self.control.len() > CONTROL {
            return Err(broken(wire::PROTOCOL_VIOLATION, "it asks for more answers than it reads"));
        }
        Ok(())
    }

    fn frame(&mut self, frame: Frame) -> Result<(), Broken> {
        match frame {
            Frame::Padding | Frame::Blocked | Frame::Pong(_) => {}
            Frame::Parameters(b) => self.learn(Parameters::parse(b)?)?,
            Frame::Stream { id, offset, data, fin } => self.stream(id, offset, data, fin)?,
            Frame::ResetStream { id, code, size } => self.reset_stream(id, code, size)?,
            Frame::StopSending { id, code } => self.stop_sending(id, code)?,
            Frame::MaxStreamData { id, max } => self.max_stream_data(id, max)?,
            Frame::MaxData(max) => {
                self.woken.writer |= max > self.send_max;
                self.send_max = self.send_max.max(max);
            }
            Frame::MaxStreams { uni, max } => {
                let limit = &mut self.own[usize::from(uni)].limit;
                *limit = max.max(*limit);
                self.woken.open = true;
            }
            Frame::Close { by_application: true, code, words } => {
                self.finally(End::Closed { code, words: String::from_utf8_lossy(&words).into_owned() }, None);
            }
            Frame::Close { code, words, .. } => {
                let words = String::from_utf8_lossy(&words);
                self.finally(End::Broken(format!("the other side found a breach of protocol, code {code:#x}: {words}")), None);
            }
            Frame::Datagram(datagram) => {
                if self.incoming.len() == DATAGRAMS {
                    self.incoming.pop_front();
                }
                self.incoming.push_back(Bytes::copy_from_slice(&datagram));
                self.woken.datagram = true;
            }
            Frame::Ping(sequence) => {
                self.pinged = Some(sequence); // to answer the last one is enough
                self.woken.writer = true;
            }
        }
        Ok(())
    }

    fn learn(&mut self, peer: Parameters) -> Result<(), Broken> {
        if !peer.protocols.contains(&self.config.protocol) {
            return Err(broken(wire::NO_APPLICATION_PROTOCOL, "no application protocol in common"));
        }
        self.send_max = peer.max_data;
        self.own[0].limit = peer.max_streams_bidi;
        self.own[1].limit = peer.max_streams_uni;
        self.peer = Some(peer);
        (self.woken.known, self.woken.open) = (true, true);
        Ok(())
    }

    /// Counts what arrived in a stream up to an end, and whether there was credit for it.
    fn arrived(&mut self, id: u64, end: u64) -> Result<u64, Broken> {
        let (received, left) = (self.received, self.recv_max);
        let Ok(recv) = self.recv(id) else { return Ok(0) };
        let n = end - recv.received;
        if end > recv.max || received + n > left {
            return Err(broken(wire::FLOW_CONTROL_ERROR, format!("stream {id}: more than its credit")));
        }
        recv.received = end;
        self.received += n;
        Ok(n)
    }

    fn stream(&mut self, id: u64, offset: Option<u64>, data: Bytes, fin: bool) -> Result<(), Broken> {
        let beyond = || broken(wire::FINAL_SIZE_ERROR, format!("stream {id} goes on after its end"));
        let Some(Stream { recv: Some(recv), .. }) = self.find(id, false)? else { return if data.is_empty() { Ok(()) } else { Err(beyond()) } };
        if recv.ended() {
            return if data.is_empty() { Ok(()) } else { Err(beyond()) };
        }
        if offset.is_some_and(|o| o != recv.received) {
            return Err(broken(wire::PROTOCOL_VIOLATION, format!("stream {id}: an offset that is not where it was")));
        }
        let end = recv.received + data.len() as u64;
        self.arrived(id, end)?;
        let Ok(recv) = self.recv(id) else { return Ok(()) };
        let first = recv.received == data.len() as u64 && !data.is_empty();
        recv.fin = fin;
        let dropped = if recv.stopped { data.len() as u64 } else { 0 };
        if !recv.stopped {
            recv.queue.push(data, COPIED_IN);
        }
        let reader = recv.reader.take();
        self.woken.streams.extend(reader);
        match (fin, first) {
            (true, _) => self.narrow(id),
            (false, true) => self.allow(id),
            _ => {}
        }
        self.consume(dropped);
        self.retire(id);
        Ok(())
    }

    fn reset_stream(&mut self, id: u64, code: u64, size: u64) -> Result<(), Broken> {
        let Some(Stream { recv: Some(recv), .. }) = self.find(id, false)? else { return Ok(()) };
        if recv.ended() {
            return Ok(());
        }
        let end = size.max(recv.received);
        let unsent = self.arrived(id, end)?;
        let Ok(recv) = self.recv(id) else { return Ok(()) };
        recv.reset = Some(code);
        let wakers = [recv.reader.take(), recv.watcher.take()];
        self.woken.streams.extend(wakers.into_iter().flatten());
        self.narrow(id);
        self.consume(unsent);
        self.retire(id);
        Ok(())
    }
}

fn take_front(queue: &mut VecDeque<Bytes>, room: usize) -> Option<Bytes> {
    queue.front().filter(|b| b.len() <= room)?;
    queue.pop_front()
}

/// Puts the length before the frames of a record.
fn seal(pieces: &mut Vec<Bytes>, frames: Vec<Bytes>) {
    let mut head = BytesMut::with_capacity(4);
    wire::put_varint(&mut head, frames.iter().map(|f| f.len() as u64).sum());
    pieces.push(head.freeze());
    pieces.extend(frames);
}
