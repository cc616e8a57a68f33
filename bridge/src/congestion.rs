//! The congestion controller: packets leave at 1.25 × the rate at which what was sent is seen to arrive, whatever is lost on
//! the way. A controller that takes every loss for a full queue (NewReno, Cubic) carries less than a broadcast at 1 % of
//! random loss. This one takes a queue for a queue: when sending more made packets take longer it sends less than arrives for up
//! to three round trips, and then, or when it did not make more arrive, as much as arrives for six, before the next try. The queue of
//! a neighbour does not make it give way for good: what arrived in the try is what counts.
//!
//! The rate is measured as in BBR (draft-ietf-ccwg-bbr §4.1): bytes acknowledged between the sending of a packet and its
//! acknowledgement, by the longer one of the times in which they were sent and acknowledged.

use std::{
    any::Any,
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use iroh::endpoint::{Controller, ControllerFactory, ControllerMetrics, RttEstimator};

/// So many rounds that made more arrive, and no queue, begin a new start: the one before ended too early, as when a busy machine made packets late,
/// or the path has more room than it had.
const STREAK: u32 = 2;

/// How much faster than what arrives.
const GAIN: f64 = 1.25;
/// As long as the rate still grows from nothing.
const START_GAIN: f64 = 2.0;
/// When sending more made nothing more arrive.
const CRUISE_GAIN: f64 = 1.0;
/// While a queue is to become shorter, and for how many round trips at most.
const DRAIN_GAIN: f64 = 0.8;
const DRAIN_ROUNDS: u32 = 3;
/// Round trips at CRUISE_GAIN before the next try.
const CRUISE_ROUNDS: u32 = 6;
/// Less growth than this in a round is none.
const GROWTH: f64 = 1.1;
/// So many rounds without growth end the start.
const START_ROUNDS: u32 = 3;

/// noq's pacer lets nobody make up for a sleep of more than 2 to 10 ms, of which a busy machine has many. What was not sent then would be taken for
/// what does not arrive, and less be sent each time. So packets leave this much faster after a sleep, until what was missed in it is sent, of
/// this long at most.
const HURRY: f64 = 8.0;
const LONGEST_SLEEP: Duration = Duration::from_millis(50);

/// The rate is the highest one of the last one or two of these, and of as many round trips.
const RATE_SPAN: Duration = Duration::from_secs(2);
const RATE_ROUNDS: u32 = 8;
/// A shorter round trip is forgotten after one or two of these: the path may have become longer.
const RTT_SPAN: Duration = Duration::from_secs(10);

/// A queue is what makes a round trip this much longer than the shortest.
const QUEUE_SHARE: f64 = 0.25;
const QUEUE_MIN: Duration = Duration::from_millis(10);

/// The initial window in packets; RFC 9002 §7.2 has 10, which QUIC stacks of today exceed.
const INITIAL_PACKETS: u64 = 32;
const MIN_PACKETS: u64 = 8;
/// Acknowledgements may come this much late (RFC 9000 §18.2, max_ack_delay).
const ACK_DELAY: Duration = Duration::from_millis(25);
/// And this much, however short the path is: the other side must wait for its turn on a busy machine.
const TURN: Duration = Duration::from_millis(4);
/// A packet of which nothing was heard for so long is not waited for.
const FORGET: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Factory;

impl ControllerFactory for Factory {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        Box::new(Paced::new(now, mtu))
    }
}

/// The best of one or two spans: the current one and the one before.
#[derive(Debug, Clone)]
struct Best<T> {
    since: Instant,
    now: Option<T>,
    before: Option<T>,
}

impl<T: PartialOrd + Copy> Best<T> {
    fn new(since: Instant) -> Self {
        Self { since, now: None, before: None }
    }

    fn add(&mut self, at: Instant, span: Duration, value: T, better: fn(&T, &T) -> bool) {
        if at.saturating_duration_since(self.since) >= span {
            (self.since, self.before, self.now) = (at, self.now, None);
        }
        if self.now.is_none_or(|best| better(&value, &best)) {
            self.now = Some(value);
        }
    }

