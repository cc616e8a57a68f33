use std::{
    sync::Arc,
    task::{Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use super::{
    Config, End, Session, StreamError,
    state::{FIRST_WINDOW, State},
    wire::{self, Frame, Parameters},
};

fn config() -> Config {
    Config { protocol: "moqt-18".into(), max_streams: 64, stream_window: 64 << 10, max_datagram_frame_size: 1200 }
}

async fn pair() -> (Session, Session) {
    let (a, b) = UnixStream::pair().unwrap();
    let (a, b) = tokio::join!(Session::connect(a, config()), Session::accept(b, config()));
    (a.unwrap(), b.unwrap())
}

/// The frames of what a side puts into its next records.
fn frames(s: &mut State) -> Vec<Frame> {
    let mut pieces = Vec::new();
    s.batch(&mut pieces);
    let mut sent = BytesMut::new();
    pieces.iter().for_each(|p| sent.extend_from_slice(p));
    let mut list = Vec::new();
    while let Some(mut record) = wire::take_record(&mut sent).unwrap() {
        while !record.is_empty() {
            list.push(wire::take_frame(&mut record).unwrap());
        }
    }
    list
}

fn generous() -> Bytes {
    let max = 1 << 30;
    Parameters {
        max_data: max,
        max_stream_data_local: max,
        max_stream_data_remote: max,
        max_stream_data_uni: max,
        max_streams_bidi: 9,
        max_streams_uni: 9,
        max_datagram_frame_size: 1200,
        max_record_size: 66_560,
        protocols: vec!["moqt-18".into()],
    }
    .frame()
}

fn known(peer: Bytes) -> State {
    let mut s = State::new(config(), false);
    s.take(peer);
    assert!(s.known() && s.end.is_none());
    frames(&mut s);
    s
}

#[test]
fn requests_go_before_data_and_the_older_stream_first() {
    let mut s = known(generous());
    let uni: Vec<u64> = (0..3).map(|_| s.open(true).unwrap().unwrap()).collect();
    let request = s.open(false).unwrap().unwrap();
    for id in [uni[2], uni[1], request, uni[0]] {
        s.write(id, &mut Some(Bytes::from_static(b"data")), Waker::noop()).unwrap();
    }
    let order: Vec<u64> = frames(&mut s).iter().map(|f| if let Frame::Stream { id, .. } = f { *id } else { panic!("{f:?}") }).collect();
    assert_eq!(order, [uni[0], request, uni[1], uni[2]]); // the first one is MoQ's control stream
}

#[test]
fn a_stream_without_credit_holds_up_no_other_and_goes_on_with_it() {
    let mut p = Parameters::parse(Bytes::new()).unwrap();
    (p.max_data, p.max_stream_data_uni, p.max_streams_uni, p.protocols) = (1 << 20, 10, 9, vec!["moqt-18".into()]);
    let mut s = known(p.frame());
    let ids: Vec<u64> = (0..2).map(|_| s.open(true).unwrap().unwrap()).collect();
    for id in &ids {
        s.write(*id, &mut Some(Bytes::from_static(b"0123456789abcdef")), Waker::noop()).unwrap();
    }
    let stream = |id, offset, data: &'static [u8], fin| Frame::Stream { id, offset: Some(offset), data: Bytes::from_static(data), fin };
    assert_eq!(frames(&mut s), [stream(ids[0], 0, b"0123456789", false), stream(ids[1], 0, b"0123456789", false)]);
    assert_eq!(frames(&mut s), []);
    s.finish(ids[1]);
    s.take(wire::max_stream_data(ids[1], 99));
    assert_eq!(frames(&mut s), [stream(ids[1], 10, b"abcdef", true)]);
    s.take(wire::stop_sending(ids[0], 7));
    assert_eq!(frames(&mut s), [Frame::ResetStream { id: ids[0], code: 7, size: 10 }]);
    assert_eq!(s.write(ids[0], &mut Some(Bytes::from_static(b"x")), Waker::noop()), Err(StreamError::Code(7)));
}

#[tokio::test]
async fn a_stream_arrives_whole_however_slowly_it_is_read() {
    let (a, b) = pair().await;
    let data: Bytes = (0..3_000_000u32).map(|n| (n * 7 >> 3) as u8).collect();
    let sent = data.clone();
    let sending = async {
        let mut s = a.open_uni().await.unwrap();
        for n in (0..sent.len()).step_by(50_000) {
            s.write(sent.slice(n..sent.len().min(n + 50_000))).await.unwrap();
        }
        s.finish();
    };
    let reading = async {
        let mut r = b.accept_uni().await.unwrap();
        let mut got = BytesMut::new();
        while let Some(piece) = r.read().await.unwrap() {
            got.extend_from_slice(&piece);
            tokio::task::yield_now().await;
        }
        got
    };
    let ((), got) = tokio::join!(sending, reading);
    assert!(got == data, "{} bytes of {}", got.len(), data.len());
}

#[tokio::test]
async fn more_streams_than_may_be_open_one_after_the_other() {
    let (a, b) = pair().await;
    for n in 0..300u32 {
        let (mut s, mut r) = a.open_bi().await.unwrap();
        s.write(Bytes::from(n.to_string())).await.unwrap();
        s.finish();
        let (answer, mut question) = b.accept_bi().await.unwrap();
        assert_eq!(question.read().await.unwrap().unwrap(), n.to_string());
        match n % 3 {
            0 => answer.finish(),
            1 => answer.reset(n),
            _ => drop(answer),
        }
        match n % 3 {
            0 => assert_eq!(r.read().await, Ok(None)),
            1 => assert_eq!((r.was_reset().await, r.read().await), (n.into(), Err(StreamError::Code(n.into())))),
            _ => drop(r),
        }
    }
}

#[tokio::test]
async fn the_last_words_arrive_and_all_that_waits_ends() {
    let (a, b) = pair().await;
    let (mut s, mut r) = a.open_bi().await.unwrap();
    s.write(Bytes::from_static(b"x")).await.unwrap();
    let (_s, mut got) = b.accept_bi().await.unwrap();
    assert_eq!(got.read().await.unwrap().unwrap(), "x");
    b.close(7, "so it is");
    b.flushed().await;
    assert_eq!(a.closed().await, End::Closed { code: 7, words: "so it is".into() });
    assert_eq!((s.stopped().await, r.read().await, got.read().await), (StreamError::Lost, Err(StreamError::Lost), Err(StreamError::Lost)));
    assert_eq!(a.open_uni().await.err(), Some(StreamError::Lost));
}

#[tokio::test]
async fn who_closes_at_once_is_heard_with_code_and_words() {
    for _ in 0..64 {
        let (here, mut there) = UnixStream::pair().unwrap();
        let mut all = BytesMut::new();
        for record in [generous(), wire::close(true, 3, "so it is")] {
            wire::put_varint(&mut all, record.len() as u64);
            all.extend_from_slice(&record);
        }
        there.write_all(&all).await.unwrap();
        let session = Session::accept(here, config()).await.unwrap();
        assert_eq!(session.closed().await, End::Closed { code: 3, words: "so it is".into() });
    }
}

#[tokio::test]
async fn a_breach_of_protocol_ends_it_and_is_told() {
    let varints = |list: &[u64]| {
        let mut b = BytesMut::new();
        list.iter().for_each(|v| wire::put_varint(&mut b, *v));
        b.freeze()
    };
    let mut too_much = BytesMut::new();
    wire::put_stream_header(&mut too_much, 2, 0, 60_000, false);
    too_much.resize(too_much.len() + 60_000, 0);
    let mut more = BytesMut::new();
    wire::put_stream_header(&mut more, 2, 60_000, 6000, false);
    more.resize(more.len() + 6000, 0);
    for (sent, code) in [
        (vec![Bytes::from_static(b"\x06garbage")], wire::FRAME_ENCODING_ERROR),
        (vec![varints(&[0x04, 2])], wire::FRAME_ENCODING_ERROR),
        (vec![too_much.freeze(), more.freeze()], wire::FLOW_CONTROL_ERROR),
        (vec![varints(&[0x04, 64 << 2 | 2, 0, 0])], wire::STREAM_LIMIT_ERROR),
        (vec![varints(&[0x05, 1, 0])], wire::STREAM_STATE_ERROR),
        (vec![varints(&[0x05, 2, 0])], wire::STREAM_STATE_ERROR),
        (vec![varints(&[0x09, 2]), varints(&[0x08, 2, 1])], wire::FINAL_SIZE_ERROR),
        (vec![generous()], wire::PROTOCOL_VIOLATION),
    ] {
        let (here, mut there) = UnixStream::pair().unwrap();
        let mut all = BytesMut::new();
        for record in std::iter::once(generous()).chain(sent.clone()) {
            wire::put_varint(&mut all, record.len() as u64);
            all.extend_from_slice(&record);
        }
        let session = Arc::new(Session::accept(here, config()));
        let session = tokio::spawn(async move { Arc::into_inner(session).unwrap().await });
        there.write_all(&all).await.unwrap();
        let (mut got, mut close) = (BytesMut::new(), None);
        while there.read_buf(&mut got).await.unwrap() > 0 {}
        while let Some(mut record) = wire::take_record(&mut got).unwrap() {
            while !record.is_empty() {
                if let Frame::Close { by_application: false, code, .. } = wire::take_frame(&mut record).unwrap() {
                    close = Some(code);
                }
            }
        }
        assert_eq!(close, Some(code), "{sent:?}");
        drop(session.await);
    }
}

#[tokio::test]
async fn no_protocol_in_common() {
    let (a, b) = UnixStream::pair().unwrap();
    let other = Config { protocol: "moqt-16".into(), ..config() };
    let (a, b) = tokio::join!(Session::connect(a, config()), Session::accept(b, other));
    assert_eq!((a.err().is_some(), b.err().is_some()), (true, true));
}

/// A xorshift generator: the same numbers each time.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }
}

/// One side of two that are joined without a socket, and the halves of streams that its owners have.
struct Side {
    state: State,
    sending: Vec<u64>,
    receiving: Vec<u64>,
}

impl Side {
    fn new(server: bool) -> Self {
        Self { state: State::new(config(), server), sending: Vec::new(), receiving: Vec::new() }
    }

    /// Gives the other side what leaves next.
    fn pass(&mut self, to: &mut Self) -> bool {
        let mut pieces = Vec::new();
        self.state.batch(&mut pieces);
        let mut sent = BytesMut::new();
        pieces.iter().for_each(|p| sent.extend_from_slice(p));
        while let Some(record) = wire::take_record(&mut sent).unwrap() {
            to.state.take(record);
        }
        assert_eq!((&self.state.end, &to.state.end), (&None, &None));
        !pieces.is_empty()
    }

    fn took(&mut self, id: u64, sends: bool, receives: bool) {
        self.sending.extend(sends.then_some(id));
        self.receiving.extend(receives.then_some(id));
    }

    /// Does what an owner of streams may do.
    fn act(&mut self, r: &mut Random) {
        let s = &mut self.state;
        match r.below(8) {
            0 => {
                let uni = r.below(2) == 0;
                if let Some(id) = s.open(uni).unwrap() {
                    self.took(id, true, !uni);
                }
            }
            1 => {
                let uni = r.below(2) == 0;
                if let Some(id) = s.accept(uni).unwrap() {
                    self.took(id, !uni, true);
                }
            }
            2..5 if !self.sending.is_empty() => {
                let n = r.below(self.sending.len());
                let id = self.sending[n];
                let size = [0, 1, 1, 100, 5000, 65_536, 200_000][r.below(7)];
                let written = s.write(id, &mut Some(Bytes::from(vec![7; size])), Waker::noop());
                match r.below(12) {
                    0 => s.finish(id),
                    1 => s.reset(id, 5),
                    2 => {}
                    _ if written.is_err() => {}
                    _ => return,
                }
                s.drop_send(id);
                self.sending.swap_remove(n);
            }
            5.. if !self.receiving.is_empty() => {
                let n = r.below(self.receiving.len());
                let id = self.receiving[n];
                match s.read(id, Waker::noop()) {
                    Poll::Ready(Ok(Some(_))) | Poll::Pending if r.below(24) > 0 => return,
                    _ => {}
                }
                s.stop(id, 9);
                self.receiving.swap_remove(n);
            }
            _ => {}
        }
    }
}

#[test]
fn streams_that_end_in_any_order_leave_nothing_and_give_their_credit_back() {
    for seed in 1..=6 {
        let mut r = Random(0x9e37_79b9_7f4a_7c15u64.wrapping_mul(seed));
        let (mut a, mut b) = (Side::new(false), Side::new(true));
        while a.pass(&mut b) | b.pass(&mut a) {}
        let credit = a.state.held().send_credit;
        for _ in 0..100_000 {
            match r.below(20) {
                0 => _ = a.pass(&mut b),
                1 => _ = b.pass(&mut a),
                n if n % 2 == 0 => a.act(&mut r),
                _ => b.act(&mut r),
            }
        }
        // Whatever is open ends, and what was not accepted yet is.
        loop {
            for side in [&mut a, &mut b] {
                for uni in [false, true] {
                    while let Some(id) = side.state.accept(uni).unwrap() {
                        side.took(id, !uni, true);
                    }
                }
                side.sending.drain(..).for_each(|id| side.state.drop_send(id));
                side.receiving.drain(..).for_each(|id| side.state.stop(id, 0));
            }
            if !(a.pass(&mut b) | b.pass(&mut a)) {
                break;
            }
        }
        for side in [&mut a, &mut b] {
            let held = side.state.held();
            assert_eq!((held.streams, held.ready, held.control, held.unread, held.queued, held.shared), (0, 0, 0, 0, 0, 0), "seed {seed}: {held:?}");
            assert!(held.send_credit >= credit * 3 / 4, "seed {seed}: {held:?} of {credit}");
            for uni in [false, true] {
                let opened = std::iter::from_fn(|| side.state.open(uni).unwrap()).count();
                assert!(opened >= 64 - 8, "seed {seed}: {opened} streams may be open");
            }
        }
    }
}

#[test]
fn data_in_small_pieces_takes_little_more_room_than_data() {
    let mut s = known(generous());
    let id = s.open(true).unwrap().unwrap();
    for _ in 0..100_000 {
        s.write(id, &mut Some(Bytes::from_static(b"x")), Waker::noop()).unwrap();
    }
    let mut record = BytesMut::new();
    for n in 0..60_000 {
        wire::put_stream_header(&mut record, 3, n, 1, n == 59_999);
        record.extend_from_slice(&[n as u8]);
    }
    s.take(record.freeze());
    assert!(s.held().pieces < 100, "{:?}", s.held());
    let mut sent = 0;
    for f in frames(&mut s) {
        if let Frame::Stream { data, .. } = f {
            sent += data.len();
        }
    }
    assert_eq!(sent, 100_000);
    let mut got = BytesMut::new();
    while let Poll::Ready(Ok(Some(data))) = s.read(3, Waker::noop()) {
        got.extend_from_slice(&data);
    }
    assert!(got.iter().enumerate().all(|(n, b)| n as u8 == *b) && got.len() == 60_000, "{} bytes", got.len());
}

#[test]
fn many_pings_have_one_answer_and_it_is_the_last_one_s() {
    let mut s = known(generous());
    let mut pings = BytesMut::new();
    for n in 0..5000 {
        wire::put_varint(&mut pings, 0x348c_6752_9ef8_c7bd);
        wire::put_varint(&mut pings, n);
    }
    s.take(pings.freeze());
    assert_eq!(frames(&mut s), [Frame::Pong(4999)]);
}

#[test]
fn the_largest_numbers_are_refused_or_do_nothing() {
    let max = (1u64 << 62) - 1;
    let varints = |list: &[u64]| {
        let mut b = BytesMut::new();
        list.iter().for_each(|v| wire::put_varint(&mut b, *v));
        b.freeze()
    };
    for (sent, breaks) in [
        (varints(&[0x04, 3, 0, max]), true),  // a stream that ends beyond its credit
        (varints(&[0x04, max, 0, 0]), true),  // a stream that may not be
        (varints(&[0x0c, 3, max]), true),     // data at the end of all offsets
        (varints(&[0x05, max - 1, 0]), true), // STOP_SENDING of a stream that may not be
        (varints(&[0x12, max]), true),        // more streams than there are numbers
        (varints(&[0x12, 1 << 60]), false),
        (varints(&[0x10, max]), false),    // MAX_DATA
        (varints(&[0x11, 2, max]), false), // MAX_STREAM_DATA
        (varints(&[0x05, 2, max]), false), // STOP_SENDING with the largest code
    ] {
        let mut s = known(generous());
        let id = s.open(true).unwrap().unwrap();
        assert_eq!(id, 2);
        s.write(id, &mut Some(Bytes::from_static(b"data")), Waker::noop()).unwrap();
        s.take(sent.clone());
        assert_eq!(s.end.is_some(), breaks, "{sent:x?}: {:?}", s.end);
        frames(&mut s);
        assert!(breaks || s.open(true).unwrap().is_some());
    }
}

#[test]
fn who_asks_for_answers_and_does_not_read_them_is_closed() {
    let mut s = known(generous());
    let mut most = 0;
    for n in 0..200_000u64 {
        let mut b = BytesMut::new();
        for v in [0x04, n << 2 | 1, 0, 0, 0x05, n << 2 | 1, 0] {
            wire::put_varint(&mut b, v); // RESET_STREAM and STOP_SENDING
        }
        s.take(b.freeze());
        if s.end.is_some() {
            break;
        }
        let id = s.accept(false).unwrap().unwrap();
        s.drop_send(id);
        s.stop(id, 0);
        most = s.held().control;
    }
    assert_eq!(s.end, Some(End::Broken("it asks for more answers than it reads".into())));
    assert!(most <= 64 << 10, "{most} frames waited");
}

#[test]
fn streams_that_nobody_reads_hold_little_and_hold_up_no_other() {
    const STREAMS: u64 = 512;
    const LAST: u64 = STREAMS - 1;
    let mut s = State::new(Config { max_streams: STREAMS, stream_window: 128 << 10, ..config() }, false);
    s.take(generous());
    let (mut sent, mut credit) = (vec![0; STREAMS as usize], vec![FIRST_WINDOW; STREAMS as usize]);
    let id = |n: u64| n << 2 | 3;
    let mut send = |s: &mut State, n: u64| {
        let size = (credit[n as usize] - sent[n as usize]).min(60_000) as usize;
        if size > 0 {
            let mut b = BytesMut::new();
            wire::put_stream_header(&mut b, id(n), sent[n as usize], size, false);
            b.resize(b.len() + size, 7);
            s.take(b.freeze());
            assert_eq!(s.end, None);
            sent[n as usize] += size as u64;
        }
        for f in frames(s) {
            if let Frame::MaxStreamData { id, max } = f {
                credit[(id >> 2) as usize] = max;
            }
        }
        size
    };
    while (0..LAST).map(|n| send(&mut s, n)).sum::<usize>() > 0 {}
    let unread = s.held().unread;
    assert!((16 << 20..=STREAMS * FIRST_WINDOW + (16 << 20)).contains(&unread), "{unread} bytes wait");
    let mut got = 0;
    for _ in 0..100 {
        send(&mut s, LAST);
        while let Poll::Ready(Ok(Some(data))) = s.read(id(LAST), Waker::noop()) {
            got += data.len();
        }
    }
    assert!(got >= 512 << 10, "{got} bytes went through the last one");
    for n in 0..STREAMS {
        s.take({
            let mut b = BytesMut::new();
            [0x04, id(n), 0, 0].iter().for_each(|v| wire::put_varint(&mut b, *v));
            b.freeze()
        });
        s.stop(id(n), 0);
    }
    assert_eq!((s.held().unread, s.held().shared, s.held().streams), (0, 0, 0));
}

#[test]
fn what_waits_for_a_relay_that_does_not_read_is_bounded() {
    let mut p = Parameters::parse(Bytes::new()).unwrap();
    (p.max_streams_uni, p.protocols) = (1000, vec!["moqt-18".into()]);
    let mut s = known(p.frame());
    let ids: Vec<u64> = (0..1000).map(|_| s.open(true).unwrap().unwrap()).collect();
    let mut taken = true;
    while std::mem::take(&mut taken) {
        for id in &ids {
            let mut data = Some(Bytes::from(vec![7; s.room()]));
            s.write(*id, &mut data, Waker::noop()).unwrap();
            taken |= data.is_none();
        }
    }
    let queued = s.held().queued;
    assert!((16 << 20..=(16 << 20) + 1000 * FIRST_WINDOW).contains(&queued), "{queued} bytes wait");
    for (n, id) in ids.iter().enumerate() {
        match n % 2 {
            0 => s.reset(*id, 1),
            _ => s.take(wire::stop_sending(*id, 1)),
        }
        s.drop_send(*id);
    }
    assert_eq!((s.held().queued, s.held().streams), (0, 0));
}
