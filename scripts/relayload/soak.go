package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"every.channel/ec/lib/moqt"
)

// soak is load for long: the fast subscribers alone, then all of them for the load's duration, then the fast ones alone again. What is
// printed of delays and of what arrived is the fast subscribers' alone.
type soak struct {
	*load
	slow, stopped int
	every, alone  time.Duration
	store         string

	unfit   atomic.Bool  // the slow and the stopped are there
	ended   atomic.Int64 // sessions and subscriptions of the slow and the stopped that the relay ended
	skipped atomic.Int64 // streams that the relay reset because the slow were too slow
	lines   []line
}

// line is what is printed each time.
type line struct {
	phase         string
	p50, p99, max float64 // ms
	process       process
	descriptors   int
	files         int
	bytes         int64
}

func (k *soak) run() error {
	const warm = 2 * time.Second
	k.sentAt, k.delays = nil, nil
	n := k.prepare(warm, warm+2*k.alone+k.duration)
	ctx, cancel := context.WithTimeout(context.Background(), warm+2*k.alone+k.duration+5*time.Minute)
	defer cancel()
	ps, p, err := k.announce(ctx)
	if err != nil {
		return err
	}
	fast := k.subscribers - k.slow - k.stopped
	var reading sync.WaitGroup
	rctx, stop := context.WithCancel(ctx)
	defer stop()
	for i := range fast {
		s, sub, err := k.subscribe(ctx)
		if err != nil {
			return fmt.Errorf("subscriber %d: %w", i+1, err)
		}
		reading.Go(func() { k.readAll(rctx, s, sub) })
	}
	var pub *moqt.Publication
	select {
	case pub = <-p.pubs:
	case <-ctx.Done():
		return ctx.Err()
	}
	go k.crowd(rctx, warm)
	go k.watch(rctx, warm)
	before, err := k.publish(ctx, pub, n)
	if err != nil {
		return err
	}
	want := int64(n-k.first) * int64(fast)
	for deadline := time.Now().Add(10 * time.Second); k.objects.Load() < want && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	end, err := usage(k.pid)
	if err != nil {
		return err
	}
	time.Sleep(time.Second) // for the ends of the last streams
	stop()
	reading.Wait()
	ps.Close(0, "")
	k.summary(before, end, want)
	return nil
}

// crowd brings the slow and the stopped subscribers after the time alone, and takes them away again.
func (k *soak) crowd(ctx context.Context, warm time.Duration) {
	if !sleep(ctx, warm+k.alone) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, k.duration)
	defer cancel()
	k.unfit.Store(true)
	defer k.unfit.Store(false)
	var all sync.WaitGroup
	for i := range k.slow + k.stopped {
		all.Go(func() { k.lag(ctx, i < k.slow) })
		if !sleep(ctx, 10*time.Millisecond) {
			break
		}
	}
	all.Wait()
}

// lag is one subscriber that is slow or reads nothing; whose session or subscription ends comes again.
func (k *soak) lag(ctx context.Context, slow bool) {
	for ctx.Err() == nil {
		s, sub, err := k.subscribe(ctx)
		if err == nil {
			if slow {
				k.readSlowly(ctx, sub)
			} else {
				select {
				case <-ctx.Done():
				case <-s.Context().Done():
				}
			}
			s.Close(0, "")
		}
		if ctx.Err() == nil {
			k.ended.Add(1)
		}
		sleep(ctx, time.Second)
	}
}

// readSlowly reads one stream after the other, an object in the time of three.
func (k *soak) readSlowly(ctx context.Context, sub *moqt.Subscription) {
	buf := make([]byte, 4<<10)
	for {
		r, err := sub.AcceptSubgroup(ctx)
		if err != nil {
			return
		}
		for {
			h, err := r.Next()
			if err != nil {
				if err != io.EOF {
					k.skipped.Add(1)
				}
				break
			}
			for left := int(h.Size); left > 0; {
				n, err := r.Read(buf)
				if left -= n; err != nil {
					break
				}
			}
			if !sleep(ctx, 3*k.interval) {
				return
			}
		}
	}
}

// watch prints a line each time.
func (k *soak) watch(ctx context.Context, warm time.Duration) {
	if !sleep(ctx, warm) {
		return
	}
	start, mixed := time.Now(), k.unfit.Load()
	for sleep(ctx, k.every) {
		k.mu.Lock()
		delays := k.delays
		k.delays = nil
		k.mu.Unlock()
		slices.Sort(delays)
		ln := line{phase: "alone", p50: quantile(delays, .5), p99: quantile(delays, .99), max: quantile(delays, 1)}
		if unfit := k.unfit.Load(); unfit != mixed {
			ln.phase, mixed = "change", unfit
		} else if unfit {
			ln.phase = "all"
		}
		ln.process, _ = usage(k.pid)
		open, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", k.pid))
		ln.descriptors = len(open)
		ln.files, ln.bytes = count(k.store)
		k.lines = append(k.lines, ln)
		fmt.Printf("minutes=%.1f phase=%s p50_ms=%.2f p99_ms=%.2f max_ms=%.1f rss_MB=%.1f descriptors=%d files=%d stored_MB=%.1f skipped=%d ended=%d\n",
			time.Since(start).Minutes(), ln.phase, ln.p50, ln.p99, ln.max, float64(ln.process.rss)/1e6, ln.descriptors, ln.files, float64(ln.bytes)/1e6,
			k.skipped.Load(), k.ended.Load())
	}
}

// count returns how many files a folder holds, and how many bytes.
func count(dir string) (files int, bytes int64) {
	if dir == "" {
		return 0, 0
	}
	filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files++
			if info, err := d.Info(); err == nil {
				bytes += info.Size()
			}
		}
		return nil
	})
	return files, bytes
}

// summary prints the medians of both phases, and what became of all that was sent.
func (k *soak) summary(before, after process, want int64) {
	for _, phase := range []string{"alone", "all"} {
		var of []line
		for _, l := range k.lines {
			if l.phase == phase {
				of = append(of, l)
			}
		}
		if len(of) == 0 {
			continue
		}
		median := func(f func(line) float64) float64 {
			slices.SortFunc(of, func(a, b line) int { return cmp.Compare(f(a), f(b)) })
			return f(of[len(of)/2])
		}
		fmt.Printf("%s: p50_ms=%.2f p99_ms=%.2f max_ms=%.1f rss_MB=%.1f descriptors=%.0f files=%.0f (medians of %d lines)\n", phase,
			median(func(l line) float64 { return l.p50 }), median(func(l line) float64 { return l.p99 }), median(func(l line) float64 { return l.max }),
			median(func(l line) float64 { return float64(l.process.rss) / 1e6 }), median(func(l line) float64 { return float64(l.descriptors) }),
			median(func(l line) float64 { return float64(l.files) }), len(of))
	}
	gb := float64(k.bytes.Load()) / 1e9
	fmt.Printf("fast=%d slow=%d stopped=%d delivered=%d of=%d broken=%d wrong=%d cpu_s_per_GB=%.2f peak_MB=%.1f\n", k.subscribers-k.slow-k.stopped, k.slow, k.stopped,
		k.objects.Load(), want, k.broken.Load(), k.wrong.Load(), (after.cpu-before.cpu).Seconds()/gb, float64(after.peak)/1e6)
}

// sleep returns false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