    fn get(&self, better: fn(&T, &T) -> bool) -> Option<T> {
        match (self.now, self.before) {
            (Some(a), Some(b)) => Some(if better(&b, &a) { b } else { a }),
            (a, b) => a.or(b),
        }
    }
}

fn more(a: &f64, b: &f64) -> bool {
    a > b
}

fn shorter(a: &Duration, b: &Duration) -> bool {
    a < b
}

#[derive(Debug, Clone)]
struct Sent {
    pn: u64,
    at: Instant,
    /// What had arrived, when that became known, and when the first packet of the interval was sent.
    delivered: u64,
    delivered_at: Instant,
    first_sent_at: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Start { without_growth: u32 },
    Probe,
    Drain { rounds: u32 },
    Cruise { rounds: u32 },
}

#[derive(Debug, Clone)]
pub struct Paced {
    mtu: u64,
    sent: VecDeque<Sent>,
    delivered: u64,
    delivered_at: Instant,
    first_sent_at: Instant,
    /// The packet acknowledged in this batch that was sent last.
    latest: Option<Sent>,

    rate: Best<f64>, // bytes per second
    rtt: Best<Duration>,
    phase: Phase,

    /// A round ends when a packet is acknowledged that was sent after its beginning.
    round_end: u64,
    round_rtt: Option<Duration>,
    /// The shortest round trip of the last round.
    last_rtt: Duration,
    round_rate: f64,
    /// The rate that growth is measured against.
    level: f64,
    /// Whether there was always more to send in this round.
    round_full: bool,
    /// How many rounds made more arrive since a queue, or a try that did not.
    streak: u32,

    /// Bytes that could have been sent by now, and were not because this process slept.
    owed: f64,
    /// When the last packet left, unless there was nothing more to send since.
    left_at: Option<Instant>,
}

impl Paced {
    pub fn new(now: Instant, mtu: u16) -> Self {
        Self {
            mtu: mtu.into(),
            sent: VecDeque::new(),
            delivered: 0,
            delivered_at: now,
            first_sent_at: now,
            latest: None,
            rate: Best::new(now),
            rtt: Best::new(now),
            phase: Phase::Start { without_growth: 0 },
            round_end: 0,
            round_rtt: None,
            last_rtt: Duration::ZERO,
            round_rate: 0.0,
            level: 0.0,
            round_full: true,
            streak: 0,
            owed: 0.0,
            left_at: None,
        }
    }

    fn gain(&self) -> f64 {
        match self.phase {
            Phase::Start { .. } => START_GAIN,
            Phase::Probe => GAIN,
            Phase::Drain { .. } => DRAIN_GAIN,
            Phase::Cruise { .. } => CRUISE_GAIN,
        }
    }

    fn min_rtt(&self) -> Option<Duration> {
        self.rtt.get(shorter)
    }

    /// The rate at which packets are to leave.
    fn wanted_rate(&self) -> Option<f64> {
        let floor = self.mtu as f64 * MIN_PACKETS as f64 / self.min_rtt()?.max(Duration::from_millis(1)).as_secs_f64();
        Some((self.rate.get(more)? * self.gain()).max(floor))
    }

    /// What the pacer is told.
    fn pacing_rate(&self) -> Option<u64> {
        let hurry = if self.owed > self.mtu as f64 { HURRY } else { 1.0 };
        Some((self.wanted_rate()? * hurry) as u64)
    }

    fn owe(&mut self, now: Instant, sent: u16) {
        let rate = self.wanted_rate().unwrap_or_default();
        let since = self.left_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let owed = (self.owed + rate * since.as_secs_f64()).min(rate * LONGEST_SLEEP.as_secs_f64());
        (self.owed, self.left_at) = ((owed - f64::from(sent)).max(-(self.mtu as f64)), Some(now));
    }

