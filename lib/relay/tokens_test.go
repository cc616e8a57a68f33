package relay

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"every.channel/ec/lib/admin"
	"every.channel/ec/lib/mesh"
	"every.channel/ec/lib/moqt"
)

// A token is made, shown, listed and revoked at the operator's door, and no order that makes no sense makes one.
func TestTokenOrders(t *testing.T) {
	d := openDoor(t, ServerConfig{Listen: []string{"127.0.0.1:0"}})
	for _, c := range []struct{ command, args, words string }{
		{"token", `{}`, "would allow nothing"},
		{"token", `{"publish":["ec--x"]}`, "ec--x"},
		{"token", `{"publish":[""]}`, "no namespace"},
		{"token", `{"publish":["ec"],"life":1e300}`, "1e+300 seconds"},
		{"token", `{"publish":["ec"],"life":-1}`, "-1 seconds"},
		{"token", `{"publish":["ec"],"note":"a\nb"}`, "more than one line"},
		{"token", `{"read":["ec"],"x":1}`, `unknown field "x"`},
		{"tokens", `{"x":1}`, `unknown field "x"`},
		{"showtoken", `{"x":1}`, `unknown field "x"`},
		{"revoketoken", `{}`, "no id of a token"},
	} {
		_, err := ask[any](t, d, c.command, json.RawMessage(c.args))
		refused, is := errors.AsType[*admin.Error](err)
		if !is || refused.Exit != 64 || !strings.Contains(refused.Text, c.words) {
			t.Errorf("%s %s: %v", c.command, c.args, err)
		}
	}
	made, err := ask[TokenMade](t, d, "token", TokenOrder{Publish: []string{"ec-atsc"}, Read: []string{"*"}, Life: 3600, Subject: "roof", Note: "n"})
	fatal(t, err)
	shown, err := ask[TokenShown](t, d, "showtoken", TokenText{made.Token})
	if err != nil || shown.Why != "" || shown.ID != made.ID || shown.Subject != "roof" || len(shown.Allows) != 2 || shown.Allows[0].Below != "ec-atsc" || shown.Allows[1].Below != "*" {
		t.Errorf("%+v, %v", shown, err)
	}
	list, err := ask[TokenList](t, d, "tokens", nil)
	if err != nil || len(list.Tokens) != 1 || list.Tokens[0].Note != "n" {
		t.Errorf("%+v, %v", list, err)
	}
	revoked, err := ask[TokenRevoked](t, d, "revoketoken", Revocation{made.ID})
	if err != nil || !revoked.Here {
		t.Errorf("%+v, %v", revoked, err)
	}
	if shown, err := ask[TokenShown](t, d, "showtoken", TokenText{made.Token}); err != nil || !strings.Contains(shown.Why, "revoked") || shown.ID != made.ID {
		t.Errorf("%+v, %v", shown, err)
	}
	if shown, err := ask[TokenShown](t, d, "showtoken", TokenText{"hello"}); err != nil || shown.Why == "" {
		t.Errorf("%+v, %v", shown, err)
	}
}

