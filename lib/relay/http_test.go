package relay

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"every.channel/ec/lib/admin"
	"every.channel/ec/lib/gateway"
	"every.channel/ec/lib/keys"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/ticket"
)

// withHTTP runs a relay with a page until the end of the test.
func withHTTP(t *testing.T, set ...func(*ServerConfig)) (up Started, s *server) {
	t.Helper()
	dir, ready := t.TempDir(), make(chan Started, 1)
	conf := ServerConfig{
		Listen: []string{"127.0.0.1:0"}, HTTP: []string{"127.0.0.1:0", "https://127.0.0.1:0"}, Dir: dir, Name: "home",
		Page: fstest.MapFS{"index.html": {Data: []byte("page")}}, Relay: Config{DrainTimeout: 10 * time.Millisecond},
		Ready: func(up Started) { ready <- up },
	}
	for _, f := range set {
		f(&conf)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, conf) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case up = <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	pin, err := moqt.PinFingerprint(up.Fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	return up, &server{dir: dir, addr: up.Listen[0].String(), tls: pin}
}

// TestHTTP: page, relay.json with hashes of what browsers see, and the same with TLS by the relay's own certificate.
func TestHTTP(t *testing.T) {
	up, s := withHTTP(t)
	if len(up.HTTP) != 2 || !strings.HasPrefix(up.HTTP[0], "http://127.0.0.1:") || !strings.HasPrefix(up.HTTP[1], "https://127.0.0.1:") {
		t.Fatal(up.HTTP)
	}
	certs, err := keys.Open(keys.Config{Dir: s.dir})
	if err != nil {
		t.Fatal(err)
	}
	browser, err := certs.Get(&tls.ClientHelloInfo{})
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{TLSClientConfig: s.tls}
	defer tr.CloseIdleConnections()
	for _, base := range up.HTTP {
		for path, want := range map[string]string{"": "page", "healthz": "ok\n", "relay.json": ""} {
			req, _ := http.NewRequestWithContext(within(t, time.Minute), "GET", base+path, nil)
			res, err := (&http.Client{Transport: tr}).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil || res.StatusCode != 200 || want != "" && string(b) != want {
				t.Errorf("%s%s: %d %q, %v", base, path, res.StatusCode, b, err)
			}
			if csp, ws := res.Header.Get("Content-Security-Policy"), "ws"+strings.TrimSuffix(strings.TrimPrefix(base, "http"), "/"); !strings.Contains(csp, "connect-src 'self' "+ws+" https://"+s.addr+";") {
				t.Errorf("%s: %s", base, csp)
			}
			if path != "relay.json" {
				continue
			}
			var i gateway.Info
			if err := json.Unmarshal(b, &i); err != nil {
				t.Fatal(err)
			}
			leaf := keys.OfCertificate(browser.Leaf)
			if i.Name != "home" || i.WebSocket != "/moq" || len(i.WebTransport) != 1 || i.WebTransport[0] != "https://"+s.addr+"/" || len(i.Hashes) != 2 || !bytes.Equal(i.Hashes[0].Value, leaf[:]) {
				t.Errorf("%+v", i)
			}
		}
	}
	b, err := admin.Call(within(t, time.Minute), s.dir, "status", nil)
	var st Status
	if err == nil {
		err = json.Unmarshal(b, &st)
	}
	if err != nil || strings.Join(st.HTTP, " ") != strings.Join(up.HTTP, " ") {
		t.Errorf("status: %v, %v", st.HTTP, err)
	}
}

// TestMoQByHTTP: sessions at /moq read what is published elsewhere, and publish nothing themselves.
func TestMoQByHTTP(t *testing.T) {
	up, s := withHTTP(t)
	p := s.publisher(t, ts)
	p.group(4)
	for i, base := range up.HTTP {
		web := &server{addr: "ws" + strings.TrimPrefix(base, "http") + "moq", tls: s.tls}
		var v *viewer
		var err error
		wait(t, "the track", func() bool { v, err = web.view(t, ts, from(0)); return err == nil })
		v.whole(1)
		c := web.dial(t, nil)
		_, err = c.Publish(within(t, time.Minute), ts, moqt.PublishOptions{})
		if refused, ok := errors.AsType[*moqt.RequestError](err); !ok || refused.Code != wire.RequestUnauthorized {
			t.Errorf("%s: PUBLISH: %v", base, err)
		}
		_, err = c.PublishNamespace(within(t, time.Minute), ts.Namespace)
		if refused, ok := errors.AsType[*moqt.RequestError](err); !ok || refused.Code != wire.RequestUnauthorized {
			t.Errorf("%s: PUBLISH_NAMESPACE: %v", base, err)
		}
		p.group(uint64(5 + i)) // the others go on
		v.whole(2 + i)
	}
	// A page of a foreign origin has no session, and the address is nothing but MoQ.
	for _, header := range []http.Header{
		{"Origin": {"https://evil.example"}, "Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="}, "Sec-Websocket-Protocol": {"qmux-01.moqt-18"}},
		{},
	} {
		req, _ := http.NewRequestWithContext(within(t, time.Minute), "GET", up.HTTP[0]+"moq", nil)
		req.Header = header
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if want := map[bool]int{true: http.StatusForbidden, false: http.StatusUpgradeRequired}[len(header) > 0]; res.StatusCode != want {
			t.Errorf("%v: %d", header, res.StatusCode)
		}
	}
}