    fn take(&mut self, pn: u64, at: Instant) -> Option<Sent> {
        if self.sent.front().is_some_and(|s| s.pn == pn) {
            return self.sent.pop_front();
        }
        let n = self.sent.partition_point(|s| s.at < at);
        let n = n + self.sent.range(n..).take_while(|s| s.at == at).position(|s| s.pn == pn)?;
        self.sent.remove(n)
    }

    fn acknowledged(&mut self, now: Instant, sent: Instant, bytes: u64, pn: u64, app_limited: bool) {
        self.delivered += bytes;
        self.delivered_at = now;
        self.round_full &= !app_limited;
        if app_limited {
            (self.owed, self.left_at) = (0.0, None);
        }
        let rtt = now.saturating_duration_since(sent);
        self.rtt.add(now, RTT_SPAN, rtt, shorter);
        self.round_rtt = Some(self.round_rtt.map_or(rtt, |least| least.min(rtt)));
        if let Some(packet) = self.take(pn, sent)
            && self.latest.as_ref().is_none_or(|latest| packet.at >= latest.at)
        {
            self.latest = Some(packet);
        }
    }

    /// What the round that ended tells.
    fn end_round(&mut self) {
        let grew = self.round_rate >= self.level * GROWTH;
        if grew {
            self.level = self.round_rate;
        }
        let queue = match (self.round_rtt, self.min_rtt()) {
            (Some(rtt), Some(min)) => rtt.saturating_sub(min) > min.mul_f64(QUEUE_SHARE).max(QUEUE_MIN),
            _ => false,
        };
        self.streak = match self.phase {
            _ if queue => 0,
            Phase::Cruise { rounds } if !grew && rounds + 1 >= CRUISE_ROUNDS => 0,
            _ => self.streak + u32::from(grew),
        };
        self.phase = match self.phase {
            Phase::Start { .. } | Phase::Probe if queue => Phase::Drain { rounds: 0 },
            Phase::Drain { rounds } if queue && rounds + 1 < DRAIN_ROUNDS => Phase::Drain { rounds: rounds + 1 },
            Phase::Drain { .. } => Phase::Cruise { rounds: 0 },
            Phase::Cruise { .. } if grew && !queue && self.streak >= STREAK => Phase::Start { without_growth: 0 },
            Phase::Cruise { .. } if grew && !queue => Phase::Probe,
            Phase::Cruise { rounds } if rounds + 1 < CRUISE_ROUNDS => Phase::Cruise { rounds: rounds + 1 },
            Phase::Cruise { .. } => {
                self.level = self.rate.get(more).unwrap_or_default().min(self.level);
                Phase::Probe
            }
            phase if !self.round_full => phase, // less was sent than might have been: nothing is known
            Phase::Start { .. } if grew => Phase::Start { without_growth: 0 },
            Phase::Start { without_growth } if without_growth + 1 < START_ROUNDS => Phase::Start { without_growth: without_growth + 1 },
            Phase::Probe if grew => Phase::Probe,
            Phase::Start { .. } | Phase::Probe => Phase::Cruise { rounds: 0 },
        };
        self.last_rtt = self.round_rtt.unwrap_or(self.last_rtt);
        (self.round_rtt, self.round_rate, self.round_full) = (None, 0.0, true);
    }
}

impl Controller for Paced {
    fn on_packet_sent(&mut self, now: Instant, bytes: u16, pn: u64) {
        self.owe(now, bytes);
        while self.sent.front().is_some_and(|s| now.saturating_duration_since(s.at) > FORGET) {
            self.sent.pop_front();
        }
        if self.sent.is_empty() {
            (self.first_sent_at, self.delivered_at) = (now, now);
        }
        self.sent.push_back(Sent { pn, at: now, delivered: self.delivered, delivered_at: self.delivered_at, first_sent_at: self.first_sent_at });
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, pn: u64, app_limited: bool, _rtt: &RttEstimator) {
        self.acknowledged(now, sent, bytes, pn, app_limited);
    }

