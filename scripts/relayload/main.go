// Command relayload loads a relay with one publisher and many subscribers, all in this process, and prints a line of what the relay's
// process spent on it: CPU per gigabyte that subscribers got, resident memory, and how long objects took. scripts/bench-relay
// runs it. Subscribers compare the hash of every tenth object they get. With --every it does so for long, beside subscribers that are
// slow or read nothing, and prints a line each time (scripts/soak).
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

var track = object.TrackName{Namespace: object.Namespace{"ec", "atsc", "2065", "3"}, Name: "ts_t07"}

type load struct {
	url         string
	version     int
	subscribers int
	size        int
	interval    time.Duration
	duration    time.Duration
	pid         int
	perGroup    int // objects

	sum     object.Hash    // of every payload
	sentAt  []atomic.Int64 // by number of the object: Unix ns
	objects atomic.Int64   // that subscribers got, of those that count
	bytes   atomic.Int64
	wrong   atomic.Int64
	broken  atomic.Int64
	first   int // number of the first object that counts
	mu      sync.Mutex
	delays  []time.Duration
}

func main() {
	var l load
	flag.StringVar(&l.url, "relay", "", "`URL` of the relay, whose certificate is not checked")
	flag.IntVar(&l.version, "draft", 16, "`N` of the transport's draft")
	flag.IntVar(&l.subscribers, "subscribers", 1, "`N` sessions that subscribe")
	flag.IntVar(&l.size, "size", 64<<10, "`BYTES` of an object")
	flag.DurationVar(&l.interval, "interval", 20*time.Millisecond, "`TIME` between objects")
	flag.DurationVar(&l.duration, "duration", 10*time.Second, "`TIME` that counts, after two seconds that do not")
	flag.IntVar(&l.pid, "pid", 0, "`PID` of the relay")
	var k soak
	flag.IntVar(&k.slow, "slow", 0, "`N` of the subscribers read at a third of the rate (only with --every)")
	flag.IntVar(&k.stopped, "stopped", 0, "`N` of the subscribers read nothing (only with --every)")
	flag.DurationVar(&k.every, "every", 0, "print a line of state each `TIME`; --duration is then the time with --slow and --stopped")
	flag.DurationVar(&k.alone, "alone", 5*time.Minute, "`TIME` before and after, without --slow and --stopped (only with --every)")
	flag.StringVar(&k.store, "store", "", "`DIR` of the relay's store, whose files are counted (only with --every)")
	flag.Parse()
	run := l.run
	if k.every > 0 {
		k.load = &l
		run = k.run
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "relayload:", err)
		os.Exit(1)
	}
}

func (l *load) dial(ctx context.Context, h moqt.Handler) (*moqt.Session, error) {
	c := &moqt.Config{Handler: h, Versions: []moqt.Version{moqt.Version(l.version)}}
	s, err := moqt.Dial(ctx, l.url, &tls.Config{InsecureSkipVerify: true}, c)
	if err == nil {
		go s.Run(ctx)
	}
	return s, err
}

// publisher answers the relay's SUBSCRIBE.
type publisher struct {
	moqt.UnimplementedHandler
	pubs chan *moqt.Publication
}

func (p *publisher) Subscribe(_ context.Context, r *moqt.SubscribeRequest) {
	if !r.Track.Equal(track) {
		r.Reject(wire.RequestDoesNotExist, "")
		return
	}
	if pub, err := r.Accept(moqt.TrackInfo{Largest: &moqt.Location{}}); err == nil {
		p.pubs <- pub
	}
}

