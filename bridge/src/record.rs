//! The lines that ec-iroh and its starter exchange (docs/format/iroh.md). Every one has "v":1 and is one JSON object.

use std::{collections::BTreeSet, net::SocketAddr, str::FromStr, time::Duration};

use iroh::{EndpointAddr, EndpointId, RelayUrl, TransportAddr};
use serde::{Deserialize, Serialize};

/// The longest line, its end included.
pub const MAX_LINE: usize = 4096;

/// MoQ's own ALPNs that are spoken, the most preferred first.
pub const ALPNS: [&str; 4] = ["moqt-22", "moqt-20", "moqt-18", "moqt-16"];

const MAX_ADDRS: usize = 32;
const TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUTS: std::ops::RangeInclusive<u64> = 100..=60_000;

/// One line that is ready to be written.
pub fn line(record: &impl Serialize) -> String {
    #[derive(Serialize)]
    struct Versioned<'a, T> {
        v: u8,
        #[serde(flatten)]
        record: &'a T,
    }
    let mut s = serde_json::to_string(&Versioned { v: 1, record }).expect("records are plain");
    s.push('\n');
    s
}

/// How a peer is reached just now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Path {
    pub path: &'static str,
    pub addr: String,
    pub rtt_us: u64,
}

impl Path {
    /// Whether packets go another way; the round-trip time changes all the time.
    pub fn is_other(&self, than: &Path) -> bool {
        (self.path, &self.addr) != (than.path, &than.addr)
    }
}

/// What is told on stdout.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    Ready {
        id: String,
        #[serde(flatten)]
        at: Addrs,
    },
    Addrs {
        id: String,
        #[serde(flatten)]
        at: Addrs,
    },
    Peer {
        conn: u64,
        id: String,
        direction: &'static str,
        alpn: String,
        #[serde(flatten)]
        path: Path,
    },
    Gone {
        conn: u64,
        id: String,
        reason: String,
    },
    Found {
        id: String,
        #[serde(flatten)]
        at: Addrs,
    },
    Lost {
        id: String,
    },
}

#[derive(Debug, Default, Clone, PartialEq, Serialize)]
pub struct Addrs {
    pub addrs: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay: Option<String>,
}

impl Addrs {
    pub fn new<'a>(addrs: impl Iterator<Item = &'a TransportAddr>) -> Self {
        let mut a = Self::default();
        for addr in addrs {
            match addr {
                TransportAddr::Ip(ip) if a.addrs.len() < MAX_ADDRS => a.addrs.push(ip.to_string()),
                TransportAddr::Relay(url) => a.relay = a.relay.or_else(|| Some(url.to_string())),
                _ => {}
            }
        }
        a
    }
}

/// The line before QMux on a connection that a peer began, and the answer to a dial that succeeded.
#[derive(Debug, Serialize)]
pub struct Connected {
    pub conn: u64,
    pub id: String,
    pub alpn: String,
    #[serde(flatten)]
    pub path: Path,
}

/// The answer to a dial that did not.
#[derive(Debug, PartialEq, Serialize)]
pub struct Refusal {
    pub error: String,
    pub code: Code,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The line is not a dial.
    BadRequest,
    /// No answer in time, or nothing is known of where the node is.
    Unreachable,
    /// The peer was reached and does not want.
    Refused,
    /// The peer was reached and speaks none of the ALPNs.
    Protocol,
    /// The id is this node's own.
    Itself,
    /// ec-iroh ends.
    Ending,
}

impl Refusal {
    pub fn new(code: Code, error: impl Into<String>) -> Self {
        Self { code, error: error.into() }
    }
}

/// What the starter wants to be connected to.
#[derive(Debug, PartialEq)]
pub struct Dial {
    pub to: EndpointAddr,
    pub alpns: Vec<String>,
    pub timeout: Duration,
}

impl FromStr for Dial {
    type Err = Refusal;