// TestNoPeerByHTTP: what comes by HTTP is nobody's upstream, though it shows a ticket that lets it be one elsewhere.
func TestNoPeerByHTTP(t *testing.T) {
	up, s := withHTTP(t)
	line, err := admin.Call(within(t, time.Minute), s.dir, "ticket", nil)
	var made TicketMade
	if err == nil {
		err = json.Unmarshal(line, &made)
	}
	if err != nil {
		t.Fatal(err)
	}
	tk, err := ticket.Parse(made.Ticket)
	if err != nil {
		t.Fatal(err)
	}
	conf := &moqt.Config{Tokens: []moqt.Token{{AliasType: wire.TokenUseValue, Type: ticket.TokenType, Value: tk.Token([16]byte{1})}}}
	for address, want := range map[string]string{
		"moqt://" + s.addr: peerAccepted,
		"ws" + strings.TrimPrefix(up.HTTP[0], "http") + "moq": peerRefused,
		"ws" + strings.TrimPrefix(up.HTTP[1], "http") + "moq": peerRefused,
	} {
		ms, err := moqt.Dial(within(t, time.Minute), address, s.tls, conf)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { ms.Run(context.Background()); close(done) }()
		o := moqt.SubscribeNamespaceOptions{Tokens: []moqt.Token{{AliasType: wire.TokenUseValue, Type: peerToken, Value: []byte(newRelayID())}}}
		sub, err := ms.SubscribeNamespace(within(t, time.Minute), object.Namespace{routesField}, o)
		for err == nil {
			var e moqt.NamespaceEvent
			if e, err = sub.Next(within(t, time.Minute)); err == nil && len(e.Namespace) == 3 && e.Namespace[1] == statePeer {
				if e.Namespace[2] != want {
					t.Errorf("%s: %q, want %q", address, e.Namespace[2], want)
				}
				break
			}
		}
		if err != nil {
			t.Errorf("%s: %v", address, err)
		}
		ms.Close(wire.NoError, "")
		<-done
	}
}

// TestLiveTS: what is read by HTTP is the payloads of the broadcast's track, from the group on that is being sent.
func TestLiveTS(t *testing.T) {
	up, s := withHTTP(t)
	p := s.publisher(t, ts)
	p.group(1)
	for id := range uint64(2) { // half of a group
		p.put(part(2, id))
	}
	url := up.HTTP[0] + ts.Namespace.String() + "/live.ts"
	if res, err := http.Get(up.HTTP[0] + "ec-atsc-9-9/live.ts"); err != nil || res.StatusCode != http.StatusNotFound {
		t.Errorf("what is not there: %v, %v", res, err)
	} else {
		res.Body.Close()
	}
	// A namespace stands for the current track of its catalog.
	cat := ts
	cat.Name = "catalog"
	c := s.dial(t, nil)
	pub, err := c.Publish(within(t, time.Minute), cat, moqt.PublishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := pub.OpenSubgroup(within(t, time.Minute), moqt.SubgroupHeader{Group: 1})
	if err == nil {
		err = errors.Join(w.WriteObject(0, nil, 0, []byte(`{"version":"draft-01","tracks":[{"name":"`+ts.Name+`","packaging":"m2ts","isLive":true}]}`)), w.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	var res *http.Response
	wait(t, "the broadcast", func() bool {
		req, _ := http.NewRequestWithContext(within(t, time.Minute), "GET", url, nil)
		if res, err = http.DefaultClient.Do(req); err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != 200 {
			res.Body.Close()
		}
		return res.StatusCode == 200
	})
	defer res.Body.Close()
	want := func(o ...uint64) {
		t.Helper()
		for i := 0; i < len(o); i += 2 {
			payload := part(o[i], o[i+1]).Payload
			b := make([]byte, len(payload))
			if _, err := io.ReadFull(res.Body, b); err != nil || !bytes.Equal(b, payload) {
				t.Fatalf("object %d/%d: %v", o[i], o[i+1], err)
			}
		}
	}
	want(2, 0, 2, 1)
	for id := uint64(2); id <= parts; id++ {
		p.put(part(2, id))
	}
	want(2, 2, 2, 3, 2, 4)
	p.group(3)
	want(3, 0, 3, 1, 3, 2, 3, 3, 3, 4)
}

// TestRebinding: a page whose name was made to lead to the relay has nothing of the relay; the relay's own
// names and addresses have all (of WebTransport: TestWebTransportAttacks).
func TestRebinding(t *testing.T) {
	up, _ := withHTTP(t)
	name, _ := os.Hostname()
	for host, want := range map[string]int{"evil.example": 421, "127.0.0.1": 200, "localhost": 200, "[::1]": 200, name: 200} {
		req, _ := http.NewRequestWithContext(within(t, time.Minute), "GET", up.HTTP[0]+"relay.json", nil)
		req.Host = host + ":8080"
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: %d, want %d", host, res.StatusCode, want)
		}
	}
}
