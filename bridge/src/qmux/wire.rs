//! Frames, transport parameters and records of QMux (docs/format/qmux.md; RFC 9000 §16, §18, §19).

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Error codes of the transport (RFC 9000 §20.1).
pub const FLOW_CONTROL_ERROR: u64 = 0x03;
pub const STREAM_LIMIT_ERROR: u64 = 0x04;
pub const STREAM_STATE_ERROR: u64 = 0x05;
pub const FINAL_SIZE_ERROR: u64 = 0x06;
pub const FRAME_ENCODING_ERROR: u64 = 0x07;
pub const TRANSPORT_PARAMETER_ERROR: u64 = 0x08;
pub const PROTOCOL_VIOLATION: u64 = 0x0a;
/// What QUIC makes of the TLS alert 120.
pub const NO_APPLICATION_PROTOCOL: u64 = 0x178;

/// The other side broke the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    pub code: u64,
    pub words: String,
}

pub fn broken(code: u64, words: impl Into<String>) -> Broken {
    Broken { code, words: words.into() }
}

/// The largest record sent and accepted: 64 KiB of a stream and the headers.
pub const MAX_RECORD: usize = 66_560;
/// The smallest max_record_size that may be announced, and the one that counts when none is.
const LEAST_RECORD: u64 = 16_382;
const MAX_VARINT: u64 = (1 << 62) - 1;

const RESET_STREAM: u64 = 0x04;
const STOP_SENDING: u64 = 0x05;
const STREAM: u64 = 0x08;
const STREAM_FIN: u64 = 0x01;
const STREAM_LEN: u64 = 0x02;
const STREAM_OFF: u64 = 0x04;
const MAX_DATA: u64 = 0x10;
const MAX_STREAM_DATA: u64 = 0x11;
const MAX_STREAMS_BIDI: u64 = 0x12;
const MAX_STREAMS_UNI: u64 = 0x13;
const DATA_BLOCKED: u64 = 0x14;
const STREAM_DATA_BLOCKED: u64 = 0x15;
const STREAMS_BLOCKED_BIDI: u64 = 0x16;
const STREAMS_BLOCKED_UNI: u64 = 0x17;
const CONNECTION_CLOSE: u64 = 0x1c;
const APPLICATION_CLOSE: u64 = 0x1d;
const DATAGRAM: u64 = 0x30;
const DATAGRAM_LEN: u64 = 0x31;
const PARAMETERS: u64 = 0x3f51_5330_0d0a_0d0a;
const PING: u64 = 0x348c_6752_9ef8_c7bd;
const PONG: u64 = 0x348c_6752_9ef8_c7be;

/// How much a STREAM frame adds to its data at most.
pub const STREAM_HEADER: usize = 1 + 8 + 8 + 4;
/// The longest words of a CONNECTION_CLOSE.
const MAX_WORDS: usize = 1024;

#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    Padding,
    Parameters(Bytes),
    Stream {
        id: u64,
        offset: Option<u64>,
        data: Bytes,
        fin: bool,
    },
    ResetStream {
        id: u64,
        code: u64,
        size: u64,
    },
    StopSending {
        id: u64,
        code: u64,
    },
    MaxData(u64),
    MaxStreamData {
        id: u64,
        max: u64,
    },
    MaxStreams {
        uni: bool,
        max: u64,
    },
    /// DATA_BLOCKED and its like need no answer.
    Blocked,
    Close {
        by_application: bool,
        code: u64,
        words: Bytes,
    },
    Datagram(Bytes),
    Ping(u64),
    Pong(u64),
}

/// Takes a variable-length integer.
pub fn varint(b: &mut Bytes) -> Option<u64> {
    let first = *b.first()?;
    let size = 1usize << (first >> 6);
    if b.len() < size {
        return None;
    }
    Some(match size {
        1 => u64::from(b.get_u8()),
        2 => u64::from(b.get_u16() & 0x3fff),
        4 => u64::from(b.get_u32() & 0x3fff_ffff),
        _ => b.get_u64() & MAX_VARINT,
    })
}

