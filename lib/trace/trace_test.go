package trace

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"every.channel/ec/lib/object"
)

var name = object.TrackName{Namespace: object.Namespace{"ec", "atsc", "2065", "3"}, Name: "ts_t13"}

// collector takes what is posted, decoded by OpenTelemetry's own definitions. TracesData is an ExportTraceServiceRequest, byte for byte.
func collector(t *testing.T, got chan<- *tracev1.TracesData, status int) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		var d tracev1.TracesData
		if err = errors.Join(err, proto.UnmarshalOptions{DiscardUnknown: false}.Unmarshal(b, &d)); err != nil {
			t.Error(err)
		}
		if r.Method != "POST" || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
		}
		if len(d.ProtoReflect().GetUnknown()) > 0 {
			t.Error("fields that OTLP does not have")
		}
		w.WriteHeader(status)
		got <- &d
	}))
	t.Cleanup(s.Close)
	return s
}

// Spans arrive as OTLP has them, and those of one object are one trace, whoever tells of them.
func TestSpans(t *testing.T) {
	got := make(chan *tracev1.TracesData, 10)
	url := collector(t, got, 200).URL
	start := time.Unix(1780000000, 5)
	for _, service := range []string{"ec-relay", "another"} {
		tr, err := New(Config{URL: url, Ratio: 1, Service: service, Version: "v1"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { tr.Run(ctx); close(done) }()
		id, ok := tr.Of(name, 7, 1)
		if !ok {
			t.Fatal("of all objects, one is not looked at")
		}
		tr.Add(Span{ID: id, Begins: service == "ec-relay", Name: "receive", Kind: Consumer, Start: start, End: start.Add(time.Second), Attributes: []Attribute{{Name: "ec.group", N: 7}, {Name: "ec.peer", Text: "a\xff"}}})
		tr.Add(Span{ID: id, Name: "send", Kind: Producer, Start: start, End: start.Add(-time.Second), Err: "gone"})
		cancel() // what waits is sent
		<-done
	}
	one, two := <-got, <-got
	res := one.ResourceSpans[0]
	if a := res.Resource.Attributes; a[0].Key != "service.name" || a[0].Value.GetStringValue() != "ec-relay" || a[1].Value.GetStringValue() != "v1" {
		t.Errorf("%v", a)
	}
	spans := res.ScopeSpans[0].Spans
	if len(spans) != 2 || res.ScopeSpans[0].Scope.Name != "every.channel" {
		t.Fatalf("%v", res)
	}
	root, child := spans[0], spans[1]
	if len(root.TraceId) != 16 || len(root.SpanId) != 8 || len(root.ParentSpanId) != 0 || root.Name != "receive" || root.Kind != tracev1.Span_SPAN_KIND_CONSUMER ||
		root.StartTimeUnixNano != uint64(start.UnixNano()) || root.EndTimeUnixNano != uint64(start.Add(time.Second).UnixNano()) || root.Status != nil {
		t.Errorf("%v", root)
	}
	if a := root.Attributes; len(a) != 2 || a[0].Key != "ec.group" || a[0].Value.GetIntValue() != 7 || a[1].Value.GetStringValue() != "a\ufffd" {
		t.Errorf("%v", a)
	}
	if !bytes.Equal(child.TraceId, root.TraceId) || !bytes.Equal(child.ParentSpanId, root.SpanId) || bytes.Equal(child.SpanId, root.SpanId) ||
		child.EndTimeUnixNano != child.StartTimeUnixNano || child.Status.GetCode() != tracev1.Status_STATUS_CODE_ERROR || child.Status.GetMessage() != "gone" {
		t.Errorf("%v", child)
	}
	for _, s := range two.ResourceSpans[0].ScopeSpans[0].Spans {
		if !bytes.Equal(s.TraceId, root.TraceId) || !bytes.Equal(s.ParentSpanId, root.SpanId) {
			t.Errorf("another program tells of another trace: %v", s)
		}
	}
}

// The part of all objects that is looked at is the one that was asked for; of no tracer, none is, at no cost.
func TestRatio(t *testing.T) {
	for _, ratio := range []float64{0, 0.1, 0.5, 1} {
		tr, err := New(Config{URL: "http://localhost:1", Ratio: ratio})
		if err != nil {
			t.Fatal(err)
		}
		if ratio == 0 {
			ratio = DefaultRatio
		}
		const all = 20000
		n := 0.0
		for i := range uint64(all) {
			if _, ok := tr.Of(name, i, 0); ok {
				n++
			}
		}
		if n < all*ratio*0.8-10 || n > all*ratio*1.2+10 {
			t.Errorf("%v of all: %v of %d", ratio, n, all)
		}
		if allocs := testing.AllocsPerRun(100, func() { tr.Of(name, 1, 1) }); allocs > 0 {
			t.Errorf("%v allocations for an object", allocs)
		}
	}
	var none *Tracer
	if _, ok := none.Of(name, 1, 1); ok {
		t.Error("nobody looks, and an object is looked at")
	}
	for _, c := range []Config{{URL: "localhost:4318"}, {URL: "ftp://a"}, {URL: "http://"}, {URL: "http://a", Ratio: 1.5}, {URL: "http://a", Ratio: -1}} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}

// A collector that takes nothing, or is not there, is told of once, without the password in its URL, and nobody waits for it.
func TestNoCollector(t *testing.T) {
	got := make(chan *tracev1.TracesData, 10)
	for _, url := range []string{collector(t, got, 503).URL, "http://127.0.0.1:1"} {
		var log bytes.Buffer
		tr, err := New(Config{URL: strings.Replace(url, "//", "//user:secret@", 1), Ratio: 1, Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		id, _ := tr.Of(name, 1, 1)
		for range 3 * waiting {
			tr.Add(Span{ID: id, Start: time.Now(), End: time.Now()})
		}
		if n := tr.dropped.Load(); n != 2*waiting {
			t.Errorf("%d spans dropped", n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		tr.Run(ctx)
		if n := strings.Count(log.String(), "does not take traces"); n != 1 || strings.Contains(log.String(), "secret") {
			t.Error(log.String())
		}
	}
}
