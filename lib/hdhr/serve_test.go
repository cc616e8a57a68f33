package hdhr

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"
)

// TestMain lets scripts/netns-discover run this binary as a device on every address and the protocol's
// own ports, which no test of the host's network may do.
func TestMain(m *testing.M) {
	if os.Getenv("EC_TEST_SERVE_DEVICE") == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	d, err := NewDevice(Config{Backend: &fakeBackend{}})
	if err == nil {
		err = d.Listen(ctx)
	}
	if err == nil {
		fmt.Println("serving")
		err = d.Run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