/// Adds a variable-length integer; a larger one than there can be becomes the largest.
pub fn put_varint(b: &mut impl BufMut, v: u64) {
    match v.min(MAX_VARINT) {
        v @ ..0x40 => b.put_u8(v as u8),
        v @ ..0x4000 => b.put_u16(v as u16 | 0x4000),
        v @ ..0x4000_0000 => b.put_u32(v as u32 | 0x8000_0000),
        v => b.put_u64(v | 0xc000_0000_0000_0000),
    }
}

fn taken(b: &mut Bytes) -> Option<Bytes> {
    let n = varint(b)?;
    (n <= b.len() as u64).then(|| b.split_to(n as usize))
}

/// Takes the first frame of a record. Data are parts of the record, not copies.
pub fn take_frame(b: &mut Bytes) -> Result<Frame, Broken> {
    let kind = varint(b).ok_or_else(cut)?;
    match kind {
        PARAMETERS
        | RESET_STREAM..=STOP_SENDING
        | STREAM..=STREAMS_BLOCKED_UNI
        | CONNECTION_CLOSE
        | APPLICATION_CLOSE
        | DATAGRAM
        | DATAGRAM_LEN
        | PING
        | PONG => fields(kind, b).ok_or_else(cut)?,
        0 => {
            let n = b.iter().take_while(|byte| **byte == 0).count();
            b.advance(n);
            Ok(Frame::Padding)
        }
        // Frames of the handshake, of paths and of acknowledgements are prohibited.
        kind => Err(broken(FRAME_ENCODING_ERROR, format!("frame of type {kind:#x}"))),
    }
}

fn cut() -> Broken {
    broken(FRAME_ENCODING_ERROR, "record ends inside a frame")
}

/// The frame behind its type; None if the record ends before the frame does.
fn fields(kind: u64, b: &mut Bytes) -> Option<Result<Frame, Broken>> {
    Some(Ok(match kind {
        PARAMETERS => Frame::Parameters(taken(b)?),
        RESET_STREAM => Frame::ResetStream { id: varint(b)?, code: varint(b)?, size: varint(b)? },
        STOP_SENDING => Frame::StopSending { id: varint(b)?, code: varint(b)? },
        STREAM..MAX_DATA => {
            let id = varint(b)?;
            let offset = if kind & STREAM_OFF != 0 { Some(varint(b)?) } else { None };
            let data = if kind & STREAM_LEN != 0 { taken(b)? } else { b.split_to(b.len()) };
            if offset.unwrap_or(0) + data.len() as u64 > MAX_VARINT {
                return Some(Err(broken(FRAME_ENCODING_ERROR, "STREAM beyond 2^62-1")));
            }
            Frame::Stream { id, offset, data, fin: kind & STREAM_FIN != 0 }
        }
        MAX_DATA => Frame::MaxData(varint(b)?),
        MAX_STREAM_DATA => Frame::MaxStreamData { id: varint(b)?, max: varint(b)? },
        MAX_STREAMS_BIDI | MAX_STREAMS_UNI => {
            let max = varint(b)?;
            if max > 1 << 60 {
                return Some(Err(broken(FRAME_ENCODING_ERROR, "more than 2^60 streams")));
            }
            Frame::MaxStreams { uni: kind == MAX_STREAMS_UNI, max }
        }
        DATA_BLOCKED | STREAMS_BLOCKED_BIDI | STREAMS_BLOCKED_UNI => {
            varint(b)?;
            Frame::Blocked
        }
        STREAM_DATA_BLOCKED => {
            varint(b)?;
            varint(b)?;
            Frame::Blocked
        }
        CONNECTION_CLOSE => {
            let code = varint(b)?;
            varint(b)?; // the type of the frame that was wrong
            Frame::Close { by_application: false, code, words: taken(b)? }
        }
        APPLICATION_CLOSE => Frame::Close { by_application: true, code: varint(b)?, words: taken(b)? },
        DATAGRAM => Frame::Datagram(b.split_to(b.len())),
        DATAGRAM_LEN => Frame::Datagram(taken(b)?),
        PING => Frame::Ping(varint(b)?),
        _ => Frame::Pong(varint(b)?),
    }))
}

