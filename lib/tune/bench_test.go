package tune

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"every.channel/ec/lib/hdhr"
)

// The tap must not cost an allocation for each packet.
func TestTapAllocatesNothing(t *testing.T) {
	stream := broadcast(t, 0, 0, 188*50_000)
	tp := newTap()
	tp.feed(stream) // learns the tables
	perRun := testing.AllocsPerRun(3, func() { tp.feed(stream) })
	if perPacket := perRun / 50_000; perPacket > 0.01 {
		t.Errorf("%.3f allocations per packet", perPacket)
	}
}

func BenchmarkTap(b *testing.B) {
	stream := broadcast(b, 0, 0, 188*50_000)
	tp := newTap()
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	for b.Loop() {
		tp.feed(stream)
	}
}

const benchSize = 188 * 500_000 // 94 MB

// A file, with and without somebody looking, beside a plain io.Copy.
func BenchmarkFile(b *testing.B) {
	file := filepath.Join(b.TempDir(), "a.ts")
	if err := os.WriteFile(file, bytes.Repeat(broadcast(b, 0, 0, 188*50_000), 10), 0o666); err != nil {
		b.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	run := func(name string, cfg Config) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(benchSize)
			for b.Loop() {
				cfg.Address = address(b, file)
				if err := Run(b.Context(), cfg, null); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("tune", Config{})
	run("tune-clock", Config{Clock: io.Discard})
	b.Run("io.Copy", func(b *testing.B) {
		b.SetBytes(benchSize)
		for b.Loop() {
			f, err := os.Open(file)
			if err != nil {
				b.Fatal(err)
			}
			io.CopyBuffer(struct{ io.Writer }{null}, struct{ io.Reader }{f}, make([]byte, blockSize))
			f.Close()
		}
	})
}

// HTTP over loopback, live, so with the tap, beside a plain io.Copy of the same body.
func BenchmarkHTTP(b *testing.B) {
	stream := bytes.Repeat(broadcast(b, 0, 0, 188*50_000), 10)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Transfer-Encoding", "identity")
		w.Write(stream)
	}))
	defer srv.Close()
	b.Run("tune", func(b *testing.B) {
		b.SetBytes(benchSize)
		for b.Loop() {
			Run(b.Context(), Config{Address: address(b, srv.URL), Clock: io.Discard}, io.Discard)
		}
	})
	b.Run("io.Copy", func(b *testing.B) {
		b.SetBytes(benchSize)
		for b.Loop() {
			s, err := new(hdhr.Client).Open(b.Context(), srv.URL)
			if err != nil {
				b.Fatal(err)
			}
			io.CopyBuffer(struct{ io.Writer }{io.Discard}, s, make([]byte, blockSize))
			s.Close()
		}
	})
}
