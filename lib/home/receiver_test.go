package home

import (
	"log/slog"
	"os"
	"slices"
	"testing"
)

// A channel's ec-chop reads how its tuner receives under one name, whichever receiver the channel comes from.
func TestHealthFollowsTheReceiver(t *testing.T) {
	c := Channel{Number: "5.1"}
	h := &home{cfg: Config{State: t.TempDir()}, log: slog.New(slog.DiscardHandler)}
	channels := map[string]*publisher{"5.1": newPublisher(h, c)}
	args := h.cfg.chopArgs(c)
	i := slices.Index(args, "--tuner")
	if i < 0 {
		t.Fatalf("ec-chop %q", args)
	}
	for _, address := range []string{"5.1", "ch533000000"} {
		plan := Receiver{Base: "http://device", Address: address, Channels: []Channel{c}}
		r := newReceiver(h, plan, nil)
		r.feed(plan, channels)
		args := h.cfg.tuneArgs(plan, r.health)
		if n := len(args); args[n-1] != address || args[n-3] != "--health" {
			t.Fatalf("ec-tune %q", args)
		}
		if err := os.WriteFile(args[len(args)-2], []byte(address), 0o600); err != nil { // as ec-tune does
			t.Fatal(err)
		}
		if is, err := os.ReadFile(h.cfg.chopArgs(c)[i+1]); err != nil || string(is) != address {
			t.Errorf("%q, %v, want %q", is, err, address)
		}
	}
}