pub fn put_stream_header(b: &mut BytesMut, id: u64, offset: u64, len: usize, fin: bool) {
    put_varint(b, STREAM | STREAM_OFF | STREAM_LEN | if fin { STREAM_FIN } else { 0 });
    put_varint(b, id);
    put_varint(b, offset);
    put_varint(b, len as u64);
}

pub fn put_datagram_header(b: &mut BytesMut, len: usize) {
    put_varint(b, DATAGRAM_LEN);
    put_varint(b, len as u64);
}

/// A frame without data of streams.
fn frame(fields: &[u64]) -> Bytes {
    let mut b = BytesMut::with_capacity(8 * fields.len());
    for v in fields {
        put_varint(&mut b, *v);
    }
    b.freeze()
}

pub fn reset_stream(id: u64, code: u32, size: u64) -> Bytes {
    frame(&[RESET_STREAM, id, code.into(), size])
}

pub fn stop_sending(id: u64, code: u32) -> Bytes {
    frame(&[STOP_SENDING, id, code.into()])
}

pub fn max_data(max: u64) -> Bytes {
    frame(&[MAX_DATA, max])
}

pub fn max_stream_data(id: u64, max: u64) -> Bytes {
    frame(&[MAX_STREAM_DATA, id, max])
}

pub fn max_streams(uni: bool, max: u64) -> Bytes {
    frame(&[if uni { MAX_STREAMS_UNI } else { MAX_STREAMS_BIDI }, max])
}

pub fn pong(sequence: u64) -> Bytes {
    frame(&[PONG, sequence])
}

pub fn close(by_application: bool, code: u64, words: &str) -> Bytes {
    let mut b = BytesMut::new();
    match by_application {
        true => put_varint(&mut b, APPLICATION_CLOSE),
        false => put_varint(&mut b, CONNECTION_CLOSE),
    }
    put_varint(&mut b, code);
    if !by_application {
        put_varint(&mut b, 0);
    }
    let mut n = words.len().min(MAX_WORDS);
    while !words.is_char_boundary(n) {
        n -= 1;
    }
    put_varint(&mut b, n as u64);
    b.put_slice(&words.as_bytes()[..n]);
    b.freeze()
}

const PARAM_MAX_DATA: u64 = 0x04;
const PARAM_MAX_STREAM_DATA_LOCAL: u64 = 0x05;
const PARAM_MAX_STREAM_DATA_REMOTE: u64 = 0x06;
const PARAM_MAX_STREAM_DATA_UNI: u64 = 0x07;
const PARAM_MAX_STREAMS_BIDI: u64 = 0x08;
const PARAM_MAX_STREAMS_UNI: u64 = 0x09;
const PARAM_MAX_DATAGRAM_FRAME_SIZE: u64 = 0x20;
const PARAM_MAX_RECORD_SIZE: u64 = 0x0571_c594_29cd_0845;
const PARAM_PROTOCOLS: u64 = 0x3d4f_9c2a_8b1e_6075;

/// The transport parameters of one side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters {
    pub max_data: u64,
    /// Of bidirectional streams that the sender of the parameters opens, of those that its peer opens, of unidirectional ones.
    pub max_stream_data_local: u64,
    pub max_stream_data_remote: u64,
    pub max_stream_data_uni: u64,
    pub max_streams_bidi: u64,
    pub max_streams_uni: u64,
    pub max_datagram_frame_size: u64,
    pub max_record_size: u64,
    pub protocols: Vec<String>,
}

