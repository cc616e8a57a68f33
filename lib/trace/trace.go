// Package trace says where objects were when: spans, which go to a collector of OpenTelemetry by OTLP/HTTP (docs/format/trace.md).
//
// Nothing of a trace travels with an object. Its id follows from the object's name, and so does whether the object is one of those that are
// looked at: whoever handles the object tells of the same trace, and a collector joins what they say.
package trace

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"every.channel/ec/lib/object"
)

// Config says where spans go, and of which objects.
type Config struct {
	URL     string  // of a collector; without a path /v1/traces is meant
	Ratio   float64 // the part of all objects that is looked at; default 0.001, at most 1
	Service string  // service.name
	Version string  // service.version
	Log     *slog.Logger
}

// DefaultRatio is that of Config.
const DefaultRatio = 0.001

const (
	// waiting bounds the spans that wait for the collector; more are dropped.
	waiting = 4096
	// batch is how many go in one request, and every how long they wait for more.
	batch = 512
	every = 2 * time.Second
	// timeout bounds a request.
	timeout = 10 * time.Second
	// oneLine is how often it is logged that the collector takes nothing.
	oneLine = time.Minute
)

// Tracer takes spans. A nil Tracer looks at no object.
type Tracer struct {
	c       Config
	url     string
	below   uint64 // a trace is looked at whose number is below
	spans   chan Span
	dropped atomic.Int64
	client  *http.Client
}

// New returns a tracer, whose spans go nowhere before Run.
func New(c Config) (*Tracer, error) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil:
		return nil, err
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, fmt.Errorf("traces go to %s: want http://HOST:PORT or https://HOST:PORT", u.Redacted())
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	if c.Ratio == 0 {
		c.Ratio = DefaultRatio
	}
	if c.Ratio < 0 || c.Ratio > 1 || math.IsNaN(c.Ratio) {
		return nil, errors.New("the part of all objects that is traced is above 0 and at most 1")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	below := uint64(math.MaxUint64)
	if c.Ratio < 1 {
		below = uint64(c.Ratio * (1 << 63) * 2)
	}
	return &Tracer{c: c, url: u.String(), below: below, spans: make(chan Span, waiting), client: &http.Client{Timeout: timeout}}, nil
}

// ID is that of a trace, and Root the id of the span with which an object's way begins.
type ID struct {
	Trace [16]byte
	Root  [8]byte
}

// Of returns the id of an object's trace, and whether the object is one of those that are looked at.
func (t *Tracer) Of(track object.TrackName, group, id uint64) (ID, bool) {
	if t == nil {
		return ID{}, false
	}
	var room [256]byte
	b := append(room[:0], "ec trace 1 "...)
	b = track.Append(b)
	b = binary.BigEndian.AppendUint64(b, group)
	b = binary.BigEndian.AppendUint64(b, id)
	sum := object.Sum(b)
	if n := binary.BigEndian.Uint64(sum[16:]); n > t.below || n == t.below && t.below != math.MaxUint64 {
		return ID{}, false
	}
	return ID{Trace: [16]byte(sum[:16]), Root: [8]byte(sum[24:])}, true
}

// Span is a stretch of an object's way.
type Span struct {
	ID
	Begins     bool // it is the first one of the trace
	Name       string
	Start, End time.Time
	Kind       Kind
	Attributes []Attribute
	Err        string // what went wrong; "": nothing
}

// Kind says on which side of a connection a span is.
type Kind uint8

// Kinds, as the protocol numbers them.
const (
	Internal Kind = 1
	Producer Kind = 4
	Consumer Kind = 5
)

// Attribute is a text or a number with a name.
type Attribute struct {
	Name string
	Text string
	N    int64 // if Text is ""
}

// Add hands on a span. It does not wait: when too many spans wait already, the span is dropped and counted.
func (t *Tracer) Add(s Span) {
	select {
	case t.spans <- s:
	default:
		t.dropped.Add(1)
	}
}

