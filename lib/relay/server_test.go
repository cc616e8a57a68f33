package relay

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"testing"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

func TestRun(t *testing.T) {
	dir := t.TempDir()
	ready := make(chan []net.Addr, 1)
	conf := ServerConfig{Listen: []string{"127.0.0.1:0", "127.0.0.1:0"}, Dir: dir, Relay: Config{DrainTimeout: time.Millisecond}}
	conf.Ready = func(up Started) {
		b, err := os.ReadFile(filepath.Join(dir, FingerprintFile))
		if err != nil || string(b) != up.Fingerprint+"\n" {
			t.Errorf("fingerprint file: %q, %v", b, err)
		}
		ready <- up.Listen
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- Run(ctx, conf) }()
	addrs := <-ready
	fp, err := Fingerprint(conf)
	if err != nil {
		t.Fatal(err)
	}
	pin, err := moqt.PinFingerprint(fp)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		s, err := moqt.Dial(within(t, time.Minute), "moqt://"+a.String(), pin, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.Close(wire.NoError, "")
	}

	var coded interface {
		ExitCode() int
		Hint() string
	}
	if err := Run(ctx, conf); !errors.Is(err, store.ErrLocked) || !errors.As(err, &coded) || coded.ExitCode() != 75 {
		t.Errorf("same folder: %v", err)
	}
	other := conf
	other.Dir, other.Listen = t.TempDir(), []string{addrs[0].String()}
	if err := Run(ctx, other); !errors.As(err, &coded) || coded.ExitCode() != 75 || coded.Hint() == "" {
		t.Errorf("same port: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("after the end: %v", err)
	}
}

func TestParseKeep(t *testing.T) {
	size := func(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) }
	for _, c := range []struct {
		in   string
		want store.Rule
		ok   bool
	}{
		{"ec-source=1h", store.Rule{Prefix: object.Namespace{"ec", "source"}, MaxAge: time.Hour}, true},
		{"ec=0s/100", store.Rule{Prefix: object.Namespace{"ec"}, MaxBytes: 100}, true},
		{"ec", store.Rule{}, false},
		{"=1h", store.Rule{}, false},
		{"ec=-1h", store.Rule{}, false},
		{"ec=1h/x", store.Rule{}, false},
		{"e c=1h", store.Rule{}, false},
	} {
		got, err := ParseKeep(c.in, time.ParseDuration, size)
		if (err == nil) != c.ok || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v", c.in, got, err)
		}
	}
}
