//! One run of the local `ec-relay`: started with `--exit-with-stdin`, so that it ends with this process however that ends.

use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::memory::Target;

/// Where the program and its store are.
#[derive(Clone, Debug)]
pub struct Place {
    pub program: PathBuf,
    pub store: PathBuf,
}

impl Place {
    /// Reports whether there is an ec-iroh beside ec-relay: without it relays are reached by address alone.
    pub fn has_iroh(&self) -> bool {
        self.program.with_file_name("ec-iroh").exists()
    }
}

/// How the retained past is bounded: the page goes five minutes back, and a disk of a desktop is small.
const RETAIN: [&str; 4] = ["--retain", "6h", "--max-bytes", "8GiB"];

/// What a run says.
#[derive(Debug, PartialEq)]
pub enum Said {
    /// the page is at this URL
    Ready(String),
    /// the relay to join was reached or not, for this reason
    Joined(Result<(), String>),
    /// what it said before it ended, for people
    Error(String),
}

/// The one line on stdout (docs/relay.md).
#[derive(Deserialize)]
struct Ready {
    v: u32,
    http: Vec<String>,
}

/// A line of the log, of which some keys matter here.
#[derive(Deserialize)]
struct Event {
    level: String,
    msg: String,
    upstream: Option<String>,
    relay: Option<String>,
    #[serde(alias = "err")]
    error: Option<String>,
}

