package moqt_test

import (
	"context"
	"fmt"
	"io"
	"time"

	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
	"every.channel/ec/lib/object"
)

// hello publishes one track with one group of one object to whoever subscribes.
type hello struct{ moqt.UnimplementedHandler }

func (hello) Subscribe(ctx context.Context, r *moqt.SubscribeRequest) {
	p, err := r.Accept(moqt.TrackInfo{})
	if err != nil {
		return
	}
	g, err := p.OpenSubgroup(ctx, moqt.SubgroupHeader{Group: 1, EndOfGroup: true})
	if err != nil {
		return
	}
	g.WriteObject(0, nil, wire.StatusNormal, []byte("hello"))
	g.Close()
	p.Done(wire.DoneTrackEnded, "that was all")
}

// A publisher on a socket, and a subscriber that trusts its certificate.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cert, err := moqt.SelfSigned(time.Now(), "localhost")
	if err != nil {
		panic(err)
	}
	l, err := moqt.Listen("127.0.0.1:0", moqt.ServerTLS(cert), &moqt.Config{Handler: hello{}})
	if err != nil {
		panic(err)
	}
	defer l.Close()
	go func() {
		for {
			s, err := l.Accept(ctx)
			if err != nil {
				return
			}
			go s.Run(ctx)
		}
	}()

	trust, err := moqt.PinFingerprint(moqt.Fingerprint(cert))
	if err != nil {
		panic(err)
	}
	sess, err := moqt.Dial(ctx, "moqt://"+l.Addr().String(), trust, &moqt.Config{})
	if err != nil {
		panic(err)
	}
	go sess.Run(ctx)
	sub, err := sess.Subscribe(ctx, object.TrackName{Namespace: object.Namespace{"example"}, Name: "greetings"}, moqt.SubscribeOptions{})
	if err != nil {
		panic(err)
	}
	for {
		g, err := sub.AcceptSubgroup(ctx)
		if err != nil {
			fmt.Println(err)
			return
		}
		for {
			o, err := g.Next()
			if err == io.EOF {
				break
			} else if err != nil {
				panic(err)
			}
			payload, err := io.ReadAll(io.LimitReader(g, int64(o.Size)))
			if err != nil {
				panic(err)
			}
			fmt.Printf("group %d object %d: %s\n", g.Header().Group, o.ID, payload)
		}
	}
	// Output:
	// group 1 object 0: hello
	// subscription ended: TRACK_ENDED: that was all
}
