package pace

import (
	"sync"
	"time"

	"every.channel/ec/lib/clock"
)

const (
	// window is how long the earliness of PCRs is observed before the speed is corrected.
	window = 30 * time.Second
	// correction is in what time a difference would be made up for, and settling in what time a drift is learnt. Both are long against what
	// chance does to the earliness of PCRs: 10 ms more make the output faster by 17 parts per million.
	correction, settling = 10 * time.Minute, 20 * time.Minute
	// fastest is the greatest correction, in parts per million: H.222.0 §2.4.2.1 allows a broadcast 30, and computers are off by up to 100.
	fastest = 200
)

// wall says when each moment of the stream is sent. The zero value says nothing until anchor.
type wall struct {
	mu    sync.Mutex // guards what follows
	set   bool
	media clock.Ticks27
	at    time.Time // when media is sent
	ppm   float64   // by how much faster than this machine's clock the stream's runs

	begun    time.Time     // of the window
	least    time.Duration // how early a PCR came at the latest, in the window
	want     time.Duration // least of the first window that counts since the clock was anchored
	drift    float64       // what is known of ppm
	windows  int           // that count; -1: what came at once at the beginning is still in the next one
	unsteady bool          // the input waited in the window, or the clock was anchored anew: the window says nothing
}

// anchor says that media is sent at a time.
func (w *wall) anchor(media clock.Ticks27, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.set, w.media, w.at = true, media, at
	w.begun, w.windows, w.unsteady = time.Time{}, -1, false
}

// when is when media is sent.
func (w *wall) when(media clock.Ticks27) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.of(media)
}

func (w *wall) of(media clock.Ticks27) time.Time {
	d := (media - w.media).Duration()
	return w.at.Add(d - time.Duration(float64(d)*w.ppm/1e6))
}

// back is what is sent at a time; mu is held.
func (w *wall) back(t time.Time) clock.Ticks27 {
	d := t.Sub(w.at)
	d += time.Duration(float64(d) * w.ppm / 1e6)
	return w.media + clock.TicksOf(d).Ticks27() + clock.Ticks27(d%(time.Second/clock.Hz)*27/1000)
}

// waited says that the input was held up: it comes faster than it is sent, so its times of arrival say nothing about its clock.
func (w *wall) waited() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unsteady = true
}

// came takes the time at which a PCR came, and steers: over a window the PCR that came latest shows how far ahead the input is. If that
// grows, the broadcast's clock is faster than this machine's.
func (w *wall) came(media clock.Ticks27, t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.set {
		return
	}
	early := w.of(media).Sub(t)
	if w.begun.IsZero() {
		w.begun, w.least = t, early
	}
	w.least = min(w.least, early)
	if t.Sub(w.begun) < window {
		return
	}
	switch {
	case w.unsteady:
		w.windows = 0
	case w.windows < 0: // whoever joins gets at once what there is of the newest group
		w.windows = 0
	case w.windows == 0:
		w.want, w.windows = w.least, 1
	default:
		w.windows++
		off := (w.least - w.want).Seconds() / correction.Seconds() * 1e6
		w.drift = within(w.drift + off*window.Seconds()/settling.Seconds())
		media, at := w.back(t), t // the speed changes from here on
		w.ppm = within(w.drift + off)
		w.media, w.at = media, at
	}
	w.begun, w.unsteady = time.Time{}, false
}

func within(ppm float64) float64 { return max(-fastest, min(fastest, ppm)) }
