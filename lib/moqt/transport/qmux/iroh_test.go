package qmux

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"every.channel/ec/lib/irohtest"
)

// TestResetsThroughIroh: streams that are reset leave nothing in either ec-iroh, however many there were.
func TestResetsThroughIroh(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("what a process has in memory is read from /proc")
	}
	irohtest.Path(t)
	path := filepath.Join(t.TempDir(), "relay")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	there := irohtest.Start(t, path, nil, "--bind", "127.0.0.1:0")
	here := irohtest.Start(t, "", nil, "--bind", "127.0.0.1:0")
	ctx := testContext(t)
	conf := Config{Protocols: []string{"moqt-18"}}
	here.ALPNs = conf.Protocols // else ec-iroh chooses the newest that it knows
	got := make(chan *Conn, 1)
	go func() {
		defer close(got)
		nc, err := l.Accept()
		if err != nil {
			return
		}
		if c, err := Server(ctx, Bytes(nc), conf); err == nil {
			got <- c
		}
	}()
	nc, err := net.Dial("unix", here.Socket(t, there.ID, there.Addrs...))
	if err != nil {
		t.Fatal(err)
	}
	from, err := Client(ctx, Bytes(nc), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer from.CloseWithError(0, "")
	to := <-got
	if to == nil {
		t.Fatal("the other side did not come")
	}
	resets := func(n int) {
		t.Helper()
		for range n {
			st, err := from.OpenUniStream(ctx)
			if err != nil {
				t.Fatal(err)
			}
			st.Write([]byte("begun"))
			st.CancelWrite(5)
			r, err := to.AcceptUniStream(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for b := make([]byte, 100); err == nil; {
				_, err = r.Read(b)
			}
			if !isReset(err, 5, true) {
				t.Fatal(err)
			}
		}
	}
	resets(1000)
	before := []int{memory(t, here.Process), memory(t, there.Process)}
	resets(40_000)
	after := []int{memory(t, here.Process), memory(t, there.Process)}
	for i := range before {
		if after[i] > before[i]+1536 {
			t.Errorf("KiB %v before 40,000 streams, %v after", before, after)
			break
		}
	}
}

// memory is what a process has in memory, in KiB.
func memory(t *testing.T, p *os.Process) (kib int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib
}
