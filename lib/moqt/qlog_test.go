package moqt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"every.channel/ec/lib/moqt/wire"
)

type qlogEvent struct {
	Time float64
	Name string
	Data map[string]any
}

// readQLog parses a JSON text sequence; the first record is the header.
func readQLog(t *testing.T, name string) (header map[string]any, events []qlogEvent) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	records := bytes.Split(b, []byte{0x1e})
	if len(records) < 2 || len(records[0]) > 0 {
		t.Fatalf("%s does not begin with a record separator", name)
	}
	if err := json.Unmarshal(records[1], &header); err != nil {
		t.Fatalf("%s: header: %v", name, err)
	}
	for i, r := range records[2:] {
		var e qlogEvent
		if err := json.Unmarshal(r, &e); err != nil {
			t.Fatalf("%s: record %d: %v: %s", name, i+2, err, r)
		}
		events = append(events, e)
	}
	return header, events
}

// sessionLogs finds the logs of two sessions that ended, not those of connections.
func sessionLogs(t *testing.T, dir string) (client, server string) {
	t.Helper()
	names, _ := filepath.Glob(filepath.Join(dir, "2*T*.sqlog"))
	for _, n := range names {
		if strings.HasSuffix(n, "_client.sqlog") {
			client = n
		} else {
			server = n
		}
	}
	if len(names) != 2 || client == "" || server == "" {
		t.Fatalf("logs of both sessions: %v", names)
	}
	return client, server
}

// find returns the first event of a name whose data has all of what want has.
func find(events []qlogEvent, name string, want map[string]any) *qlogEvent {
	for i, e := range events {
		ok := e.Name == name
		for k, v := range want {
			ok = ok && e.Data[k] == v
		}
		if ok {
			return &events[i]
		}
	}
	return nil
}

