//! Keeps a local relay running and joined, and says what is the case: one thread owns all of it.

use std::io;
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
    /// between questions at its door
    pub ask: Duration,
    /// within which it must answer there
    pub answer: Duration,
}

impl Default for Times {
    fn default() -> Self {
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        Times { pause: (ms(500), s(30)), settled: s(30), ready: s(20), end: s(5), look: ms(200), ask: s(2), answer: s(20) }
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
    heard: Instant,          // when its door last did anything but keep one waiting
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
                    heard: now,
                    found: Vec::new(),
                });
                self.tell();
            }
            Err(e) => {
                let program = self.place.program.display();
                self.later(match e.kind() {
                    io::ErrorKind::NotFound => format!("The local relay is missing: there is no {program}. Install every.channel again."),
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
        if r.looked.is_none_or(|at| at.elapsed() > self.times.ask) {
            self.ask();
        }
    }

    /// Asks the run at its door how it is.
    fn ask(&mut self) {
        let Some(r) = &mut self.run else { return };
        let now = Instant::now();
        let asked = if self.looking {
            door::found(&self.place.store).map(|found| r.found = found)
        } else {
            door::reached(&self.place.store).map(|joined| {
                r.joined = joined;
                if joined {
                    r.why = None;
                }
            })
        };
        r.looked = Some(now);
        match asked {
            Ok(()) => {
                r.heard = now;
                self.tell();
            }
            // It is there, and stuck.
            Err(e) if is_silence(&e) && now.duration_since(r.heard) > self.times.answer => {
                self.stop();
                self.later(format!("The local relay has not answered for {} s.", self.times.answer.as_secs()));
            }
            Err(e) if is_silence(&e) => {}
            Err(_) => r.heard = now, // of no use, but an answer
        }
    }
}

/// Reports whether nothing came in all the time that one waited.
fn is_silence(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests;
