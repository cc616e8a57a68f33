package relay

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"every.channel/ec/lib/store"
	"every.channel/ec/lib/trace"
)

// The way of an object is seen: from its publisher, into the store, to a subscriber.
func TestTraces(t *testing.T) {
	var mu sync.Mutex
	spans := map[string][]*tracev1.Span{} // by trace
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		var d tracev1.TracesData
		if err == nil {
			err = proto.Unmarshal(b, &d)
		}
		if err != nil {
			t.Error(err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, s := range d.ResourceSpans[0].ScopeSpans[0].Spans {
			spans[string(s.TraceId)] = append(spans[string(s.TraceId)], s)
		}
	}))
	t.Cleanup(collector.Close)
	tracer, err := trace.New(trace.Config{URL: collector.URL, Ratio: 1, Service: "ec-relay"})
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, t.TempDir(), "127.0.0.1:0", Config{Traces: tracer}, store.Config{})
	p := s.publisher(t, ts)
	p.group(7)
	s.stored(t, parts+1)
	v, err := s.view(t, ts, from(0))
	if err != nil {
		t.Fatal(err)
	}
	v.whole(1)
	s.stop() // the tracer sends what it has

	mu.Lock()
	defer mu.Unlock()
	if len(spans) != parts+1 {
		t.Fatalf("%d traces of %d objects", len(spans), parts+1)
	}
	for _, list := range spans {
		by := map[string]*tracev1.Span{}
		for _, s := range list {
			by[s.Name] = s
		}
		receive, kept, sent := by["receive"], by["store"], by["send"]
		if len(list) != 3 || receive == nil || kept == nil || sent == nil {
			t.Fatalf("%v", list)
		}
		if len(receive.ParentSpanId) > 0 || string(kept.ParentSpanId) != string(receive.SpanId) || string(sent.ParentSpanId) != string(receive.SpanId) {
			t.Errorf("%v", list)
		}
		if kept.StartTimeUnixNano < receive.StartTimeUnixNano || kept.EndTimeUnixNano > receive.EndTimeUnixNano || sent.EndTimeUnixNano < sent.StartTimeUnixNano {
			t.Errorf("%v", list)
		}
		about := map[string]string{}
		for _, a := range sent.Attributes {
			about[a.Key] = a.Value.String()
		}
		if about["ec.track"] != `string_value:"`+ts.String()+`"` || about["ec.group"] != "int_value:7" || about["ec.peer"] == "" {
			t.Errorf("%v", about)
		}
	}
}