// TestReadersByHTTP: live.ts and /moq of a private relay, by header and by URL, with the status that each ends with.
func TestReadersByHTTP(t *testing.T) {
	up, s := withHTTP(t, func(c *ServerConfig) { c.Private = true })
	d := door{dir: s.dir}
	token := func(o TokenOrder) (string, string) {
		t.Helper()
		made, err := ask[TokenMade](t, d, "token", o)
		fatal(t, err)
		return made.Token, made.ID
	}
	publishes, _ := token(TokenOrder{Publish: []string{"ec"}})
	shown, err := mesh.FromText(publishes)
	fatal(t, err)
	s.show = []moqt.Token{shown}
	p := s.publisher(t, ts)
	p.group(1)
	cat := ts
	cat.Name = "catalog"
	pub, err := p.c.Publish(within(t, time.Minute), cat, moqt.PublishOptions{})
	fatal(t, err)
	w, err := pub.OpenSubgroup(within(t, time.Minute), moqt.SubgroupHeader{Group: 1})
	if err == nil {
		err = errors.Join(w.WriteObject(0, nil, 0, []byte(`{"version":"draft-01","tracks":[{"name":"`+ts.Name+`","packaging":"m2ts","isLive":true}]}`)), w.Close())
	}
	fatal(t, err)
	reads, id := token(TokenOrder{Read: []string{"ec-atsc"}})
	elsewhere, _ := token(TokenOrder{Read: []string{"other"}})
	writes, _ := token(TokenOrder{Publish: []string{"*"}})
	over, overID := token(TokenOrder{Read: []string{"*"}})
	_, err = ask[TokenRevoked](t, d, "revoketoken", Revocation{overID})
	fatal(t, err)
	live := up.HTTP[0] + ts.Namespace.String() + "/live.ts"
	get := func(at, bearer string) *http.Response {
		t.Helper()
		req, _ := http.NewRequestWithContext(within(t, time.Minute), "GET", at, nil)
		if bearer != "" {
			req.Header.Set("Authorization", "Bearer "+bearer)
		}
		res, err := http.DefaultClient.Do(req)
		fatal(t, err)
		return res
	}
	wait(t, "the broadcast", func() bool {
		res := get(live, reads)
		res.Body.Close()
		return res.StatusCode == 200
	})
	for name, c := range map[string]struct {
		token string
		want  int
	}{"nothing": {"", 401}, "reads": {reads, 200}, "elsewhere": {elsewhere, 403}, "writes": {writes, 403}, "revoked": {over, 401}, "no token": {"hello", 401}} {
		query := ""
		if c.token != "" {
			query = "?token=" + url.QueryEscape(c.token)
		}
		for way, res := range map[string]*http.Response{"header": get(live, c.token), "URL": get(live+query, "")} {
			if res.StatusCode != c.want || (res.StatusCode == 401) != (res.Header.Get("WWW-Authenticate") == "Bearer") {
				t.Errorf("%s by %s: %d", name, way, res.StatusCode)
			}
			res.Body.Close()
		}
		// The same over WebSocket: worthless ones have no session, and others may do what they say.
		web := &server{addr: "ws" + strings.TrimPrefix(up.HTTP[0], "http") + "moq" + query, tls: s.tls}
		ms, err := moqt.Dial(within(t, time.Minute), web.addr, s.tls, nil)
		if err == nil {
			go ms.Run(t.Context())
			_, err = ms.Subscribe(within(t, time.Minute), ts, moqt.SubscribeOptions{})
			ms.Close(0, "")
		}
		if (err == nil) != (c.want == 200) {
			t.Errorf("%s at /moq: %v", name, err)
		}
	}
	everything, _ := token(TokenOrder{Read: []string{"*"}})
	for name, c := range map[string]struct {
		token string
		want  int
	}{"nothing": {"", 401}, "a part": {reads, 403}, "writes": {writes, 403}, "revoked": {over, 401}, "everything": {everything, 200}} {
		for _, path := range []string{"metrics", "status.json"} {
			res := get(up.HTTP[0]+path, c.token)
			if res.StatusCode != c.want || (res.StatusCode == 401) != (res.Header.Get("WWW-Authenticate") == "Bearer") {
				t.Errorf("%s at /%s: %d", name, path, res.StatusCode)
			}
			res.Body.Close()
		}
	}
	b, err := admin.Call(within(t, time.Minute), s.dir, "status", nil)
	if err != nil || bytes.Contains(b, []byte(reads)) {
		t.Errorf("status shows a token: %v", err)
	}
	// A reader whose token is revoked is cut off within a second, which shows as a broken answer.
	res := get(live, reads)
	defer res.Body.Close()
	if _, err := io.ReadFull(res.Body, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	_, err = ask[TokenRevoked](t, d, "revoketoken", Revocation{id})
	fatal(t, err)
	began := time.Now()
	if _, err := io.Copy(io.Discard, res.Body); err == nil || time.Since(began) > time.Second {
		t.Errorf("the reader goes on: %v after %v", err, time.Since(began))
	}
}

// A relay that others reach and to which everybody may publish says so at its start; others do not.
func TestOpenIsSaid(t *testing.T) {
	for name, c := range map[string]struct {
		listen string
		open   bool
		want   bool
	}{"open": {"0.0.0.0:0", true, true}, "open on the loopback": {"127.0.0.1:0", true, false}, "not open": {"0.0.0.0:0", false, false}} {
		var log safeBuffer
		d := openDoor(t, ServerConfig{Listen: []string{c.listen}, Open: c.open, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		d.stop()
		if got := strings.Contains(log.String(), "everybody who reaches this relay may publish"); got != c.want {
			t.Errorf("%s: said %v", name, got)
		}
	}
}

// safeBuffer may be written and read at the same time.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