impl Parameters {
    fn number(&mut self, id: u64) -> Option<&mut u64> {
        Some(match id {
            PARAM_MAX_DATA => &mut self.max_data,
            PARAM_MAX_STREAM_DATA_LOCAL => &mut self.max_stream_data_local,
            PARAM_MAX_STREAM_DATA_REMOTE => &mut self.max_stream_data_remote,
            PARAM_MAX_STREAM_DATA_UNI => &mut self.max_stream_data_uni,
            PARAM_MAX_STREAMS_BIDI => &mut self.max_streams_bidi,
            PARAM_MAX_STREAMS_UNI => &mut self.max_streams_uni,
            PARAM_MAX_DATAGRAM_FRAME_SIZE => &mut self.max_datagram_frame_size,
            PARAM_MAX_RECORD_SIZE => &mut self.max_record_size,
            _ => return None,
        })
    }

    /// The frame QX_TRANSPORT_PARAMETERS.
    pub fn frame(&self) -> Bytes {
        let mut params = self.clone();
        let mut b = BytesMut::new();
        for id in [
            PARAM_MAX_DATA,
            PARAM_MAX_STREAM_DATA_LOCAL,
            PARAM_MAX_STREAM_DATA_REMOTE,
            PARAM_MAX_STREAM_DATA_UNI,
            PARAM_MAX_STREAMS_BIDI,
            PARAM_MAX_STREAMS_UNI,
            PARAM_MAX_DATAGRAM_FRAME_SIZE,
            PARAM_MAX_RECORD_SIZE,
        ] {
            if let Some(v) = params.number(id).filter(|v| **v != 0) {
                put_varint(&mut b, id);
                let value = frame(&[*v]);
                put_varint(&mut b, value.len() as u64);
                b.put(value);
            }
        }
        let mut names = BytesMut::new();
        for name in &self.protocols {
            put_varint(&mut names, name.len() as u64);
            names.put_slice(name.as_bytes());
        }
        put_varint(&mut b, PARAM_PROTOCOLS);
        put_varint(&mut b, names.len() as u64);
        b.put(names);
        let mut whole = BytesMut::from(&frame(&[PARAMETERS, b.len() as u64])[..]);
        whole.put(b);
        whole.freeze()
    }

    /// Reads the payload of QX_TRANSPORT_PARAMETERS.
    pub fn parse(mut b: Bytes) -> Result<Self, Broken> {
        let bad = |words: String| broken(TRANSPORT_PARAMETER_ERROR, words);
        let mut p = Self { max_record_size: LEAST_RECORD, ..Self::default() };
        let mut seen = Vec::new();
        while !b.is_empty() {
            let (Some(id), Some(mut value)) = (varint(&mut b), taken(&mut b)) else { return Err(bad("parameters end inside of one".into())) };
            if seen.contains(&id) {
                return Err(bad(format!("parameter {id:#x} twice")));
            }
            if id == PARAM_PROTOCOLS {
                while !value.is_empty() {
                    let name = taken(&mut value).ok_or_else(|| bad("list of application protocols".into()))?;
                    p.protocols.push(String::from_utf8_lossy(&name).into_owned());
                }
            } else if let Some(field) = p.number(id) {
                *field = varint(&mut value).filter(|_| value.is_empty()).ok_or_else(|| bad(format!("parameter {id:#x} is not an integer")))?;
            } else {
                continue;
            }
            seen.push(id);
        }
        if p.max_record_size < LEAST_RECORD {
            return Err(bad(format!("max_record_size {}", p.max_record_size)));
        }
        Ok(p)
    }
}