pub struct Run {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Run {
    /// Starts the relay; without a target it looks for others on the local network. What it says comes through tell, from other
    /// threads, until it ended.
    pub fn start(place: &Place, target: Option<&Target>, tell: impl Fn(Said) + Clone + Send + 'static) -> io::Result<Run> {
        crate::memory::private_folder(&place.store)?;
        let mut c = Command::new(&place.program);
        // A ticket holds a secret: others see a command line, and nobody else the environment.
        for (name, _) in std::env::vars_os().filter(|(n, _)| n.as_encoded_bytes().starts_with(b"EC_")) {
            c.env_remove(name);
        }
        if let Some(t) = target {
            c.env(if t.is_id() { "EC_RELAY_PEER" } else { "EC_RELAY_UPSTREAM" }, &t.to);
            if !t.fingerprint.is_empty() {
                c.env("EC_RELAY_FINGERPRINT", &t.fingerprint);
            }
        }
        if place.has_iroh() && target.is_none_or(|t| !t.is_address()) {
            c.args(["--iroh", "--iroh-dial-only"]);
            c.args(target.is_none_or(Target::is_id).then_some("--mdns"));
        }
        c.args(["--exit-with-stdin", "--http", "127.0.0.1:0", "--log", "json"]).args(RETAIN);
        // It takes sessions of others nowhere but at a socket in its store, which only the user may open. The folder stands in the address
        // as this: its own name may be too long for a socket, or hold what means something else in an address.
        c.current_dir(&place.store).arg("--store").arg(&place.store).args(["--listen", "unix:///proc/self/cwd/relay.sock"]);
        let mut child = c.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdout), Some(stderr)) = (stdout, stderr) else { unreachable!("both are piped") };
        let told = tell.clone();
        thread::spawn(move || {
            let mut out = BufReader::new(stdout.take(1 << 20));
            let mut line = String::new();
            match out.read_line(&mut line).map_err(|e| e.to_string()).and_then(|_| page_in(&line)) {
                Ok(page) => told(Said::Ready(page)),
                Err(_) if line.is_empty() => {} // it ended, and says why elsewhere
                Err(why) => told(Said::Error(format!("the local relay's first line is not understood: {why}"))),
            }
            let _ = io::copy(&mut out, &mut io::sink());
        });
        thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line);
                eprintln!("{line}");
                if let Some(said) = understand(&line) {
                    tell(said);
                }
            }
        });
        Ok(Run { child, stdin })
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Ends it in order, or, if that takes longer than patience, at once.
    pub fn end(mut self, patience: Duration) {
        drop(self.stdin.take());
        let until = Instant::now() + patience;
        while self.ended().is_none() {
            if Instant::now() > until {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The page's URL in the line that tells of readiness. It must be on this machine: the window shows nothing else.
fn page_in(line: &str) -> Result<String, String> {
    let r: Ready = serde_json::from_str(line).map_err(|e| e.to_string())?;
    if r.v != 1 {
        return Err(format!("version {}", r.v));
    }
    let page = r.http.into_iter().next().ok_or("no page in it")?;
    match page.strip_prefix("http://127.0.0.1:").and_then(|rest| rest.strip_suffix('/')) {
        Some(port) if port.parse::<u16>().is_ok_and(|p| p > 0) => Ok(page),
        _ => Err(format!("its page is not on this machine: {page}")),
    }
}

fn understand(line: &str) -> Option<Said> {
    let Ok(e) = serde_json::from_str::<Event>(line) else {
        // The last word of Go's runtime is no log line, nor is that of an ec-relay which knows no errors in JSON.
        let words = line.trim().trim_start_matches("ec-relay: ").trim_start_matches("error: ");
        return (!words.is_empty() && !words.starts_with("hint: ")).then(|| Said::Error(words.to_owned()));
    };
    if e.msg.starts_with("peer takes this relay for an ordinary client") {
        return None; // which is enough to watch
    }
    let of_the_upstream = e.upstream.is_some() || e.relay.is_some();
    match (e.level.as_str(), of_the_upstream) {
        ("WARN" | "ERROR", true) => Some(Said::Joined(Err(e.error.unwrap_or(e.msg)))),
        ("INFO", true) if e.msg == "upstream" => Some(Said::Joined(Ok(()))),
        ("ERROR", false) if e.msg == "ended" => Some(Said::Error(e.error.unwrap_or(e.msg))), // its last word; the hint in it is for a command line
        ("ERROR", false) => Some(Said::Error(match e.error {
            Some(error) => format!("{}: {error}", e.msg),
            None => e.msg,
        })),
        _ => None,
    }
}

/// How a run ended, in words.
pub fn words(status: ExitStatus, last: Option<&str>) -> String {
    let how = match (status.code(), status.signal()) {
        (Some(0), _) => "The local relay ended.".to_owned(),
        (Some(64 | 78), _) => "The local relay cannot use what it was given.".to_owned(),
        (Some(69), _) => "The local relay did not find what it needs.".to_owned(),
        (Some(70), _) => "The local relay failed through a bug in it.".to_owned(),
        (Some(74), _) => "The local relay could not read or write its files; is the disk full?".to_owned(),
        (Some(75), _) => "Another window of every.channel is open, or another program uses its files.".to_owned(),
        (Some(77), _) => "The local relay is not allowed to do what it must.".to_owned(),
        (Some(code), _) => format!("The local relay failed (exit {code})."),
        (None, Some(signal)) => format!("The local relay was ended by signal {signal}."),
        (None, None) => "The local relay ended.".to_owned(),
    };
    match last {
        Some(last) => format!("{how} It said: {last}"),
        None => how,
    }
}

/// Reports whether it is of no use to start the relay again with the same target.
pub fn is_final(status: ExitStatus) -> bool {
    matches!(status.code(), Some(64 | 78))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_line() {
        for (line, want) in [
            (r#"{"v":1,"listen":[],"http":["http://127.0.0.1:4080/"],"fingerprint":"x","new":1}"#, Ok("http://127.0.0.1:4080/")),
            (r#"{"v":1,"http":["http://127.0.0.1:4080/","http://127.0.0.1:9/"]}"#, Ok("http://127.0.0.1:4080/")),
            (r#"{"v":1,"http":[]}"#, Err("no page")),
            (r#"{"v":2,"http":["http://127.0.0.1:4080/"]}"#, Err("version 2")),
            (r#"{"v":1,"http":["http://192.0.2.1:4080/"]}"#, Err("not on this machine")),
            (r#"{"v":1,"http":["http://127.0.0.1:4080@192.0.2.1/"]}"#, Err("not on this machine")),
            (r#"{"v":1,"http":["http://127.0.0.1:0/"]}"#, Err("not on this machine")),
            ("ready\n", Err("expected")),
        ] {
            match (page_in(line), want) {
                (Ok(got), Ok(want)) => assert_eq!(got, want),
                (Err(got), Err(want)) => assert!(got.contains(want), "{line}: {got}"),
                (got, _) => panic!("{line}: {got:?}"),
            }
        }
    }

    #[test]
    fn log() {
        let away = |s: &str| Some(Said::Joined(Err(s.into())));
        for (line, want) in [
            (r#"{"time":"x","level":"INFO","msg":"ready","listen":[{"Addr":{}}]}"#, None),
            (r#"{"level":"INFO","msg":"upstream","upstream":"moqt://a:1","draft":18}"#, Some(Said::Joined(Ok(())))),
            (r#"{"level":"WARN","msg":"relay not reached, trying again","relay":"moqt://a:1","error":"timeout","pause":1}"#, away("timeout")),
            (r#"{"level":"ERROR","msg":"upstream refused, trying again later","upstream":"moqt://a:1","err":"no"}"#, away("no")),
            (r#"{"level":"WARN","msg":"continuity gap","pid":1}"#, None),
            (r#"{"level":"WARN","msg":"peer takes this relay for an ordinary client: it lists no key","upstream":"iroh://ab"}"#, None),
            (r#"{"level":"ERROR","msg":"disk","err":"full"}"#, Some(Said::Error("disk: full".into()))),
            (
                r#"{"level":"ERROR","msg":"ended","err":"--upstream: not an address","code":64,"hint":"an address reads moqt://relay:4443"}"#,
                Some(Said::Error("--upstream: not an address".into())),
            ),
            ("ec-relay: error: --upstream: not an address", Some(Said::Error("--upstream: not an address".into()))),
            ("ec-relay: hint: an address reads moqt://relay:4443", None),
            ("panic: no", Some(Said::Error("panic: no".into()))),
            ("", None),
        ] {
            assert_eq!(understand(line), want, "{line}");
        }
    }
}
