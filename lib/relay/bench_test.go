package relay

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/store"
)

// BenchmarkRelay: one publisher, some subscribers, objects of 200 kB (200 ms of 8 Mbit/s), ten to a group;
// everything in one process, store on disk. MB/s counts what subscribers got.
func BenchmarkRelay(b *testing.B) {
	for _, viewers := range []int{1, 20} {
		b.Run(fmt.Sprintf("1to%d", viewers), func(b *testing.B) { benchmark(b, viewers) })
	}
}

func benchmark(b *testing.B, viewers int) {
	s := start(b, b.TempDir(), "127.0.0.1:0", Config{}, store.Config{MaxBytes: 1 << 30})
	p := s.publisher(b, ts)
	group := uint64(0)
	payload := make([]byte, 200_000)
	props := object.Properties{Hash: object.Sum(payload), HasHash: true}.Append(nil)
	publish := func() {
		for id := range uint64(10) {
			p.put(&object.Object{Group: group, ID: id, Payload: payload, Properties: props})
		}
		p.put(&object.Object{Group: group, ID: 10, Status: object.EndOfGroup})
		group++
	}
	publish()
	s.stored(b, 11)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var done sync.WaitGroup
	n := b.N
	turn := make(chan struct{}, viewers) // one for each group that a viewer has
	for range viewers {
		sub, err := s.dial(b, nil).Subscribe(ctx, ts, moqt.SubscribeOptions{})
		if err != nil {
			b.Fatal(err)
		}
		done.Go(func() {
			buf := make([]byte, 64<<10)
			for range n {
				r, err := sub.AcceptSubgroup(ctx)
				for err == nil {
					if _, err = r.Next(); err == nil {
						_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, buf)
					}
				}
				if err != io.EOF {
					b.Error(err)
					return
				}
				turn <- struct{}{}
			}
		})
	}
	b.SetBytes(int64(10*len(payload)) * int64(viewers))
	b.ReportAllocs()
	b.ResetTimer()
	for range n {
		publish()
		for range viewers { // as live: the next group comes when this one is over
			<-turn
		}
	}
	done.Wait()
	b.StopTimer()
	if st := s.Stats(); st.ResetLag+st.ResetIncomplete > 0 {
		b.Errorf("%+v", st)
	}
}
