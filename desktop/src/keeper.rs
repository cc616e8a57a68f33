//! Keeps a local relay running and joined, and says what is the case: one thread owns all of it.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::door;
use crate::memory::Target;
use crate::relay::{self, Place, Run, Said};

/// What is the case; the start view shows all but Page.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "at", rename_all = "snake_case")]
pub enum State {
    /// which relay to join is not known, or that one is of no use
    Ask { problem: Option<String> },
    /// it looks for relays on the local network
    Looking { found: Vec<door::Found> },
    /// the local relay is about to be ready
    Starting,
    /// it is, and the relay to join is not reached yet
    Reaching { relay: String, problem: Option<String> },
    /// the local relay is not running, and will be started at that time, in ms since 1970
    Ended { problem: String, again: u64 },
    /// the page is to be shown; away says why the relay to join is not reached, if so
    Page { url: String, away: Option<String> },
}

/// What the user wants.
#[derive(Debug)]
pub enum Wish {
    Join(Target),
    /// another relay is to be asked for
    Leave,
    /// the relays on the local network
    Look,
    /// the page, without the relay to join
    Anyway,
    Quit,
}

enum Message {
    Wish(Wish),
    Said(u64, Said),
}

/// Times that tests shorten.
#[derive(Clone, Copy)]
pub struct Times {
    /// before the relay is started again, first and at most; doubled each time
    pub pause: (Duration, Duration),
    /// a run of this length was a good one
    pub settled: Duration,
    /// within which it must be ready
    pub ready: Duration,
    /// within which it must end
    pub end: Duration,
    /// between looks at it
    pub look: Duration,
}

impl Default for Times {
    fn default() -> Self {
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        Times { pause: (ms(500), s(30)), settled: s(30), ready: s(20), end: s(5), look: ms(200) }
    }
}

/// Hands wishes to a keeper.
#[derive(Clone)]
pub struct Handle(Sender<Message>);

impl Handle {
    pub fn wish(&self, w: Wish) {
        let _ = self.0.send(Message::Wish(w)); // after Quit nobody cares
    }
}

pub struct Keeper {
    place: Place,
    times: Times,
    inbox: Receiver<Message>,
    outbox: Sender<Message>,
    show: Box<dyn Fn(&State) + Send>,

    state: State,
    target: Option<Target>,
    looking: bool, // without a target
    run: Option<Running>,
    runs: u64, // how many there were
    pause: Duration,
    again: Option<Instant>, // when to start
}

struct Running {
    run: Run,
    since: Instant,
    page: Option<String>,
    anyway: bool,
    joined: bool,
    why: Option<String>,     // the relay to join is not reached
    last: Option<String>,    // error
    looked: Option<Instant>, // when it was last asked; None: to be asked at once
    found: Vec<door::Found>,
}

impl Keeper {
    pub fn new(place: Place, times: Times, show: impl Fn(&State) + Send + 'static) -> (Keeper, Handle) {
        let (outbox, inbox) = mpsc::channel();
        let handle = Handle(outbox.clone());
        let state = State::Ask { problem: None };
        let pause = times.pause.0;
        let show = Box::new(show);
        (Keeper { place, times, inbox, outbox, show, state, target: None, looking: false, run: None, runs: 0, pause, again: None }, handle)
    }

    /// Blocks until Quit; then nothing runs any more.
    pub fn keep(mut self) {
        loop {
            match self.inbox.recv_timeout(self.times.look) {
                Ok(Message::Wish(Wish::Quit)) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(Message::Wish(w)) => self.grant(w),
                Ok(Message::Said(of, said)) if of == self.runs => self.hear(said),
                Ok(Message::Said(..)) | Err(RecvTimeoutError::Timeout) => {}
            }
            self.look();
        }
        self.stop();
    }

    fn turn(&mut self, state: State) {
        if state != self.state {
            self.state = state;
            (self.show)(&self.state);
        }
    }

    fn stop(&mut self) {
        self.again = None;
        if let Some(r) = self.run.take() {
            r.run.end(self.times.end);
        }
        self.runs += 1; // whatever the last one still says is not heard
    }

    fn grant(&mut self, w: Wish) {
        match w {
            Wish::Join(target) => {
                self.stop();
                (self.target, self.looking) = (Some(target), false);
                self.pause = self.times.pause.0;
                self.start();
            }
            Wish::Leave => {
                self.stop();
                (self.target, self.looking) = (None, false);
                self.turn(State::Ask { problem: None });
            }
            Wish::Look => {
                self.stop();
                (self.target, self.looking) = (None, true);
                self.pause = self.times.pause.0;
                self.start();
            }
            Wish::Anyway => {
                if let Some(r) = &mut self.run {
                    r.anyway = true;
                }
                self.tell();
            }
            Wish::Quit => {}
        }
    }