/// Takes a whole record from what has arrived; None if there is none yet.
pub fn take_record(b: &mut BytesMut) -> Result<Option<Bytes>, Broken> {
    let mut head = Bytes::copy_from_slice(&b[..b.len().min(8)]);
    let before = head.len();
    let Some(size) = varint(&mut head) else { return Ok(None) };
    if size > MAX_RECORD as u64 {
        return Err(broken(FRAME_ENCODING_ERROR, format!("record of {size} bytes")));
    }
    let (head, size) = (before - head.len(), size as usize);
    if b.len() < head + size {
        return Ok(None);
    }
    b.advance(head);
    Ok(Some(b.split_to(size).freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_every_length() {
        for v in [0, 0x3f, 0x40, 0x3fff, 0x4000, 0x3fff_ffff, 0x4000_0000, MAX_VARINT] {
            let mut b = BytesMut::new();
            put_varint(&mut b, v);
            let b = b.freeze();
            assert_eq!(varint(&mut b.clone()), Some(v));
            assert_eq!(varint(&mut b.slice(..b.len() - 1)), None);
        }
    }

    #[test]
    fn parameters_are_read_as_they_were_written() {
        let p = Parameters {
            max_data: 1 << 40,
            max_streams_uni: 7,
            max_record_size: 66_560,
            protocols: vec!["moqt-18".into(), "moqt-16".into()],
            ..Default::default()
        };
        let Frame::Parameters(b) = take_frame(&mut p.frame()).unwrap() else { panic!() };
        assert_eq!(Parameters::parse(b), Ok(p));
        assert_eq!(Parameters::parse(Bytes::new()).unwrap().max_record_size, LEAST_RECORD);
        for bad in [&[4u8][..], &[4, 9, 1], &[4, 2, 1, 1], &[4, 1, 1, 4, 1, 1], &[0xc5, 0x71, 0xc5, 0x94, 0x29, 0xcd, 0x08, 0x45, 1, 1]] {
            assert_eq!(Parameters::parse(Bytes::copy_from_slice(bad)).unwrap_err().code, TRANSPORT_PARAMETER_ERROR, "{bad:x?}");
        }
    }

    #[test]
    fn a_frame_cut_anywhere_is_refused_and_garbage_is_no_panic() {
        let mut stream = BytesMut::new();
        put_stream_header(&mut stream, 8, 1 << 20, 4, true);
        stream.put_slice(b"data");
        for whole in [
            stream.freeze(),
            reset_stream(4, 9, 100),
            stop_sending(4, 9),
            max_stream_data(4, 1 << 30),
            max_streams(true, 99),
            close(true, 7, "so"),
            close(false, 7, "so"),
        ] {
            assert!(take_frame(&mut whole.clone()).is_ok());
            for n in 0..whole.len() {
                assert_eq!(take_frame(&mut whole.slice(..n)).unwrap_err().code, FRAME_ENCODING_ERROR);
            }
        }
        let mut x = 1u64;
        for _ in 0..100_000 {
            let b: Vec<u8> = (0..24)
                .map(|_| {
                    x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    (x >> 56) as u8
                })
                .collect();
            let mut b = Bytes::from(b);
            while !b.is_empty() && take_frame(&mut b).is_ok() {}
        }
        assert_eq!(take_frame(&mut Bytes::from_static(&[6, 0, 0])).unwrap_err().words, "frame of type 0x6");
    }

    #[test]
    fn records_come_in_pieces() {
        let mut b = BytesMut::new();
        for byte in [0x40, 3, b'a', b'b'] {
            b.put_u8(byte);
            assert_eq!(take_record(&mut b), Ok(None));
        }
        b.put_slice(b"c\x01d\x00");
        assert_eq!(take_record(&mut b).unwrap().unwrap(), "abc");
        assert_eq!(take_record(&mut b).unwrap().unwrap(), "d");
        assert_eq!(take_record(&mut b).unwrap().unwrap(), "");
        assert_eq!(take_record(&mut b), Ok(None));
        b.put_u32(0x8000_0000 | (MAX_RECORD as u32 + 1));
        assert_eq!(take_record(&mut b).unwrap_err().code, FRAME_ENCODING_ERROR);
    }

    #[test]
    fn words_are_cut_between_characters() {
        let Frame::Close { words, .. } = take_frame(&mut close(true, 1, &"ä".repeat(600))).unwrap() else { panic!() };
        assert_eq!(words, "ä".repeat(512));
        let Frame::Close { words, .. } = take_frame(&mut close(true, 1, &("x".to_owned() + &"ä".repeat(600)))).unwrap() else { panic!() };
        assert_eq!(words.len(), 1023);
    }
}
