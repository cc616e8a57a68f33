//! Asks the local relay how it is, at its operator's door (docs/format/admin.md).

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

#[derive(Deserialize)]
struct Status {
    sessions: Vec<Session>,
}

#[derive(Deserialize)]
struct Session {
    role: String,
}

/// Most that an answer may hold.
const LIMIT: u64 = 16 << 20;

/// Reports whether the relay has a session with its upstream.
pub fn reached(socket: &Path) -> io::Result<bool> {
    let mut s = UnixStream::connect(socket)?;
    let patience = Some(Duration::from_secs(2));
    s.set_read_timeout(patience)?;
    s.set_write_timeout(patience)?;
    s.write_all(b"GET /status HTTP/1.0\r\nHost: relay\r\n\r\n")?;
    let mut answer = Vec::new();
    s.take(LIMIT).read_to_end(&mut answer)?;
    has_upstream(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not the answer of a relay"))
}

fn has_upstream(answer: &[u8]) -> Option<bool> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
    let status: Status = serde_json::from_slice(&answer[end + 4..]).ok()?;
    Some(status.sessions.iter().any(|s| s.role == "upstream" || s.role == "peer"))
}

#[cfg(test)]
mod tests {
    use super::has_upstream;

    #[test]
    fn answers() {
        for (answer, want) in [
            ("", None),
            ("HTTP/1.0 200 OK\r\n\r\n", None),
            ("HTTP/1.0 500 no\r\n\r\n{\"v\":1,\"error\":\"x\"}", None),
            ("HTTP/1.0 200 OK\r\na: b\r\n\r\n{\"v\":1,\"sessions\":[]}", Some(false)),
            ("HTTP/1.0 200 OK\r\n\r\n{\"sessions\":[{\"role\":\"client\"}]}", Some(false)),
            ("HTTP/1.0 200 OK\r\n\r\n{\"sessions\":[{\"role\":\"client\"},{\"role\":\"upstream\",\"x\":1}]}", Some(true)),
        ] {
            assert_eq!(has_upstream(answer.as_bytes()), want, "{answer}");
        }
    }
}