// TestQLog: both ends of a session log what they write and read, with every draft and over every transport.
func TestQLog(t *testing.T) {
	everywhere(t, func(t *draftT) {
		dir := filepath.Join(t.TempDir(), "made", "when needed")
		conf := func(h Handler) *Config { return &Config{Handler: h, QLogDir: dir} }
		h, pubs := accepting(TrackInfo{})
		h.fetch = func(_ context.Context, r *FetchRequest) {
			if w, err := r.Accept(FetchInfo{End: r.End}); err == nil {
				w.WriteObject(FetchObject{Group: 1, ID: 2}, []byte("fetched"))
				w.Close()
			}
		}
		c, s := pipePair(t, conf(nil), conf(h))
		ctx := testContext(t)
		secret := Token{AliasType: wire.TokenUseValue, Value: []byte("secret-token")}
		sub, err := c.Subscribe(ctx, testTrack, SubscribeOptions{Tokens: []Token{secret}})
		if err != nil {
			t.Fatal(err)
		}
		p := recv(t, pubs)
		w, err := p.OpenSubgroup(ctx, SubgroupHeader{Group: 7, Subgroup: 3, HasProperties: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.WriteObject(5, []byte{0x3c, 1}, wire.StatusNormal, []byte("payload")), w.WriteObject(9, nil, wire.StatusEndOfGroup, nil), w.Close()); err != nil {
			t.Fatal(err)
		}
		g, err := sub.AcceptSubgroup(ctx)
		for err == nil {
			_, err = g.Next()
		}
		if err != io.EOF {
			t.Fatal(err)
		}
		if err := p.SendDatagram(Datagram{Group: 8, Payload: []byte("d")}); err != nil {
			t.Fatal(err)
		}
		if _, err := sub.AcceptDatagram(ctx); err != nil {
			t.Fatal(err)
		}
		f, err := c.Fetch(ctx, testTrack, Location{Group: 1}, Location{Group: 2}, FetchOptions{})
		for err == nil {
			_, err = f.Next()
		}
		if err != io.EOF {
			t.Fatal(err)
		}
		sub.Unsubscribe()
		done(t, p.Context())
		c.Close(wire.NoError, "that is all")
		ended(t, c)
		ended(t, s)
		client, server := sessionLogs(t.T, dir)
		for _, side := range []struct {
			file                string
			typ, control, other string
		}{{client, "client", "created", "parsed"}, {server, "server", "parsed", "created"}} {
			header, events := readQLog(t.T, side.file)
			trace := header["trace"].(map[string]any)
			if header["file_schema"] != "urn:ietf:params:qlog:file:sequential" || trace["vantage_point"].(map[string]any)["type"] != side.typ {
				t.Errorf("header %v", header)
			}
			checkSchemas(t.T, header, events)
			subscribe := find(events, "moqt:control_message_"+side.control, nil)
			for i, e := range events {
				if m, _ := e.Data["message"].(map[string]any); m["type"] == "subscribe" && e.Name == "moqt:control_message_"+side.control {
					subscribe = &events[i]
				}
			}
			if m := subscribe.Data["message"].(map[string]any); m["track_name"].(map[string]any)["value"] != "video" || len(m["track_namespace"].([]any)) != 2 {
				t.Errorf("%s: %v", side.typ, subscribe)
			}
			object := find(events, "moqt:subgroup_object_"+side.other, map[string]any{"object_id": 5.0, "object_payload_length": 7.0, "properties_length": 2.0})
			status := find(events, "moqt:subgroup_object_"+side.other, map[string]any{"object_id": 9.0, "object_id_delta": 3.0, "object_status": 3.0})
			head := find(events, "moqt:subgroup_header_"+side.other, map[string]any{"group_id": 7.0, "subgroup_id": 3.0})
			typ := find(events, "moqt:stream_type_set", map[string]any{"stream_type": "subgroup_header"})
			if object == nil || status == nil || head == nil || typ == nil || head.Data["stream_id"] != object.Data["stream_id"] ||
				find(events, "moqt:object_datagram_"+side.other, map[string]any{"group_id": 8.0}) == nil ||
				find(events, "moqt:fetch_header_"+side.other, nil) == nil ||
				find(events, "moqt:fetch_object_"+side.other, map[string]any{"group_id": 1.0, "object_id": 2.0, "object_payload_length": 7.0}) == nil ||
				find(events, "moqt:stream_type_set", map[string]any{"stream_type": "control"}) == nil ||
				find(events, "ec:session_closed", map[string]any{"code": "NO_ERROR", "reason": "that is all"}) == nil {
				t.Errorf("%s: missing events in %+v", side.typ, events)
			}
			if b, _ := os.ReadFile(side.file); bytes.Contains(b, []byte("secret")) {
				t.Error("a token is in the log")
			}
		}
	})
}

// TestQLogIsBounded: a log ends before the event that does not fit, whole; the session goes on.
func TestQLogIsBounded(t *testing.T) {
	dir := t.TempDir()
	const size = 4000
	h, pubs := accepting(TrackInfo{})
	c, _ := quicPair(t, nil, &Config{Handler: h, QLogDir: dir, QLogSize: size})
	ctx := testContext(t)
	sub, err := c.Subscribe(ctx, testTrack, SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p := recv(t, pubs)
	for g := range uint64(200) {
		writeObject(t, p, g, 0, "object")
		readObject(t, sub)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.sqlog"))
	if err != nil || len(names) != 2 {
		t.Fatalf("%v, %v: want one log of the session and one of the connection", names, err)
	}
	for _, n := range names {
		st, err := os.Stat(n)
		if err != nil || st.Size() > size {
			t.Errorf("%s: %d bytes, %v", n, st.Size(), err)
		}
		if strings.Contains(filepath.Base(n), "T") {
			if _, events := readQLog(t, n); len(events) < 10 || st.Size() < size/2 {
				t.Errorf("%d events in %d bytes", len(events), st.Size())
			}
		}
	}
}

// TestQLogThatCannotBeWritten: a session does not need its log.
func TestQLogThatCannotBeWritten(t *testing.T) {
	notFolder := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(notFolder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h, pubs := accepting(TrackInfo{})
	c, s := quicPair(t, &Config{QLogDir: notFolder}, &Config{Handler: h, QLogDir: t.TempDir()})
	s.qlog.mu.Lock()
	s.qlog.f.Close() // writes fail from now on
	s.qlog.mu.Unlock()
	sub, err := c.Subscribe(testContext(t), testTrack, SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p := recv(t, pubs)
	for g := range uint64(10) {
		writeObject(t, p, g, 0, "object")
		readObject(t, sub)
	}
	if c.qlog != nil {
		t.Error("a log in what is no folder")
	}
}

// TestQLogOfAnyMessage: whatever of a message a peer leaves out or puts in, its log is JSON.
func TestQLogOfAnyMessage(t *testing.T) {
	for _, m := range []wire.Message{
		new(wire.ClientSetup), new(wire.ServerSetup), new(wire.Setup), new(wire.GoAway), new(wire.MaxRequestID), new(wire.RequestsBlocked),
		new(wire.RequestOK), new(wire.RequestError), new(wire.RequestUpdate), new(wire.Subscribe), new(wire.SubscribeOK), new(wire.Unsubscribe),
		new(wire.Publish), new(wire.PublishOK), new(wire.PublishDone), new(wire.PublishBlocked), new(wire.PublishStateNotify), new(wire.Fetch),
		new(wire.FetchOK), new(wire.FetchCancel), new(wire.TrackStatus), new(wire.PublishNamespace), new(wire.PublishNamespaceDone),
		new(wire.PublishNamespaceCancel), new(wire.Namespace), new(wire.NamespaceDone), new(wire.SubscribeNamespace), new(wire.SubscribeTracks),
	} {
		v := reflect.ValueOf(m).Elem()
		for depth := range 5 {
			made(v, depth)
			if b, err := json.Marshal(qlogMessage(m)); err != nil || len(b) == 0 {
				t.Errorf("%T with pointers %d deep: %s, %v", m, depth, b, err)
			}
		}
	}
}

// made gives pointers something to point at, so many of them deep, and slices an element.
func made(v reflect.Value, depth int) {
	if depth == 0 || !v.CanSet() {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		made(v.Elem(), depth-1)
	case reflect.Struct:
		for i := range v.NumField() {
			made(v.Field(i), depth)
		}
	case reflect.Slice:
		if v.Len() == 0 {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		}
		made(v.Index(0), depth-1)
	}
}

func TestSnake(t *testing.T) {
	for name, want := range map[string]string{
		"RequestID": "request_id", "GoAway": "goaway", "PublishOK": "publish_ok", "NewSessionURI": "new_session_uri", "MaxRequestID": "max_request_id",
	} {
		if got := snake(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

// TestQLogOffCostsNothing: without a log an object's header allocates nothing on either side of it.
func TestQLogOffCostsNothing(t *testing.T) {
	s := &Session{cfg: (*Config)(nil).withDefaults(), v: wire.Draft18}
	p := &Publication{s: s}
	w := &SubgroupWriter{p: p}
	w.objectWriter.s, w.objectWriter.st = s, discardStream{}
	id, payload := uint64(0), []byte("payload")
	if n := testing.AllocsPerRun(100, func() {
		if err := w.WriteObject(id, nil, wire.StatusNormal, payload); err != nil {
			t.Fatal(err)
		}
		id++
	}); n > 0 {
		t.Errorf("%v allocations an object", n)
	}
}

type discardStream struct{ SendStream }

func (discardStream) Write(p []byte) (int, error) { return len(p), nil }
func (discardStream) SetReliableBoundary()        {}

// moqtEvents are the events of draft-pardue-moq-qlog-moq-events-07 and the members they must have, and ours.
var moqtEvents = map[string]string{
	"moqt:control_message_created": "stream_id message", "moqt:control_message_parsed": "stream_id message",
	"moqt:stream_type_set":         "stream_id stream_type",
	"moqt:object_datagram_created": "track_alias group_id end_of_group", "moqt:object_datagram_parsed": "track_alias group_id end_of_group",
	"moqt:subgroup_header_created": "stream_id track_alias group_id subgroup_id_mode contains_end_of_group properties_present",
	"moqt:subgroup_header_parsed":  "stream_id track_alias group_id subgroup_id_mode contains_end_of_group properties_present",
	"moqt:subgroup_object_created": "stream_id object_id_delta object_payload_length",
	"moqt:subgroup_object_parsed":  "stream_id object_id_delta object_payload_length",
	"moqt:fetch_header_created":    "stream_id request_id", "moqt:fetch_header_parsed": "stream_id request_id",
	"moqt:fetch_object_created": "stream_id datagram end_of_nonexistent_range end_of_unknown_range object_payload_length",
	"moqt:fetch_object_parsed":  "stream_id datagram end_of_nonexistent_range end_of_unknown_range object_payload_length",
	"ec:stream_reset":           "owner stream_id code", "ec:stop_sending": "owner stream_id code", "ec:session_closed": "",
}

// checkSchemas: the events of a log are those of the schemas that it declares.
func checkSchemas(t *testing.T, header map[string]any, events []qlogEvent) {
	t.Helper()
	schemas := fmt.Sprint(header["trace"].(map[string]any)["event_schemas"])
	if schemas != "[urn:ietf:params:qlog:events:moqt-07 tag:every.channel,2026:qlog:ec-00]" {
		t.Errorf("schemas %s", schemas)
	}
	for _, e := range events {
		members, ok := moqtEvents[e.Name]
		if !ok {
			t.Errorf("%s is in no schema", e.Name)
		}
		for _, m := range strings.Fields(members) {
			if _, ok := e.Data[m]; !ok {
				t.Errorf("%s without %s: %v", e.Name, m, e.Data)
			}
		}
	}
}