    fn from_str(line: &str) -> Result<Self, Refusal> {
        #[derive(Deserialize)]
        struct Raw {
            v: u64,
            dial: String,
            addrs: Option<BTreeSet<String>>,
            relay: Option<String>,
            alpns: Option<Vec<String>>,
            timeout_ms: Option<u64>,
        }
        let bad = |words: String| Refusal::new(Code::BadRequest, words);
        let raw: Raw = serde_json::from_str(line).map_err(|e| bad(format!("this is no dial: {e}")))?;
        if raw.v != 1 {
            return Err(bad(format!("version {} of a dial, and only 1 is known", raw.v)));
        }
        if raw.dial.len() != 64 {
            return Err(bad("a node's id has 64 hexadecimal digits".into()));
        }
        let id: EndpointId = raw.dial.parse().map_err(|e| bad(format!("the id {:?}: {e}", raw.dial)))?;
        let addrs = raw.addrs.unwrap_or_default();
        if addrs.len() > MAX_ADDRS {
            return Err(bad(format!("more than {MAX_ADDRS} addresses")));
        }
        let mut to = EndpointAddr::new(id);
        for addr in &addrs {
            to = to.with_ip_addr(addr.parse::<SocketAddr>().map_err(|_| bad(format!("the address {addr:?} is not IP:port")))?);
        }
        if let Some(url) = raw.relay.filter(|url| !url.is_empty()) {
            to = to.with_relay_url(url.parse::<RelayUrl>().map_err(|e| bad(format!("the relay {url:?}: {e}")))?);
        }
        let alpns = raw.alpns.unwrap_or_else(|| ALPNS.map(String::from).to_vec());
        if alpns.is_empty() || alpns.iter().any(|a| !ALPNS.contains(&a.as_str())) {
            return Err(bad(format!("alpns are some of {}", ALPNS.join(", "))));
        }
        let timeout = raw.timeout_ms.map_or(TIMEOUT, |ms| Duration::from_millis(ms.clamp(*TIMEOUTS.start(), *TIMEOUTS.end())));
        Ok(Self { to, alpns, timeout })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";

    #[test]
    fn dials() {
        let d: Dial = format!(
            r#"{{"v":1,"dial":"{ID}","addrs":["127.0.0.1:4433","[::1]:1"],"relay":"https://r.example","alpns":["moqt-16"],"timeout_ms":1,"new":0}}"#
        )
        .parse()
        .unwrap();
        assert_eq!((d.to.id.to_string().as_str(), d.alpns.as_slice(), d.timeout), (ID, &["moqt-16".to_string()][..], Duration::from_millis(100)));
        assert_eq!(d.to.ip_addrs().count(), 2);
        assert_eq!(d.to.relay_urls().map(|u| u.to_string()).collect::<Vec<_>>(), ["https://r.example/"]);

        let d: Dial = format!(r#"{{"v":1,"dial":"{ID}","addrs":null}}"#).parse().unwrap();
        assert_eq!((d.alpns.as_slice(), d.timeout), (&ALPNS.map(String::from)[..], TIMEOUT));
    }

    #[test]
    fn what_is_no_dial_is_told() {
        let short = &ID[1..];
        let many = (0..33).map(|n| format!("\"127.0.0.1:{n}\"")).collect::<Vec<_>>().join(",");
        for (line, words) in [
            (String::new(), "this is no dial"),
            ("GET / HTTP/1.1".into(), "this is no dial"),
            (r#"{"v":1}"#.into(), "this is no dial: missing field `dial`"),
            (format!(r#"{{"v":2,"dial":"{ID}"}}"#), "version 2"),
            (format!(r#"{{"v":1,"dial":"{short}"}}"#), "a node's id has 64"),
            (format!(r#"{{"v":1,"dial":"{}"}}"#, "zz".repeat(32)), "the id"),
            (format!(r#"{{"v":1,"dial":"{ID}","addrs":["example.org:1"]}}"#), "the address \"example.org:1\" is not IP:port"),
            (format!(r#"{{"v":1,"dial":"{ID}","addrs":[{many}]}}"#), "more than 32 addresses"),
            (format!(r#"{{"v":1,"dial":"{ID}","relay":"not a url"}}"#), "the relay"),
            (format!(r#"{{"v":1,"dial":"{ID}","alpns":["h3"]}}"#), "alpns are some of moqt-22, moqt-20, moqt-18, moqt-16"),
            (format!(r#"{{"v":1,"dial":"{ID}","alpns":[]}}"#), "alpns are some of"),
        ] {
            let e = line.parse::<Dial>().unwrap_err();
            assert_eq!(e.code, Code::BadRequest);
            assert!(e.error.starts_with(words), "{line}: {}", e.error);
        }
    }

    #[test]
    fn what_others_say_fits_into_a_line() {
        let words = crate::fail::brief(&String::from_utf8_lossy(&[0xff; 1400]));
        assert!(line(&Event::Gone { conn: u64::MAX, id: ID.into(), reason: words }).len() <= MAX_LINE);
        let words = crate::fail::brief(&"\"\u{2028}\n".repeat(2000));
        assert!(line(&Refusal::new(Code::Refused, words)).len() <= MAX_LINE);
        let many: Vec<_> = (0..200u16)
            .map(|n| {
                TransportAddr::Ip(SocketAddr::new(
                    std::net::Ipv6Addr::from([0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 10_000 + n]).into(),
                    65_535,
                ))
            })
            .collect();
        let at = Addrs::new(many.iter());
        assert_eq!(at.addrs.len(), MAX_ADDRS);
        assert!(line(&Event::Found { id: ID.into(), at }).len() <= MAX_LINE);
    }

    #[test]
    fn lines() {
        let path = || Path { path: "direct", addr: "192.0.2.1:4433".into(), rtt_us: 1200 };
        for (got, want) in [
            (
                line(&Event::Ready { id: ID.into(), at: Addrs { addrs: vec!["192.0.2.1:1".into()], relay: None } }),
                format!(r#"{{"v":1,"event":"ready","id":"{ID}","addrs":["192.0.2.1:1"]}}"#),
            ),
            (
                line(&Event::Peer { conn: 7, id: ID.into(), direction: "in", alpn: "moqt-18".into(), path: path() }),
                format!(
                    r#"{{"v":1,"event":"peer","conn":7,"id":"{ID}","direction":"in","alpn":"moqt-18","path":"direct","addr":"192.0.2.1:4433","rtt_us":1200}}"#
                ),
            ),
            (
                line(&Event::Gone { conn: 7, id: ID.into(), reason: "it\nended".into() }),
                format!(r#"{{"v":1,"event":"gone","conn":7,"id":"{ID}","reason":"it\nended"}}"#),
            ),
            (line(&Refusal::new(Code::BadRequest, "no")), r#"{"v":1,"error":"no","code":"bad-request"}"#.to_string()),
        ] {
            assert_eq!(got, want + "\n");
        }
    }
}
