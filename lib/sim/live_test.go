package sim

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"every.channel/ec/lib/ts"
)

func TestLiveIsPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := DefaultMuxes()[0]
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		r := m.Live(ctx, 3, nil)
		defer r.Close()
		var got []byte
		longest, last := time.Duration(0), start
		buf := make([]byte, 64<<10)
		for {
			n, err := r.Read(buf)
			got = append(got, buf[:n]...)
			if errors.Is(err, context.DeadlineExceeded) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			longest, last = max(longest, time.Since(last)), time.Now()
			if sent := readAll(t, m.Reader(start, time.Now(), 3)); len(got) > len(sent) {
				t.Fatalf("%d bytes after %s, only %d are broadcast", len(got), time.Since(start), len(sent))
			}
		}
		if longest > 50*time.Millisecond {
			t.Errorf("a burst after %s of silence", longest)
		}
		want := readAll(t, m.Reader(start, start.Add(3*time.Second), 3))
		if !bytes.HasPrefix(want, got) || len(want)-len(got) > len(want)/50 {
			t.Errorf("%d bytes in 3 s, broadcast are %d", len(got), len(want))
		}
	})
}

func TestLiveReaderThatIsLateLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := DefaultMuxes()[1]
		start := time.Now()
		r := m.Live(t.Context(), 0, nil)
		defer r.Close()
		<-time.After(2 * time.Second)
		got := make([]byte, len(readAll(t, m.Reader(start, start.Add(2*time.Second), 0))))
		if _, err := io.ReadFull(r, got); err != nil {
			t.Fatal(err)
		}
		if time.Since(start) != 2*time.Second {
			t.Errorf("catching up took %s", time.Since(start)-2*time.Second)
		}
	})
}

func TestCloseEndsARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := DefaultMuxes()[0].Live(t.Context(), 3, time.Now)
		done := make(chan error, 1)
		go func() { _, err := io.Copy(io.Discard, r); done <- err }()
		<-time.After(time.Second)
		r.Close()
		if err := <-done; !errors.Is(err, os.ErrClosed) {
			t.Errorf("reading ends with %v", err)
		}
	})
}

func writeFile(t *testing.T, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.ts")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func openFile(t *testing.T, b []byte) *File {
	t.Helper()
	f, err := OpenFile(writeFile(t, b))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestFile(t *testing.T) {
	b := readAll(t, DefaultMuxes()[0].Reader(noon, noon.Add(5*time.Second), 4))
	f := openFile(t, b)
	if d := f.Duration() - 5*time.Second; d.Abs() > 20*time.Millisecond {
		t.Errorf("one pass takes %s", f.Duration())
	}
	t.Run("two receivers", func(t *testing.T) {
		end := noon.Add(42 * time.Second)
		early, late := readAll(t, f.Reader(noon, end)), readAll(t, f.Reader(noon.Add(17*time.Second), end))
		if !bytes.HasSuffix(early, late) || len(late) == 0 {
			t.Error("they get other packets")
		}
		within(t, "bytes in 42 s", float64(len(early)), float64(len(b))*42/5, 0.02)
		if !bytes.Contains(early, b) {
			t.Error("the file is not in it unchanged")
		}
	})
	t.Run("once", func(t *testing.T) {
		f.Once = true
		defer func() { f.Once = false }()
		if got := readAll(t, f.Reader(noon.Add(time.Second), time.Time{})); !bytes.Equal(got, b) {
			t.Errorf("%d bytes of a file of %d", len(got), len(b))
		}
	})
	t.Run("paced", func(t *testing.T) {
		r := f.Reader(noon, time.Time{})
		got, err := r.Until(make([]byte, 0, 2*len(b)), noon.Add(2500*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		within(t, "bytes in 2.5 s", float64(len(got)), float64(len(b))/2, 0.05)
		if len(got)%ts.PacketSize != 0 {
			t.Errorf("%d bytes are no whole packets", len(got))
		}
	})
}

func TestFileWithOtherFraming(t *testing.T) {
	b := readAll(t, DefaultMuxes()[0].Reader(noon, noon.Add(time.Second), 3))
	var m2ts []byte // 192 bytes: an arrival time before each packet
	for _, p := range packets(b) {
		m2ts = append(append(m2ts, 1, 2, 3, 4), p[:]...)
	}
	f := openFile(t, m2ts)
	f.Once = true
	if got := readAll(t, f.Reader(noon, time.Time{})); !bytes.Equal(got, b) {
		t.Errorf("%d bytes out, want %d", len(got), len(b))
	}
}

func TestFileThatIsTorn(t *testing.T) {
	b := readAll(t, DefaultMuxes()[0].Reader(noon, noon.Add(2*time.Second), 3))
	at := 100 * ts.PacketSize
	torn := append([]byte("garbage"), b[:at]...)
	torn = append(append(torn, b[at+50:2*at+100]...), b[3*at:]...)
	f := openFile(t, torn)
	f.Once = true
	var want []byte // what a reader that finds sync again sees
	for r := ts.NewReader(bytes.NewReader(torn)); ; {
		p, err := r.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			want = append(want, p[:]...)
		}
	}
	if got := readAll(t, f.Reader(noon, time.Time{})); !bytes.Equal(got, want) || len(got) < len(b)*8/10 {
		t.Errorf("%d bytes out, want %d", len(got), len(want))
	}
}

func TestFileThatCannotBePaced(t *testing.T) {
	b := readAll(t, DefaultMuxes()[0].Reader(noon, noon.Add(time.Second), 0))
	var noClock []byte
	for _, p := range packets(b) {
		if _, ok := p.PCR(); !ok {
			noClock = append(noClock, p[:]...)
		}
	}
	if _, err := OpenFile(writeFile(t, noClock)); !errors.Is(err, ErrNoClock) {
		t.Errorf("no PCR: %v", err)
	}
	if _, err := OpenFile(writeFile(t, []byte("this is no transport stream"))); !errors.Is(err, ts.ErrNotTS) {
		t.Errorf("text: %v", err)
	}
	if _, err := OpenFile(writeFile(t, nil)); err == nil {
		t.Error("an empty file is accepted")
	}
}
