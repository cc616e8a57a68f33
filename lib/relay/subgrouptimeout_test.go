package relay

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// inTime makes a session over a pipe, which belongs to the time of a bubble as sockets do not; leave ends it and waits for both sides.
func (s *server) inTime(v moqt.Version) (ms *moqt.Session, leave func()) {
	client, sc := moqt.Pipe(moqt.PipeOptions{Version: v})
	ms = moqt.NewClient(client, "relay", "/", nil)
	over := make(chan struct{}, 2)
	go func() { s.serve(context.Background(), moqt.NewServer(sc, nil)); over <- struct{}{} }()
	go func() { ms.Run(context.Background()); over <- struct{}{} }()
	return ms, func() {
		ms.Close(wire.NoError, "")
		<-over
		<-over
	}
}

// The delivery timeout of a subgroup runs from the moment its publisher ended it: what a subscriber is too slow for is reset.
func TestSubgroupTimeout(t *testing.T) {
	for name, timeout := range map[string]time.Duration{"short": 2 * time.Second, "long": time.Hour} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, func(t *testing.T) {
				s := start(t, t.TempDir(), pipe, Config{}, store.Config{})
				p := s.publisher(t, ts)
				ms, leave := s.inTime(wire.Draft18)
				defer leave()
				p.put(large(0, 0)) // the track is there
				s.stored(t, 1)
				o := from(1)
				o.SubgroupTimeout = timeout
				sub, err := ms.Subscribe(within(t, time.Minute), ts, o)
				if err != nil {
					t.Fatal(err)
				}
				p.w.Close()
				p.w = nil
				for id := range uint64(3) {
					p.put(large(1, id)) // more than fits without being read
				}
				p.put(&object.Object{Group: 1, ID: 3, Status: object.EndOfGroup})
				s.stored(t, 5)
				time.Sleep(10 * time.Second)
				r, err := sub.AcceptSubgroup(within(t, time.Minute))
				for n := 0; err == nil && n < 5; n++ {
					if _, err = r.Next(); err == nil {
						_, err = io.Copy(io.Discard, r)
					}
				}
				synctest.Wait() // a reset is counted after it was sent
				var reset *moqt.StreamResetError
				switch late := errors.As(err, &reset) && reset.Code == wire.ResetDeliveryTimeout; {
				case late != (timeout < time.Minute), !late && err != io.EOF:
					t.Errorf("the subgroup ends with %v", err)
				case late && s.Stats().ResetTimeout != 1:
					t.Errorf("%+v", s.Stats())
				}
			})
		})
	}
}

// The delivery timeout of objects runs from when an object's header came to when the object is handed to the transport: what has waited
// longer is reset, whether there is a newer group or not. In draft 20 the first object of a subgroup may say how long that is.
func TestObjectTimeout(t *testing.T) {
	second := []byte{0x02, 0x43, 0xe8} // OBJECT_DELIVERY_TIMEOUT of 1,000 ms
	for name, c := range map[string]struct {
		version  moqt.Version
		asked    time.Duration
		first    []byte // properties of the first object
		objects  int    // that arrive before the reset
		timesOut bool
	}{
		"asked for":                 {wire.Draft18, 2 * time.Second, nil, 2, true},
		"long enough":               {wire.Draft18, time.Hour, nil, 3, false},
		"of the subgroup":           {wire.Draft20, time.Hour, append(second, 0x04, 0x00), 1, true},
		"of the subgroup, draft 18": {wire.Draft18, time.Hour, append(second, 0x04, 0x00), 3, false},
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, func(t *testing.T) {
				s := start(t, t.TempDir(), pipe, Config{}, store.Config{})
				p := s.publisher(t, ts)
				ms, leave := s.inTime(c.version)
				defer leave()
				p.put(large(0, 0)) // the track is there
				s.stored(t, 1)
				o := from(1)
				o.DeliveryTimeout = c.asked
				sub, err := ms.Subscribe(within(t, time.Minute), ts, o)
				if err != nil {
					t.Fatal(err)
				}
				p.w.Close()
				p.w = nil
				for id := range uint64(3) {
					obj := large(1, id)
					if id == 0 {
						obj.Properties = c.first
					}
					p.put(obj)
				}
				r, err := sub.AcceptSubgroup(within(t, time.Minute))
				read := 0
				for ; err == nil && read < 3; read++ {
					if _, err = r.Next(); err != nil {
						break
					}
					time.Sleep(1500 * time.Millisecond) // the next object waits meanwhile
					if _, err = io.Copy(io.Discard, r); err != nil {
						break
					}
				}
				synctest.Wait() // a reset is counted after it was sent
				var reset *moqt.StreamResetError
				late := errors.As(err, &reset) && reset.Code == wire.ResetDeliveryTimeout
				if late != c.timesOut || read > c.objects || late != (s.Stats().ResetTimeout == 1) {
					t.Errorf("%d objects, then %v; %+v", read, err, s.Stats())
				}
			})
		})
	}
}
