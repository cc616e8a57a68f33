//! What a keeper of a script in place of ec-relay does.

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
    let times = Times { pause: (ms(20), ms(80)), settled: ms(2000), ready: ms(3000), end: ms(1000), look: ms(10), ask: ms(20), answer: ms(100) };
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

#[test]
fn one_that_does_not_answer_is_started_again() {
    let t = keep("deaf", Some(&format!("{READY}{REACHED}read x; exit 0")));
    t.until(|s| matches!(s, State::Page { .. }));
    // A door behind which nobody is: connections stand in its queue.
    let door = std::os::unix::net::UnixListener::bind(t.dir.join("store/admin.sock")).unwrap();
    let s = t.until(|s| matches!(s, State::Ended { .. }));
    assert!(problem(&s).contains("has not answered"), "{s:?}");
    drop(door); // who asks now is refused, and that is an answer
    t.until(|s| matches!(s, State::Page { .. }));
    thread::sleep(Duration::from_millis(300));
    assert!(t.quit().len() >= 2);
}