    fn on_end_acks(&mut self, now: Instant, _in_flight: u64, _app_limited: bool, _largest: Option<u64>) {
        let (Some(packet), Some(min_rtt)) = (self.latest.take(), self.min_rtt()) else { return };
        self.first_sent_at = packet.at;
        let sending = packet.at.saturating_duration_since(packet.first_sent_at);
        let arriving = now.saturating_duration_since(packet.delivered_at);
        let interval = sending.max(arriving).max(min_rtt).max(Duration::from_micros(10));
        let rate = (self.delivered - packet.delivered) as f64 / interval.as_secs_f64();
        self.rate.add(now, RATE_SPAN.max(RATE_ROUNDS * min_rtt), rate, more);
        self.round_rate = self.round_rate.max(rate);
        if packet.delivered >= self.round_end {
            self.round_end = self.delivered;
            self.end_round();
        }
    }

    fn on_packet_lost(&mut self, _bytes: u16, pn: u64, _now: Instant) {
        if let Some(n) = self.sent.iter().position(|s| s.pn == pn) {
            self.sent.remove(n);
        }
    }

    fn on_congestion_event(&mut self, _now: Instant, _sent: Instant, persistent: bool, ecn: bool, _lost: u64, _largest: u64) {
        if ecn && matches!(self.phase, Phase::Start { .. } | Phase::Probe) {
            self.phase = Phase::Drain { rounds: 0 };
        }
        if persistent {
            // Nothing at all arrived for several timeouts: the path may be another one now.
            for rate in [&mut self.rate.now, &mut self.rate.before].into_iter().flatten() {
                *rate /= 2.0;
            }
            self.level /= 2.0;
        }
    }

    fn on_mtu_update(&mut self, mtu: u16) {
        self.mtu = mtu.into();
    }