    fn start(&mut self) {
        if self.target.is_none() && !self.looking {
            return;
        }
        self.again = None;
        self.runs += 1;
        let (of, outbox) = (self.runs, self.outbox.clone());
        match Run::start(&self.place, self.target.as_ref(), move |said| drop(outbox.send(Message::Said(of, said)))) {
            Ok(run) => {
                let now = Instant::now();
                self.run = Some(Running {
                    run,
                    since: now,
                    page: None,
                    anyway: false,
                    joined: false,
                    why: None,
                    last: None,
                    looked: Some(now),
                    found: Vec::new(),
                });
                self.tell();
            }
            Err(e) => {
                let program = self.place.program.display();
                self.later(match e.kind() {
                    std::io::ErrorKind::NotFound => format!("The local relay is missing: there is no {program}. Install every.channel again."),
                    _ => format!("The local relay {program} does not start: {e}."),
                });
            }
        }
    }

    /// Starts again after a pause, longer each time.
    fn later(&mut self, problem: String) {
        let again = self.pause;
        self.again = Some(Instant::now() + again);
        self.pause = (2 * self.pause).min(self.times.pause.1);
        let at = SystemTime::now() + again;
        let at = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.turn(State::Ended { problem, again: at.as_millis() as u64 });
    }

    fn hear(&mut self, said: Said) {
        let Some(r) = &mut self.run else { return };
        match said {
            Said::Ready(page) => r.page = Some(page),
            Said::Joined(Ok(())) => (r.joined, r.why) = (true, None),
            Said::Joined(Err(why)) => {
                r.why = Some(why);
                r.looked = None; // is the session still there?
            }
            Said::Error(e) => r.last = Some(e),
        }
        self.tell();
    }

    /// Says where the run is.
    fn tell(&mut self) {
        let Some(r) = &self.run else { return };
        let Some(target) = &self.target else {
            let found = r.found.clone();
            return self.turn(State::Looking { found });
        };
        let away = (!r.joined).then(|| r.why.clone().unwrap_or_else(|| "no answer yet".to_owned()));
        let shown = matches!(self.state, State::Page { .. });
        let state = match &r.page {
            None => State::Starting,
            Some(page) if r.joined || r.anyway || shown => State::Page { url: page.clone(), away },
            Some(_) => State::Reaching { relay: target.name(), problem: r.why.clone() },
        };
        self.turn(state);
    }