// Run sends spans until ctx ends, and then those that wait.
func (t *Tracer) Run(ctx context.Context) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var list []Span
	var complained time.Time
	send := func(ctx context.Context) {
		if len(list) == 0 {
			return
		}
		n := len(list)
		err := t.post(ctx, list)
		list = list[:0]
		if err != nil && time.Since(complained) >= oneLine {
			complained = time.Now()
			t.c.Log.Warn("the collector does not take traces", "err", err, "spans", n, "dropped", t.dropped.Load())
		}
	}
	for {
		select {
		case s := <-t.spans:
			if list = append(list, s); len(list) >= batch {
				send(ctx)
			}
		case <-tick.C:
			send(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			for len(t.spans) > 0 && len(list) < batch {
				list = append(list, <-t.spans)
			}
			send(last)
			return
		}
	}
}

func (t *Tracer) post(ctx context.Context, list []Span) error {
	req, err := http.NewRequestWithContext(ctx, "POST", t.url, bytes.NewReader(t.encode(list)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	res, err := t.client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without the URL, which may hold a password
		}
		return err
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(res.Body, 200))
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s", res.Status, strings.ToValidUTF8(string(b), "?"))
	}
	return nil
}

// encode writes spans as an ExportTraceServiceRequest of OTLP 1 in protobuf.
func (t *Tracer) encode(list []Span) []byte {
	var spans []byte
	for i := range list {
		spans = message(spans, 2, list[i].append(nil)) // ScopeSpans.spans
	}
	scope := message(nil, 1, text(nil, 1, "every.channel")) // ScopeSpans.scope, InstrumentationScope.name
	resource := message(nil, 1, keyValue(Attribute{Name: "service.name", Text: t.c.Service}))
	if t.c.Version != "" {
		resource = message(resource, 1, keyValue(Attribute{Name: "service.version", Text: t.c.Version}))
	}
	all := message(nil, 1, resource)               // ResourceSpans.resource
	all = message(all, 2, append(scope, spans...)) // ResourceSpans.scope_spans
	return message(nil, 1, all)                    // resource_spans
}

func (s *Span) append(b []byte) []byte {
	id := s.Root
	if !s.Begins {
		binary.BigEndian.PutUint64(id[:], rand.Uint64()|1) // never 0, which is no id
	}
	b = message(b, 1, s.Trace[:])
	b = message(b, 2, id[:])
	if !s.Begins {
		b = message(b, 4, s.Root[:])
	}
	b = text(b, 5, s.Name)
	b = number(b, 6, uint64(s.Kind))
	b = fixed64(b, 7, uint64(s.Start.UnixNano()))
	b = fixed64(b, 8, uint64(max(s.End.UnixNano(), s.Start.UnixNano())))
	for _, a := range s.Attributes {
		b = message(b, 9, keyValue(a))
	}
	if s.Err != "" {
		b = message(b, 15, number(text(nil, 2, s.Err), 3, 2)) // STATUS_CODE_ERROR
	}
	return b
}

func keyValue(a Attribute) []byte {
	value := number(nil, 3, uint64(a.N))
	if a.Text != "" {
		value = text(nil, 1, a.Text)
	}
	return message(text(nil, 1, a.Name), 2, value)
}

// Fields of protobuf, by their wire types.

func number(b []byte, field int, v uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, uint64(field)<<3), v)
}

func fixed64(b []byte, field int, v uint64) []byte {
	return binary.LittleEndian.AppendUint64(binary.AppendUvarint(b, uint64(field)<<3|1), v)
}

func message(b []byte, field int, body []byte) []byte {
	b = binary.AppendUvarint(b, uint64(field)<<3|2)
	return append(binary.AppendUvarint(b, uint64(len(body))), body...)
}

func text(b []byte, field int, s string) []byte {
	return message(b, field, []byte(strings.ToValidUTF8(s, "\ufffd")))
}
