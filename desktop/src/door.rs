//! Asks the local relay how it is, at its operator's door (docs/format/admin.md).

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Status {
    sessions: Vec<Session>,
}

#[derive(Deserialize)]
struct Session {
    role: String,
}

#[derive(Deserialize)]
struct Relays {
    relays: Vec<Relay>,
}

#[derive(Deserialize)]
struct Relay {
    state: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    addr: String,
}

/// A relay on the local network.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Found {
    pub id: String,
    pub addr: String,
}

/// Most that an answer may hold.
const LIMIT: u64 = 16 << 20;

/// Reports whether the relay with that store has a session with its upstream.
pub fn reached(store: &Path) -> io::Result<bool> {
    let status: Status = ask(store, "status")?;
    Ok(status.sessions.iter().any(|s| s.role == "upstream" || s.role == "peer"))
}

/// The relays that mDNS has found.
pub fn found(store: &Path) -> io::Result<Vec<Found>> {
    let all: Relays = ask(store, "relays")?;
    Ok(all.relays.into_iter().filter(|r| r.state == "found" && !r.id.is_empty()).map(|r| Found { id: r.id, addr: r.addr }).collect())
}

fn ask<T: DeserializeOwned>(store: &Path, command: &str) -> io::Result<T> {
    // By way of the open folder, for a socket's own path may be too long.
    let folder = File::open(store)?;
    let mut s = UnixStream::connect(format!("/proc/self/fd/{}/admin.sock", folder.as_raw_fd()))?;
    let patience = Some(Duration::from_secs(2));
    s.set_read_timeout(patience)?;
    s.set_write_timeout(patience)?;
    s.write_all(format!("GET /{command} HTTP/1.0\r\nHost: relay\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    s.take(LIMIT).read_to_end(&mut answer)?;
    record(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not the answer of a relay"))
}

fn record<T: DeserializeOwned>(answer: &[u8]) -> Option<T> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
    serde_json::from_slice(&answer[end + 4..]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A door that gives the same answer to everybody.
    fn door(name: &str, answer: &'static str) -> std::path::PathBuf {
        let store = crate::test_folder(name);
        let listener = UnixListener::bind(store.join("admin.sock")).unwrap();
        std::thread::spawn(move || {
            for mut s in listener.incoming().map_while(Result::ok) {
                let _ = s.read(&mut [0; 1000]);
                let _ = s.write_all(answer.as_bytes());
            }
        });
        store
    }

    #[test]
    fn answers() {
        for (n, (answer, want)) in [
            ("", None),
            ("HTTP/1.0 200 OK\r\n\r\n", None),
            ("HTTP/1.0 500 no\r\n\r\n{\"v\":1,\"error\":\"x\"}", None),
            ("HTTP/1.0 200 OK\r\na: b\r\n\r\n{\"v\":1,\"sessions\":[]}", Some(false)),
            ("HTTP/1.0 200 OK\r\n\r\n{\"sessions\":[{\"role\":\"client\"}]}", Some(false)),
            ("HTTP/1.0 200 OK\r\n\r\n{\"sessions\":[{\"role\":\"client\"},{\"role\":\"upstream\",\"x\":1}]}", Some(true)),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(reached(&door(&format!("door{n}"), answer)).ok(), want, "{answer}");
        }
    }

    #[test]
    fn relays_on_the_network() {
        let answer = "HTTP/1.0 200 OK\r\n\r\n{\"v\":1,\"relays\":[{\"relay\":\"moqt://a\",\"state\":\"away\"},{\"relay\":\"iroh://ab\",\"state\":\"found\",\"id\":\"ab\",\"addr\":\"192.0.2.1:5\"}]}";
        assert_eq!(found(&door("found", answer)).unwrap(), [Found { id: "ab".into(), addr: "192.0.2.1:5".into() }]);
        assert!(found(&door("none", "HTTP/1.0 404 no\r\n\r\n{}")).is_err());
    }
}