    /// Two round trips of what arrives, so that what is sent again does not stop what is new, and the acknowledgements that
    /// may wait.
    fn window(&self) -> u64 {
        let (Some(rate), Some(rtt)) = (self.rate.get(more), self.min_rtt()) else {
            return self.initial_window();
        };
        let window = (rate * (2 * rtt.max(self.last_rtt) + rtt.clamp(TURN, ACK_DELAY)).as_secs_f64()) as u64;
        let least = match self.phase {
            Phase::Start { .. } => INITIAL_PACKETS,
            _ => MIN_PACKETS,
        };
        window.max(least * self.mtu)
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut m = ControllerMetrics::default();
        m.congestion_window = self.window();
        m.pacing_rate = self.pacing_rate();
        m.bandwidth_estimate = self.rate.get(more).map(|rate| (rate * 8.0) as u64);
        m
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        INITIAL_PACKETS * self.mtu
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// A path in simulated time: a queue with a rate, a loss that has nothing to do with it, a round trip.
    struct Link {
        rtt: Duration,
        loss: f64,
        rate: f64, // bytes per second
        queue: Duration,
        /// Whether a NewReno flow that always has more to send shares it.
        neighbour: bool,
        /// How long each side sleeps on average before the machine lets it run.
        busy: Duration,
        /// When it does not let it run at all.
        freezes: Vec<(Duration, Duration)>,
        /// For how long only single packets are sent.
        chat: Duration,
    }

    /// NewReno (RFC 9002 §7), in packets.
    struct Reno {
        window: f64,
        threshold: f64,
        in_flight: f64,
        recovered: Duration,
    }

    impl Reno {
        fn acked(&mut self) {
            self.in_flight -= 1.0;
            self.window += if self.window < self.threshold { 1.0 } else { 1.0 / self.window };
        }

        fn lost(&mut self, now: Duration, sent: Duration) {
            self.in_flight -= 1.0;
            if sent >= self.recovered {
                self.recovered = now;
                self.window = (self.window / 2.0).max(2.0);
                self.threshold = self.window;
            }
        }
    }

    #[derive(Debug, Default)]
    struct Outcome {
        /// Bytes per second that arrived, of the second half.
        arrived: f64,
        /// Share of packets that the queue had no room for, of the second half.
        overflow: f64,
        /// Mean time in the queue, of the second half.
        queued: f64,
        /// How late bursts were whole at most, of the second half.
        late: f64,
        /// The same of the first half.
        first: f64,
        /// Bytes per second of the neighbour that arrived, of the second half.
        neighbour: f64,
        /// When half the link's rate arrived first, over 100 ms.
        started: f64,
    }

    const MTU: u16 = 1400;

    /// Sends for 12 s: everything, or a burst of so many bytes each 100 ms.
    fn simulate(link: &Link, burst: Option<u64>, seed: u64) -> Outcome {
        enum Heard {
            Ack { pn: u64, sent: Instant },
            Loss { pn: u64, sent: Instant },
            NeighbourAck,
            NeighbourLoss { sent: Duration },
        }
        let (step, total) = (Duration::from_micros(100), Duration::from_secs(12));
        let zero = Instant::now();
        let mut c = Paced::new(zero, MTU);
        let mut random = seed | 1;
        let mut chance = move || {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (random >> 33) as f64 / (1u64 << 31) as f64
        };
        let mut heard: BTreeMap<(Duration, u64), Heard> = BTreeMap::new();
        let (mut pn, mut in_flight, mut tokens, mut free) = (0u64, 0u64, 0.0f64, Duration::ZERO);
        let mut backlog = if burst.is_some() { 0 } else { u64::MAX / 2 };
        let mut bursts: VecDeque<(Duration, u64)> = VecDeque::new(); // begun, packets to arrive
        let (mut packets, mut overflow, mut queued, mut arrived, mut recent) = (0u64, 0u64, 0.0f64, 0u64, VecDeque::new());
        let mut out = Outcome::default();
        let mut now = Duration::ZERO;
        let mut limited = false;
        let mut reno = Reno { window: 10.0, threshold: f64::MAX, in_flight: 0.0, recovered: Duration::ZERO };
        let mut others = 0u64;
        let (mut refilled, mut wakes, mut peer_wakes) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        while now < total {
            let frozen = link.freezes.iter().any(|(at, until)| (*at..*until).contains(&now));
            let awake = now >= wakes && !frozen;
            if awake {
                wakes = now + link.busy.mul_f64(2.0 * chance());
            }
            if now >= peer_wakes {
                peer_wakes = now + link.busy.mul_f64(2.0 * chance());
            }
            let counts = now > total / 2;
            if let Some(bytes) = burst
                && now.as_micros() % 100_000 == 0
                && now >= link.chat
            {
                let n = bytes / u64::from(MTU);
                backlog += n;
                bursts.push_back((now, n));
            }
            if now < link.chat && now.as_micros() % 20_000 == 0 {
                backlog += 1;
                bursts.push_back((now, 1));
            }
            let mut acked = false;
            while let Some(e) = heard.first_entry().filter(|e| awake && e.key().0 <= now) {
                match e.remove() {
                    Heard::NeighbourAck => {
                        reno.acked();
                        others += u64::from(counts);
                    }
                    Heard::NeighbourLoss { sent } => reno.lost(now, sent),
                    Heard::Ack { pn, sent } => {
                        in_flight -= u64::from(MTU);
                        c.acknowledged(zero + now, sent, MTU.into(), pn, limited);
                        acked = true;
                        recent.push_back(now);
                        if counts {
                            arrived += 1;
                        }
                        if let Some((begun, left)) = bursts.front_mut() {
                            *left -= 1;
                            if *left == 0 {
                                let late = if counts { &mut out.late } else { &mut out.first };
                                *late = late.max((now - *begun - link.rtt / 2).as_secs_f64());
                                bursts.pop_front();
                            }
                        }
                    }
                    Heard::Loss { pn, sent } => {
                        in_flight -= u64::from(MTU);
                        c.on_packet_lost(MTU, pn, zero + now);
                        c.on_congestion_event(zero + now, sent, false, false, MTU.into(), pn);
                        backlog += 1;
                    }
                }
            }
            if acked {
                c.on_end_acks(zero + now, in_flight, limited, None);
            }
            while recent.front().is_some_and(|at| now - *at > Duration::from_millis(100)) {
                recent.pop_front();
            }
            if out.started == 0.0 && recent.len() as f64 * f64::from(MTU) * 10.0 > link.rate / 2.0 {
                out.started = now.as_secs_f64();
            }
            let pacing = c.pacing_rate();
            if awake {
                // noq's pacer: what is earned while it sleeps for long is lost
                tokens = pacing.map_or(f64::MAX, |rate| {
                    let (rate, mtu) = (rate as f64, f64::from(MTU));
                    let most = (rate * 0.01).max(mtu).min((rate * 0.002).clamp(10.0 * mtu, 256.0 * mtu));
                    (tokens + rate * (now - refilled).as_secs_f64()).min(most)
                });
                refilled = now;
            }
            let mut blocked = !awake;
            while backlog > 0 && awake {
                if in_flight + u64::from(MTU) > c.window() || tokens < f64::from(MTU) {
                    blocked = true;
                    break;
                }
                tokens -= f64::from(MTU);
                backlog -= 1;
                in_flight += u64::from(MTU);
                c.on_packet_sent(zero + now, MTU, pn);
                let sent = zero + now;
                let wait = free.saturating_sub(now);
                let fits = wait <= link.queue;
                packets += u64::from(counts);
                overflow += u64::from(counts && !fits);
                let lost = !fits || chance() < link.loss;
                if fits {
                    queued += if counts { wait.as_secs_f64() } else { 0.0 };
                    free = now.max(free) + Duration::from_secs_f64(f64::from(MTU) / link.rate);
                }
                match lost {
                    true => heard.insert((now + link.rtt.mul_f64(1.5) + wait, pn), Heard::Loss { pn, sent }),
                    false => heard.insert((free.max(peer_wakes) + link.rtt, pn), Heard::Ack { pn, sent }),
                };
                pn += 1;
            }
            if awake {
                limited = !blocked && backlog == 0;
            }
            while link.neighbour && reno.in_flight < reno.window {
                let wait = free.saturating_sub(now);
                reno.in_flight += 1.0;
                if wait > link.queue {
                    heard.insert((now + link.rtt + wait, pn), Heard::NeighbourLoss { sent: now });
                } else {
                    free = now.max(free) + Duration::from_secs_f64(f64::from(MTU) / link.rate);
                    heard.insert((free + link.rtt, pn), Heard::NeighbourAck);
                }
                pn += 1;
            }
            now += step;
        }
        out.arrived = arrived as f64 * f64::from(MTU) / (total.as_secs_f64() / 2.0);
        out.neighbour = others as f64 * f64::from(MTU) / (total.as_secs_f64() / 2.0);
        out.overflow = overflow as f64 / packets.max(1) as f64;
        out.queued = queued / packets.max(1) as f64;
        out
    }

    fn link(mbit: f64, rtt_ms: u64, loss: f64) -> Link {
        Link {
            rtt: Duration::from_millis(rtt_ms),
            loss,
            rate: mbit * 125_000.0,
            queue: Duration::from_millis(50),
            neighbour: false,
            busy: Duration::ZERO,
            freezes: Vec::new(),
            chat: Duration::ZERO,
        }
    }

    #[test]
    fn a_link_is_filled_whatever_it_loses() {
        for (mbit, rtt, loss) in [(20.0, 40, 0.0), (20.0, 40, 0.01), (20.0, 40, 0.1), (100.0, 40, 0.03), (100.0, 5, 0.1), (20.0, 200, 0.05)] {
            let l = link(mbit, rtt, loss);
            let o = simulate(&l, None, 7);
            println!("{mbit} Mbit/s, {rtt} ms, {loss}: {o:?}");
            assert!(o.arrived > l.rate * (1.0 - loss) * 0.8, "{mbit} Mbit/s, {rtt} ms, {loss}: {o:?}");
            assert!(o.started > 0.0 && o.started < 1.0 + 0.02 * rtt as f64, "{o:?}");
        }
    }

    #[test]
    fn a_queue_stays_short_and_seldom_overflows() {
        for (mbit, rtt, loss) in [(6.0, 40, 0.0), (6.0, 40, 0.03), (20.0, 40, 0.01), (100.0, 20, 0.0)] {
            let o = simulate(&link(mbit, rtt, loss), None, 7);
            println!("{mbit} Mbit/s, {rtt} ms, {loss}: {o:?}");
            assert!(o.overflow < 0.02 && o.queued < 0.025, "{mbit} Mbit/s, {rtt} ms, {loss}: {o:?}");
        }
    }

    #[test]
    fn a_broadcast_arrives_at_any_loss() {
        for loss in [0.0, 0.01, 0.03, 0.1, 0.2] {
            let o = simulate(&link(1000.0, 40, loss), Some(100_000), 7);
            println!("{loss}: {o:?}");
            assert!((0.97..1.03).contains(&(o.arrived / 1e6)), "{loss}: {o:?}");
            assert!(o.late < 0.4, "{loss}: {o:?}");
        }
    }

    #[test]
    fn a_broadcast_arrives_on_a_busy_machine() {
        for (busy, loss) in [(2, 0.1), (5, 0.1), (10, 0.0), (10, 0.01), (10, 0.1), (15, 0.1)] {
            for seed in [7, 9, 11] {
                let l = Link { busy: Duration::from_millis(busy), ..link(1000.0, 40, loss) };
                let o = simulate(&l, Some(100_000), seed);
                println!("asleep for {busy} ms, {loss}: {o:?}");
                assert!((0.97..1.03).contains(&(o.arrived / 1e6)) && o.late < 0.4 && o.first < 0.4, "asleep for {busy} ms, {loss}: {o:?}");
            }
        }
    }

    #[test]
    fn a_bad_start_is_made_up_for() {
        for loss in [0.0, 0.01, 0.1] {
            for seed in [7, 9, 11] {
                let ms = Duration::from_millis;
                let l = Link { busy: ms(2), chat: ms(300), freezes: vec![(ms(301), ms(400)), (ms(430), ms(520))], ..link(1000.0, 40, loss) };
                let o = simulate(&l, Some(100_000), seed);
                println!("bad start, {loss}: {o:?}");
                assert!(o.late < 0.4 && o.first < 0.7, "bad start, {loss}: {o:?}");
            }
        }
    }

    #[test]
    fn a_neighbour_leaves_room_and_is_left_some() {
        let l = Link { neighbour: true, ..link(20.0, 40, 0.0) };
        let o = simulate(&l, Some(100_000), 7); // 8 of 20 Mbit/s
        println!("broadcast: {o:?}");
        assert!((0.95..1.05).contains(&(o.arrived / 1e6)) && o.neighbour > 0.4 * l.rate, "{o:?}");
        let o = simulate(&l, None, 7);
        println!("everything: {o:?}");
        assert!(o.arrived > 0.5 * l.rate && o.neighbour > 0.04 * l.rate, "{o:?}");
    }

    #[test]
    fn nothing_divides_by_zero_before_the_first_acknowledgement() {
        let now = Instant::now();
        let mut c = Paced::new(now, MTU);
        assert_eq!((c.window(), c.pacing_rate()), (INITIAL_PACKETS * u64::from(MTU), None));
        c.on_end_acks(now, 0, false, None);
        c.on_packet_sent(now, MTU, 0);
        c.acknowledged(now, now, MTU.into(), 0, false);
        c.on_end_acks(now, 0, false, Some(0));
        c.on_packet_lost(MTU, 9, now);
        c.on_congestion_event(now, now, true, true, 0, 9);
        assert!(c.window() > 0 && c.pacing_rate().is_some_and(|rate| rate > 0));
    }
}
