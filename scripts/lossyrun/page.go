//go:build linux

package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"every.channel/ec/lib/gateway"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/netlab"
)

const (
	pagePort  = "4447"
	infoPort  = "4448"
	pageDraft = wire.Draft18 // which Chromium's page of ec-relay speaks
)

//go:embed page.html
var pageText []byte

// browse measures ec-pub and ec-relay at the right side and a page in Chromium at the left one, over WebTransport.
func browse(ctx context.Context, p *place) error {
	info := p.lab.IP(netlab.RightSide) + ":" + infoPort
	fingerprint, err := p.startRelay("--http", info, "--allow-origin", "*")
	if err != nil {
		return err
	}
	hash, err := p.hash(ctx, "http://"+info+"/relay.json")
	if err != nil {
		return err
	}
	feed, err := p.startPub(netlab.RightSide, fingerprint)
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	in := &arrivals{prog: p.prog, streams: map[string]*arriving{}}
	l, err := p.listen(netlab.LeftSide, "127.0.0.1:"+pagePort) // pages of the loopback may use WebTransport
	if err != nil {
		return err
	}
	setup, err1 := wire.AppendMessage(nil, pageDraft, &wire.Setup{})
	subscribe, err2 := wire.AppendMessage(nil, pageDraft, &wire.Subscribe{Track: video, Parameters: wire.Parameters{SubscriptionFilter: &wire.Filter{Type: wire.FilterLargestObject}}})
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(pageText)
	})
	mux.HandleFunc("GET /config", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]any{"url": "https://" + p.lab.IP(netlab.RightSide) + ":" + relayPort + "/", "hash": hash, "protocol": pageDraft.ALPN(), "setup": setup, "subscribe": subscribe})
	})
	mux.HandleFunc("GET /begin", func(_ http.ResponseWriter, r *http.Request) { sleep(r.Context(), p.prog.start.Add(2*time.Second)) })
	mux.HandleFunc("POST /answer", func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		typ, length, n, err := wire.MessageHeader(b, pageDraft)
		if err != nil || n == 0 || len(b) < n+length {
			return // the rest of the stream
		}
		if m, err := wire.ParseMessage(pageDraft, typ, b[n:][:length]); err == nil {
			if _, ok := m.(*wire.SubscribeOK); !ok {
				fail(failed, fmt.Errorf("the relay answered with %+v", m))
			}
		}
	})
	mux.HandleFunc("POST /data", func(_ http.ResponseWriter, r *http.Request) {
		if err := in.post(r); err != nil {
			fail(failed, err)
		}
	})
	mux.HandleFunc("POST /broken", func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(p.logs[0], "page: a stream ended: %s\n", b)
	})
	mux.HandleFunc("POST /error", func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fail(failed, fmt.Errorf("page: %s", b))
	})
	server := &http.Server{Handler: mux}
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(l) })
	defer serving.Wait()
	defer server.Close()
	cmd, err := p.command(netlab.LeftSide, "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--no-proxy-server",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--user-data-dir="+filepath.Join(p.dir, "profile"), "http://127.0.0.1:"+pagePort+"/")
	if err != nil {
		return err
	}
	cmd.Stdout = cmd.Stderr
	if err := p.run(cmd); err != nil {
		return err
	}
	return p.together(ctx, feed, func(ctx context.Context) error {
		select {
		case err := <-failed:
			return err
		case <-ctx.Done():
			return nil
		}
	})
}

// fail keeps the first error.
func fail(errs chan error, err error) {
	select {
	case errs <- err:
	default:
	}
}

// hash is how a browser knows the relay's certificate.
func (p *place) hash(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return nil, err
	}
	res, err := p.client(netlab.RightSide).Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var info gateway.Info
	if err := json.NewDecoder(res.Body).Decode(&info); err != nil || len(info.Hashes) == 0 {
		return nil, fmt.Errorf("relay.json: %d certificates, %w", len(info.Hashes), err)
	}
	return info.Hashes[0].Value, nil
}

// arrivals takes apart what the page posts.
type arrivals struct {
	prog *programme

	mu      sync.Mutex // guards what follows
	streams map[string]*arriving
}

// arriving is one stream of the relay's.
type arriving struct {
	b      []byte // what was not taken apart yet
	passed int    // bytes before b
	came   int    // bytes in all
	times  []mark
	headed bool
	other  bool // no objects are on it
	header wire.SubgroupHeader
	last   *uint64
}

// mark is when all bytes before an end were there.
type mark struct {
	end int
	at  time.Time
}

func (a *arrivals) post(r *http.Request) error {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.streams[r.FormValue("stream")]
	if s == nil {
		s = &arriving{}
		a.streams[r.FormValue("stream")] = s
	}
	for word := range strings.SplitSeq(r.FormValue("times"), ",") {
		at, n, ok := strings.Cut(word, ":")
		if !ok {
			continue
		}
		ms, err1 := strconv.ParseFloat(at, 64)
		count, err2 := strconv.Atoi(n)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		s.came += count
		s.times = append(s.times, mark{s.came, time.UnixMicro(int64(math.Round(ms * 1e3)))})
	}
	s.b = append(s.b, b...)
	return s.objects(a.prog)
}

// objects takes whole objects off a stream.
func (s *arriving) objects(prog *programme) error {
	for !s.other && len(s.b) > 0 {
		if !s.headed {
			h, n, err := wire.ParseSubgroupHeader(s.b, pageDraft)
			if errors.Is(err, wire.ErrIncomplete) {
				return nil
			}
			if s.other = err != nil; s.other { // the relay's SETUP
				return nil
			}
			s.headed, s.header = true, h
			s.take(n)
			continue
		}
		o, n, err := wire.ParseSubgroupObject(s.b, pageDraft, s.last, s.header.HasProperties, 1<<16)
		if err != nil || n == 0 || len(s.b) < n+int(o.Length) {
			return err
		}
		payload := s.b[n:][:o.Length]
		end := s.passed + n + int(o.Length)
		for len(s.times) > 1 && s.times[0].end < end {
			s.times = s.times[1:]
		}
		if len(payload) > 0 {
			prog.came(bytes.Clone(payload), s.times[0].at)
		}
		id := o.ID
		s.last = &id
		s.take(n + int(o.Length))
	}
	return nil
}

func (s *arriving) take(n int) { s.b, s.passed = s.b[n:], s.passed+n }