    fn look(&mut self) {
        if self.again.is_some_and(|at| Instant::now() >= at) {
            self.start();
        }
        let Some(r) = &mut self.run else { return };
        if let Some(status) = r.run.ended() {
            // What it said last may still be on its way.
            let (until, mut wishes) = (Instant::now() + Duration::from_millis(200), Vec::new());
            while r.last.is_none()
                && let Ok(m) = self.inbox.recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                match m {
                    Message::Said(of, Said::Error(e)) if of == self.runs => r.last = Some(e),
                    Message::Said(..) => {}
                    Message::Wish(w) => wishes.push(w),
                }
            }
            for w in wishes {
                let _ = self.outbox.send(Message::Wish(w)); // later
            }
            let words = relay::words(status, r.last.as_deref());
            if r.since.elapsed() > self.times.settled {
                self.pause = self.times.pause.0;
            }
            self.run = None;
            if relay::is_final(status) {
                (self.target, self.looking) = (None, false);
                self.turn(State::Ask { problem: Some(words) });
            } else {
                self.later(words);
            }
            return;
        }
        if r.page.is_none() {
            if r.since.elapsed() > self.times.ready {
                self.stop();
                self.later(format!("The local relay was not ready within {} s.", self.times.ready.as_secs()));
            }
            return;
        }
        if r.looked.is_none_or(|at| at.elapsed() > Duration::from_secs(2)) {
            r.looked = Some(Instant::now());
            let socket = self.place.store.join("admin.sock");
            if self.looking {
                if let Ok(found) = door::found(&socket) {
                    r.found = found;
                    self.tell();
                }
                return;
            }
            if let Ok(joined) = door::reached(&socket) {
                r.joined = joined;
                if joined {
                    r.why = None;
                }
                self.tell();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::thread;

    /// A keeper of a script in place of ec-relay; each start adds a line to the file runs.
    struct Test {
        dir: PathBuf,
        handle: Handle,
        states: Receiver<State>,
        kept: Option<thread::JoinHandle<()>>,
    }

    fn keep(name: &str, script: Option<&str>) -> Test {
        let dir = crate::test_folder(name);
        let program = dir.join("ec-relay");
        if let Some(script) = script {
            let begin = format!("#!/bin/sh\ncd '{}'\necho $$ >>runs\n", dir.display());
            std::fs::write(&program, begin + script).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        }
        let ms = Duration::from_millis;
        let times = Times { pause: (ms(20), ms(80)), settled: ms(2000), ready: ms(3000), end: ms(1000), look: ms(10) };
        let (tell, states) = mpsc::channel();
        let tell = std::sync::Mutex::new(tell);
        let place = Place { program, store: dir.join("store") };
        let (keeper, handle) = Keeper::new(place, times, move |s| drop(tell.lock().unwrap().send(s.clone())));
        let kept = Some(thread::spawn(move || keeper.keep()));
        let to = "moqt://a:4443".into();
        handle.wish(Wish::Join(Target { to, fingerprint: String::new() }));
        Test { dir, handle, states, kept }
    }

    impl Test {
        /// The next state for which test holds.
        fn until(&self, test: impl Fn(&State) -> bool) -> State {
            loop {
                match self.states.recv_timeout(Duration::from_secs(10)) {
                    Ok(s) if test(&s) => return s,
                    Ok(_) => {}
                    Err(e) => panic!("not within 10 s: {e}"),
                }
            }
        }

        fn pids(&self) -> Vec<String> {
            let runs = std::fs::read_to_string(self.dir.join("runs")).unwrap_or_default();
            runs.lines().map(str::to_owned).collect()
        }

        fn quit(mut self) -> Vec<String> {
            self.handle.wish(Wish::Quit);
            self.kept.take().unwrap().join().unwrap();
            let pids = self.pids();
            for pid in &pids {
                assert!(!PathBuf::from(format!("/proc/{pid}")).exists(), "{pid} is left");
            }
            pids
        }
    }

    const READY: &str = r#"echo '{"v":1,"http":["http://127.0.0.1:4080/"]}'; "#;
    const REACHED: &str = r#"echo '{"level":"INFO","msg":"upstream","upstream":"x"}' >&2; "#;
    const AWAY: &str = r#"echo '{"level":"WARN","msg":"relay lost","relay":"x","error":"gone"}' >&2; "#;

    fn problem(s: &State) -> &str {
        match s {
            State::Ask { problem: Some(p) } | State::Ended { problem: p, .. } | State::Reaching { problem: Some(p), .. } => p,
            _ => "",
        }
    }

    #[test]
    fn reached_then_quit() {
        let t = keep("reached", Some(&format!("{READY}sleep 0.2; {REACHED}read x; exit 0")));
        t.until(|s| matches!(s, State::Starting));
        t.until(|s| matches!(s, State::Reaching { problem: None, .. }));
        let s = t.until(|s| matches!(s, State::Page { .. }));
        assert_eq!(s, State::Page { url: "http://127.0.0.1:4080/".into(), away: None });
        assert_eq!(t.quit().len(), 1);
    }

    #[test]
    fn not_reached_shown_anyway() {
        let t = keep("anyway", Some(&format!("{READY}{AWAY}read x; exit 0")));
        t.until(|s| problem(s) == "gone");
        t.handle.wish(Wish::Anyway);
        t.until(|s| matches!(s, State::Page { away: Some(why), .. } if why == "gone"));
        t.handle.wish(Wish::Leave);
        t.until(|s| *s == State::Ask { problem: None });
        t.quit();
    }

    #[test]
    fn looks_for_relays_without_one_to_join() {
        let t = keep("looks", Some(&format!("{READY}echo \"${{EC_RELAY_UPSTREAM-none}} $*\" >>args; read x; exit 0")));
        t.until(|s| matches!(s, State::Reaching { .. }));
        std::fs::write(t.dir.join("ec-iroh"), "").unwrap();
        t.handle.wish(Wish::Look);
        assert_eq!(t.until(|s| matches!(s, State::Looking { .. })), State::Looking { found: vec![] });
        let args = loop {
            let args = std::fs::read_to_string(t.dir.join("args")).unwrap();
            if args.lines().count() > 1 {
                break args;
            }
            thread::sleep(Duration::from_millis(5));
        };
        let (join, look) = args.split_once('\n').unwrap();
        assert!(join.starts_with("moqt://a:4443 ") && !join.contains("iroh"), "{join}");
        assert!(look.starts_with("none ") && look.contains("--iroh --iroh-dial-only --mdns"), "{look}");
        t.handle.wish(Wish::Leave);
        t.until(|s| *s == State::Ask { problem: None });
        t.quit();
    }

    #[test]
    fn dies_and_is_started_again() {
        let t = keep("dies", Some(&format!("{READY}{REACHED}[ $(wc -l <runs) -gt 3 ] || kill -9 $$; read x; exit 0")));
        for _ in 0..3 {
            let s = t.until(|s| matches!(s, State::Ended { .. }));
            assert!(problem(&s).contains("signal 9"), "{s:?}");
        }
        t.until(|s| matches!(s, State::Page { away: None, .. }));
        assert_eq!(t.quit().len(), 4);
    }

    #[test]
    fn says_why() {
        for (name, script, want, asks) in [
            ("missing", None, "there is no", false),
            ("usage", Some("echo 'ec-relay: error: not an address' >&2; exit 64"), "not an address", true),
            ("busy", Some("exit 75"), "Another window", false),
            ("silent", Some("read x"), "not ready within", false),
            ("nonsense", Some("echo hello; sleep 0.1; exit 1"), "first line is not understood", false),
        ] {
            let t = keep(name, script);
            let s = t.until(|s| !problem(s).is_empty());
            assert!(problem(&s).contains(want), "{name}: {s:?}");
            assert_eq!(matches!(s, State::Ask { .. }), asks, "{name}: {s:?}");
            t.quit();
        }
    }

    #[test]
    fn one_that_does_not_end_is_killed() {
        let t = keep("stubborn", Some(&format!("{READY}{REACHED}while :; do sleep 0.05; done")));
        t.until(|s| matches!(s, State::Page { .. }));
        t.quit();
    }
}
