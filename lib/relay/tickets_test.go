package relay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go/quicvarint"

	"every.channel/ec/lib/admin"
	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/ticket"
)

// A ticket names where others reach what listens on UDP, and no socket of this machine.
func TestReachable(t *testing.T) {
	machine := []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")}
	for name, test := range map[string]struct {
		listen []net.Addr
		want   []string
	}{
		"one address": {[]net.Addr{&net.UDPAddr{IP: net.IPv4(198, 51, 100, 1), Port: 4443}}, []string{"moqt://198.51.100.1:4443"}},
		"any address": {[]net.Addr{&net.UDPAddr{IP: net.IPv6unspecified, Port: 4443}}, []string{"moqt://192.0.2.7:4443", "moqt://[2001:db8::7]:4443"}},
		"a socket":    {[]net.Addr{&net.UnixAddr{Name: "/run/relay", Net: "unix"}, &net.TCPAddr{IP: net.IPv4(198, 51, 100, 1), Port: 4443}}, nil},
	} {
		if got := reachable(test.listen, machine); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// door is a relay with its operators' door.
type door struct {
	dir, addr, pin string
	stop           func()
}

// openDoor runs a relay in its folder, or an empty one, until stop or the end of the test.
func openDoor(t *testing.T, conf ServerConfig) door {
	t.Helper()
	if conf.Dir == "" {
		conf.Dir = t.TempDir()
	}
	ready := make(chan Started, 1)
	conf.Ready = func(up Started) { ready <- up }
	conf.Relay.DrainTimeout = time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, conf) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	select {
	case up := <-ready:
		return door{conf.Dir, up.Listen[0].String(), up.Fingerprint, stop}
	case err := <-done:
		done <- nil
		t.Fatal("does not start: ", err)
		return door{}
	}
}

func ask[T any](t *testing.T, d door, command string, args any) (record T, err error) {
	t.Helper()
	b, err := admin.Call(within(t, time.Minute), d.dir, command, args)
	if err == nil {
		if err := json.Unmarshal(b, &record); err != nil {
			t.Fatalf("%s: %s, %v", command, b, err)
		}
	}
	return record, err
}

// No ticket is made of an order that makes no sense, which is the caller's mistake and said in words.
func TestTicketOrders(t *testing.T) {
	d := openDoor(t, ServerConfig{Listen: []string{"127.0.0.1:0"}})
	forty := make([]string, 41)
	for i := range forty {
		forty[i] = "moqt://relay:4443"
	}
	for _, c := range []struct {
		args, words string
	}{
		{`{"life":1e300}`, "1e+300 seconds"},
		{`{"life":1e10}`, "1e+10 seconds"},
		{`{"life":1e-10}`, "1e-10 seconds"},
		{`{"life":-1}`, "-1 seconds"},
		{`{"life":"long"}`, "cannot unmarshal string"},
		{`{"uses":1.5}`, "cannot unmarshal number"},
		{`{"uses":4097}`, "at most 4096 may come"},
		{`{"uses":-1}`, "at most 4096 may come"},
		{`{"use":1}`, `unknown field "use"`},
		{`{"note":"a\nb"}`, "more than one line"},
		{`{"addresses":["relay"]}`, "relay"},
		{`{"addresses":["tcp://relay:4443"]}`, "not encrypted"},
		{`{"addresses":["moqt://relay:4443","WS://relay"]}`, "not encrypted"},
		{`{"addresses":["ecaearm3lpof2dulzp"]}`, "no address"},
		{`{"addresses":["moqt://` + strings.Repeat("r", 2048) + `:4443"]}`, "longer than 2048 bytes"},
		{`{"addresses":["` + strings.Join(forty, `","`) + `"]}`, "more than 16 addresses"},
	} {
		made, err := ask[TicketMade](t, d, "ticket", json.RawMessage(c.args))
		refused, is := errors.AsType[*admin.Error](err)
		if !is || refused.Exit != 64 || !strings.Contains(refused.Text, c.words) {
			t.Errorf("%.60s: %+v, %+v", c.args, made, err)
		}
	}
	if list, err := ask[TicketList](t, d, "tickets", nil); err != nil || len(list.Tickets) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	for _, command := range []string{"status", "store", "tickets", "relays"} {
		if _, err := ask[any](t, d, command, map[string]int{"x": 1}); err == nil || !strings.Contains(err.Error(), "unknown field") {
			t.Errorf("%s with what nobody knows: %v", command, err)
		}
	}
	for _, life := range []string{"1", "2.5", "3153600000", "0"} {
		made, err := ask[TicketMade](t, d, "ticket", json.RawMessage(`{"life":`+life+`}`))
		if tk, perr := ticket.Parse(made.Ticket); err != nil || perr != nil || tk.Expires.IsZero() != (life == "0") {
			t.Errorf("%s: %+v, %v, %v", life, made, err, perr)
		}
	}
}

// A relay that only listens where nothing is encrypted makes no ticket, but says why.
func TestTicketOfTCP(t *testing.T) {
	d := openDoor(t, ServerConfig{Listen: []string{"tcp://127.0.0.1:0"}})
	made, err := ask[TicketMade](t, d, "ticket", nil)
	if refused, is := errors.AsType[*admin.Error](err); !is || refused.Exit != 78 || !strings.Contains(refused.Text, "UDP") || !strings.Contains(refused.HintText, "--address") {
		t.Errorf("%+v, %+v", made, err)
	}
}

// A ticket is listed with what is left of it; revoked, it ends the sessions that came with it and lets nobody in.
func TestTicketRevoked(t *testing.T) {
	d := openDoor(t, ServerConfig{Listen: []string{"127.0.0.1:0"}})
	made, err := ask[TicketMade](t, d, "ticket", TicketOrder{Uses: 2, Life: 3600, Note: "summer house"})
	other, err2 := ask[TicketMade](t, d, "ticket", nil)
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	pin, err := moqt.PinFingerprint(d.pin)
	if err != nil {
		t.Fatal(err)
	}
	come := func(made TicketMade) (*moqt.Session, error) {
		t.Helper()
		tk, err := ticket.Parse(made.Ticket)
		if err != nil {
			t.Fatal(err)
		}
		s, err := moqt.Dial(within(t, time.Minute), "moqt://"+d.addr, pin, &moqt.Config{
			Tokens: []moqt.Token{{AliasType: wire.TokenUseValue, Type: ticket.TokenType, Value: tk.Token([16]byte{1})}},
		})
		if err == nil {
			go s.Run(context.Background())
		}
		return s, err
	}
	s, err := come(made)
	stays, err2 := come(other)
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	defer stays.Close(wire.NoError, "")
	status, err := ask[Status](t, d, "status", nil)
	if err != nil || len(status.Tickets) != 2 {
		t.Fatalf("%+v, %v", status.Tickets, err)
	}
	if got := status.Tickets[0]; got.ID != made.ID || got.Note != "summer house" || got.Uses != 2 || got.Left == nil || *got.Left != 1 || got.Expires == nil || !got.Expires.Equal(*made.Expires) {
		t.Errorf("%+v", got)
	}
	if got := status.Tickets[1]; got.ID != other.ID || got.Left != nil || got.Expires != nil {
		t.Errorf("%+v", got)
	}
	if _, err := ask[Revoked](t, d, "revoke", Revocation{ID: "0123456789abcdef"}); err == nil || !strings.Contains(err.Error(), "no ticket") {
		t.Errorf("%v", err)
	}
	gone, err := ask[Revoked](t, d, "revoke", Revocation{ID: made.ID})
	if err != nil || gone.Sessions != 1 {
		t.Errorf("%+v, %v", gone, err)
	}
	select {
	case <-s.Context().Done():
		if why, _ := errors.AsType[*moqt.SessionError](context.Cause(s.Context())); why == nil || why.Code != wire.Unauthorized || !strings.Contains(why.Reason, "revoked") {
			t.Errorf("%v", context.Cause(s.Context()))
		}
	case <-time.After(20 * time.Second):
		t.Error("the session goes on")
	}
	if _, err := come(made); err == nil || !strings.Contains(err.Error(), "does not know") {
		t.Errorf("%v", err)
	}
	if stays.Context().Err() != nil {
		t.Error("another ticket's session ended")
	}
}

// A ticket that is revoked while a session with it is in its handshake lets that one do nothing. The client here gives the relay no
// stream to answer its SETUP on until then, which takes as long as the client likes.
func TestTicketRevokedDuringHandshake(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "relay")
	d := openDoor(t, ServerConfig{Listen: []string{"127.0.0.1:0", "unix://" + socket}})
	made, err := ask[TicketMade](t, d, "ticket", TicketOrder{Uses: 1})
	if err != nil {
		t.Fatal(err)
	}
	tk, err := ticket.Parse(made.Ticket)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	varints := func(list ...uint64) (b []byte) {
		for _, v := range list {
			b = quicvarint.Append(b, v)
		}
		return b
	}
	record := func(frame []byte, data ...byte) { // docs/format/qmux.md
		t.Helper()
		if _, err := c.Write(slices.Concat(varints(uint64(len(frame)+len(data))), frame, data)); err != nil {
			t.Fatal(err)
		}
	}
	const parameters, maxData, maxStreamDataUni, protocols, draft = 0x3f5153300d0a0d0a, 0x04, 0x07, 0x3d4f9c2a8b1e6075, "moqt-18"
	p := slices.Concat(varints(maxData, 4, 1<<20, maxStreamDataUni, 4, 1<<20, protocols, 1+uint64(len(draft)), uint64(len(draft))), []byte(draft))
	record(varints(parameters, uint64(len(p))), p...)
	setup, err := wire.AppendMessage(nil, wire.Draft18, &wire.Setup{Parameters: wire.SetupParameters{
		Tokens: []moqt.Token{{AliasType: wire.TokenUseValue, Type: ticket.TokenType, Value: tk.Token([16]byte{1})}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	const stream, first = 0x08, 2 // STREAM to the end of the record, the first unidirectional one of the client
	record(varints(stream, first), setup...)
	for left := 1; left > 0; { // until the relay has let it in
		list, err := ask[TicketList](t, d, "tickets", nil)
		if err != nil || len(list.Tickets) != 1 {
			t.Fatalf("%+v, %v", list, err)
		}
		left = *list.Tickets[0].Left
	}
	if gone, err := ask[Revoked](t, d, "revoke", Revocation{ID: made.ID}); err != nil || gone.Sessions != 0 {
		t.Fatalf("%+v, %v", gone, err)
	}
	const maxStreamsUni = 0x13
	record(varints(maxStreamsUni, 10))
	all, err := io.ReadAll(c)
	if err != nil || !bytes.Contains(all, []byte(mesh.ErrUnknownTicket.Error())) {
		t.Errorf("the session was not ended with words: %q, %v", all, err)
	}
}