func (l *load) run() error {
	const warm = 2 * time.Second
	n := l.prepare(warm, warm+l.duration)
	ctx, cancel := context.WithTimeout(context.Background(), warm+l.duration+2*time.Minute)
	defer cancel()
	ps, p, err := l.announce(ctx)
	if err != nil {
		return err
	}
	subscribed := make(chan error, l.subscribers)
	var reading sync.WaitGroup
	rctx, stop := context.WithCancel(ctx)
	defer stop()
	for i := range l.subscribers {
		if i > 0 && i%20 == 0 { // a crowd, but not all in one instant
			time.Sleep(20 * time.Millisecond)
		}
		reading.Go(func() {
			s, sub, err := l.subscribe(ctx)
			subscribed <- err
			if err == nil {
				l.readAll(rctx, s, sub)
			}
		})
	}
	var pub *moqt.Publication
	for waiting := l.subscribers; waiting > 0 || pub == nil; {
		select {
		case err := <-subscribed:
			if err != nil {
				return err
			}
			waiting--
		case pub = <-p.pubs:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	before, err := l.publish(ctx, pub, n)
	if err != nil {
		return err
	}
	want := int64(n-l.first) * int64(l.subscribers)
	for deadline := time.Now().Add(10 * time.Second); l.objects.Load() < want && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	end, err := usage(l.pid)
	if err != nil {
		return err
	}
	stop()
	reading.Wait()
	ps.Close(wire.NoError, "")
	l.report(before, end, want)
	return nil
}

// prepare decides on what is sent in all, and returns the number of objects; those of the time warm do not count.
func (l *load) prepare(warm, all time.Duration) (n int) {
	l.perGroup = max(10, min(4<<20/l.size, int(2*time.Second/l.interval))) // 2 s, within bounds
	l.first = int(warm / l.interval)
	n = int(all / l.interval)
	l.sentAt = make([]atomic.Int64, n)
	l.sum = object.Sum(l.payload())
	return n
}

// announce makes the publisher's session.
func (l *load) announce(ctx context.Context) (*moqt.Session, *publisher, error) {
	p := &publisher{pubs: make(chan *moqt.Publication, 1)}
	s, err := l.dial(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	_, err = s.PublishNamespace(ctx, track.Namespace)
	return s, p, err
}

// subscribe makes a session and a subscription.
func (l *load) subscribe(ctx context.Context) (*moqt.Session, *moqt.Subscription, error) {
	s, err := l.dial(ctx, nil)
	for try := 0; err != nil && try < 20; try++ { // a crowd may be told to come again
		time.Sleep(100 * time.Millisecond)
		s, err = l.dial(ctx, nil)
	}
	if err != nil {
		return nil, nil, err
	}
	for range 100 { // a relay may need a moment to know the namespace
		sub, err := s.Subscribe(ctx, track, moqt.SubscribeOptions{})
		if err == nil {
			return s, sub, nil
		}
		if _, refused := errors.AsType[*moqt.RequestError](err); !refused {
			return nil, nil, err
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil, nil, errors.New("the relay does not know the track")
}

// readAll takes what a subscription brings as fast as it comes, until ctx ends, and closes the session.
func (l *load) readAll(ctx context.Context, s *moqt.Session, sub *moqt.Subscription) {
	var streams sync.WaitGroup
	for {
		r, err := sub.AcceptSubgroup(ctx)
		if err != nil {
			break
		}
		streams.Go(func() { l.read(r) })
	}
	s.Close(wire.NoError, "")
	streams.Wait()
}

func (l *load) payload() []byte {
	payload := make([]byte, l.size)
	for i := range payload {
		payload[i] = byte(i * 7)
	}
	return payload
}

// publish sends n objects, one every interval, and returns what the relay had used when the first that counts was due.
func (l *load) publish(ctx context.Context, pub *moqt.Publication, n int) (before process, err error) {
	payload := l.payload()
	properties := object.Properties{Hash: l.sum, HasHash: true}.Append(nil)
	tick := time.NewTicker(l.interval)
	defer tick.Stop()
	var w *moqt.SubgroupWriter
	for i := range n {
		if i == l.first {
			if before, err = usage(l.pid); err != nil {
				return before, err
			}
		}
		<-tick.C
		group, id := uint64(1+i/l.perGroup), i%l.perGroup
		if id == 0 {
			if w, err = pub.OpenSubgroup(ctx, moqt.SubgroupHeader{Group: group, EndOfGroup: true, HasProperties: true}); err != nil {
				return before, err
			}
		}
		l.sentAt[i].Store(time.Now().UnixNano())
		if err = w.WriteObject(uint64(id), properties, wire.StatusNormal, payload); err == nil && (id == l.perGroup-1 || i == n-1) {
			err = w.Close()
		}
		if err != nil {
			return before, err
		}
	}
	return before, nil
}

// read takes one stream.
func (l *load) read(r *moqt.SubgroupReader) {
	var delays []time.Duration
	defer func() {
		l.mu.Lock()
		l.delays = append(l.delays, delays...)
		l.mu.Unlock()
	}()
	buf := make([]byte, 32<<10)
	var all []byte
	for {
		h, err := r.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			l.broken.Add(1)
			return
		}
		if h.Status != wire.StatusNormal {
			continue
		}
		i := int(r.Header().Group-1)*l.perGroup + int(h.ID)
		if i < 0 || i >= len(l.sentAt) {
			l.wrong.Add(1)
			return
		}
		compare, size := i%10 == 3, h.Size
		all = all[:0]
		for err == nil {
			var n int
			n, err = r.Read(buf)
			if compare {
				all = append(all, buf[:n]...)
			}
		}
		if err != io.EOF {
			l.broken.Add(1)
			return
		}
		if int(size) != l.size || compare && object.Sum(all) != l.sum {
			l.wrong.Add(1)
		}
		if i >= l.first {
			delays = append(delays, time.Duration(time.Now().UnixNano()-l.sentAt[i].Load()))
			l.objects.Add(1)
			l.bytes.Add(int64(l.size))
		}
	}
}

func (l *load) report(before, after process, want int64) {
	slices.Sort(l.delays)
	at := func(q float64) float64 { return quantile(l.delays, q) }
	gb := float64(l.bytes.Load()) / 1e9
	fmt.Printf("subscribers=%d egress_MB=%.0f delivered=%.4f cpu_s_per_GB=%.3f rss_MB=%.1f peak_MB=%.1f p50_ms=%.2f p99_ms=%.2f broken=%d wrong=%d\n",
		l.subscribers, gb*1000, float64(l.objects.Load())/float64(want), (after.cpu-before.cpu).Seconds()/gb, float64(after.rss)/1e6, float64(after.peak)/1e6,
		at(.5), at(.99), l.broken.Load(), l.wrong.Load())
}

// quantile returns the one of sorted delays below which the fraction q of them lies, in ms.
func quantile(delays []time.Duration, q float64) float64 {
	if len(delays) == 0 {
		return 0
	}
	return float64(delays[int(q*float64(len(delays)-1))].Microseconds()) / 1000
}

// process is what /proc tells of one.
type process struct {
	cpu       time.Duration
	rss, peak int64
}

func usage(pid int) (p process, err error) {
	if pid == 0 {
		return p, nil
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return p, err
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	for _, f := range fields[11:13] { // utime, stime
		ticks, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return p, err
		}
		p.cpu += time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return p, err
	}
	for line := range strings.Lines(string(status)) {
		var kb int64
		switch {
		case strings.HasPrefix(line, "VmRSS:"):
			_, err = fmt.Sscanf(line, "VmRSS: %d", &kb)
			p.rss = kb * 1024
		case strings.HasPrefix(line, "VmHWM:"):
			_, err = fmt.Sscanf(line, "VmHWM: %d", &kb)
			p.peak = kb * 1024
		}
		if err != nil {
			return p, err
		}
	}
	return p, nil
}
