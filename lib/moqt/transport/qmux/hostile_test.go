package qmux

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/quic-go/quic-go/quicvarint"
)

func record(frames ...[]byte) []byte {
	b := bytes.Join(frames, nil)
	return append(quicvarint.Append(nil, uint64(len(b))), b...)
}

func hello(p parameters) []byte {
	if p.maxRecordSize == 0 {
		p.maxRecordSize = defaultMaxRecordSize
	}
	return p.append(nil)
}

func varints(vs ...uint64) []byte { return appendVarints(nil, vs...) }

// TestAttacks: a client that breaks the protocol is told which rule, and costs nothing more.
func TestAttacks(t *testing.T) {
	ok := hello(parameters{})
	const huge = 1 << 61
	for _, tt := range []struct {
		name string
		sent []byte
		want TransportCode
	}{
		{"record of 2^61 bytes", varints(huge), FrameEncodingError},
		{"record over the limit", varints(maxRecord + 1), FrameEncodingError},
		{"other frame first", record(varints(framePing, 1)), ProtocolViolation},
		{"parameters twice", record(ok, ok), ProtocolViolation},
		{"parameters of 2^61 bytes", record(varints(frameParameters, huge)), FrameEncodingError},
		{"parameter twice", record(varints(frameParameters, 6, paramMaxData, 1, 5, paramMaxData, 1, 5)), TransportParameterError},
		{"parameter of 2^61 bytes", record(append(varints(frameParameters, 10, paramMaxData, huge), 0)), TransportParameterError},
		{"prohibited parameter", record(varints(frameParameters, 3, 0x0f, 1, 1)), TransportParameterError},
		{"small max_record_size", record(hello(parameters{maxRecordSize: 1000})), TransportParameterError},
		{"ACK", record(ok, varints(0x02, 0, 0, 0, 0)), FrameEncodingError},
		{"PING", record(ok, varints(0x01)), FrameEncodingError},
		{"CRYPTO", record(ok, varints(0x06, 0, 0)), FrameEncodingError},
		{"frame cut", record(ok, varints(frameResetStream, 0)), FrameEncodingError},
		{"STREAM of 2^61 bytes", record(ok, varints(frameStream|streamLen, 0, huge)), FrameEncodingError},
		{"STREAM beyond 2^62", record(ok, append(varints(frameStream|streamOff, 0, maxVarint), "xx"...)), FrameEncodingError},
		{"STREAM with a gap", record(ok, append(varints(frameStream|streamOff, 0, 5), "xx"...)), ProtocolViolation},
		{"STREAM over stream credit", record(ok, append(varints(frameStream, 0), make([]byte, firstWindow+1)...)), FlowControlError},
		{"STREAM after FIN", record(ok, append(varints(frameStream|streamLen|streamFin, 2, 1), 'x'), append(varints(frameStream|streamLen, 2, 1), 'x')), FinalSizeError},
		{"stream over the limit", record(ok, varints(frameStream|streamLen, 4*10, 0)), StreamLimitError},
		{"stream 2^61", record(ok, varints(frameStream|streamLen, huge, 0)), StreamLimitError},
		{"stream of ours", record(ok, varints(frameStream|streamLen, 1, 0)), StreamStateError},
		{"stream of ours, one way", record(ok, varints(frameStream|streamLen, 3, 0)), StreamStateError},
		{"STOP_SENDING on their stream", record(ok, varints(frameStopSending, 2, 0)), StreamStateError},
		{"MAX_STREAM_DATA on no stream", record(ok, varints(frameMaxStreamData, 1, 100)), StreamStateError},
		{"RESET of 2^61 bytes", record(ok, varints(frameResetStream, 2, 0, huge)), FlowControlError},
		{"2^61 streams", record(ok, varints(frameMaxStreamsUni, huge)), FrameEncodingError},
		{"answer to no ping", record(ok, varints(framePong, 1000)), ProtocolViolation},
		{"ping backwards", record(ok, varints(framePing, 5), varints(framePing, 4)), ProtocolViolation},
		{"reason of 2^61 bytes", record(ok, varints(frameApplicationClose, 0, huge)), FrameEncodingError},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := net.Pipe()
			defer a.Close()
			ended := make(chan error, 1)
			go func() {
				c, err := Server(context.Background(), Bytes(b), Config{MaxStreams: 10})
				if err == nil {
					<-c.Context().Done()
					err = context.Cause(c.Context())
				}
				ended <- err
			}()
			go a.Write(tt.sent)
			var told *TransportError
			for peer := Bytes(a); told == nil; {
				r, err := peer.ReadRecord(maxRecord)
				if err != nil {
					t.Fatalf("no CONNECTION_CLOSE: %v", err)
				}
				for len(r) > 0 {
					f, rest, err := parseFrame(r)
					if err != nil {
						t.Fatal(err)
					}
					if r = rest; f.kind == frameConnectionClose {
						told = &TransportError{Code: TransportCode(f.code), Reason: string(f.data)}
					}
				}
			}
			if told.Code != tt.want {
				t.Errorf("told %v, want %v", told, tt.want)
			}
			if e, ok := errors.AsType[*TransportError](<-ended); !ok || e.Code != tt.want || e.Remote {
				t.Errorf("ended with %v, want %v", e, tt.want)
			}
		})
	}
}

// TestPeerOfEarlierDrafts: what senders of moq-dev do differently is understood: no offsets, and a final size of 0.
func TestPeerOfEarlierDrafts(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	go io.Copy(io.Discard, a)
	go a.Write(record(hello(parameters{}),
		append(varints(frameStream|streamLen, 2, 2), "ab"...), append(varints(frameStream|streamLen|streamFin, 2, 1), 'c'),
		append(varints(frameStream|streamLen, 6, 1), 'd'), varints(frameResetStream, 6, 3, 0)))
	c, err := Server(testContext(t), Bytes(b), Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		data  string
		reset bool
	}{{"abc", false}, {"d", true}} {
		st, err := c.AcceptUniStream(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(st); string(b) != want.data || isReset(err, 3, true) != want.reset {
			t.Errorf("%q, %v", b, err)
		}
	}
	c.CloseWithError(0, "")
}

// FuzzFrame: no bytes crash the decoder, and it never reads beyond the record.
func FuzzFrame(f *testing.F) {
	f.Add(record(hello(parameters{maxData: 5, protocols: []string{"moqt-16"}}))[1:])
	f.Add(append(varints(frameStream|streamOff|streamLen, 4, 5, 2), "hi"...))
	f.Add(append(varints(frameDatagramLen, 2), "hi"...))
	f.Add(append(varints(frameApplicationClose, 42, 3), "bye"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			fr, rest, err := parseFrame(b)
			if err != nil {
				if _, ok := err.(*TransportError); !ok {
					t.Fatal(err)
				}
				return
			}
			if fr.size+len(rest) != len(b) || fr.size == 0 || len(fr.data) > fr.size {
				t.Fatalf("frame of %d bytes, %d left of %d", fr.size, len(rest), len(b))
			}
			if fr.kind == frameParameters {
				if p, err := parseParameters(fr.data); err == nil {
					again, _, err := parseFrame(p.append(nil))
					if err != nil {
						t.Fatal(err)
					}
					if _, err := parseParameters(again.data); err != nil {
						t.Fatalf("%+v: %v", p, err)
					}
				}
			}
			b = rest
		}
	})
}

// FuzzConn feeds a connection anything after a valid beginning, while its application opens, accepts, reads, writes and
// cancels.
func FuzzConn(f *testing.F) {
	f.Add([]byte{0x0a, 0x02, 0x02, 'h', 'i', 0x0b, 0x02, 0x00})
	f.Add(append(append(varints(frameMaxStreamsUni, 3), varints(frameMaxData, 1000)...), varints(frameStopSending, 1, 2)...))
	f.Add(append(varints(frameResetStream, 0, 1, 3), varints(framePing, 1)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 || len(b) > 10_000 {
			return
		}
		near, far := net.Pipe()
		go io.Copy(io.Discard, far)
		go func() {
			p := hello(parameters{maxData: 100, maxStreamsBidi: 2, maxStreamsUni: 2, maxStreamDataUni: 50, maxStreamDataRemote: 50, maxStreamDataLocal: 50})
			far.Write(record(p))
			far.Write(record(b))
			far.Close()
		}()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		c, err := Server(ctx, Bytes(near), Config{MaxStreams: 8, SharedWindow: 20_000})
		if err != nil {
			return
		}
		one := func(st *Stream, i int) {
			go func() { st.Write(make([]byte, 10+i*5000)); st.CancelWrite(1) }()
			go func() { io.Copy(io.Discard, st); st.CancelRead(2) }()
		}
		use := func(st *Stream, err error) {
			for i := 0; err == nil; i++ {
				one(st, i)
				st, err = c.AcceptUniStream(ctx)
			}
		}
		go func() { use(c.OpenStream(ctx)) }()
		go func() { use(c.OpenUniStream(ctx)) }()
		go func() { use(c.AcceptStream(ctx)) }()
		<-c.Context().Done()
		if ctx.Err() != nil {
			t.Fatal("the connection did not end with its transport")
		}
	})
}

// TestHalfOpen: a peer that says no more, or is cut off inside a record, is gone; so is one that was never there.
func TestHalfOpen(t *testing.T) {
	for name, said := range map[string][]byte{
		"nothing": nil, "half a record": record(hello(parameters{}))[:5], "parameters": record(hello(parameters{})),
		"and half a record": append(record(hello(parameters{})), 0x40, 0x50, frameStream),
	} {
		t.Run(name, func(t *testing.T) {
			client, server := networks["tcp"](t)
			defer client.Close()
			go func() {
				client.Write(said)
				client.(*net.TCPConn).CloseWrite()
			}()
			c, err := Server(testContext(t), Bytes(server), Config{})
			if err == nil {
				<-c.Context().Done()
				err = context.Cause(c.Context())
			}
			if !errors.Is(err, ErrLost) {
				t.Error(err)
			}
			client.SetReadDeadline(time.Now().Add(time.Minute))
			if _, err := io.Copy(io.Discard, client); err != nil {
				t.Errorf("the other half stays open: %v", err)
			}
		})
	}
}

// TestFloodOfStreams: as many streams as may be, opened by the last one's number, with a byte each, and reset as fast as they
// are opened: no more are held than may be, and the application gets them all.
func TestFloodOfStreams(t *testing.T) {
	const most, all = 100, 2000
	a, b := networks["unix"](t)
	client, server := pair(t, a, b, Config{}, Config{MaxStreams: most})
	ctx := testContext(t)
	go func() {
		for i := range all {
			st, err := client.OpenUniStream(ctx)
			if err != nil {
				return
			}
			st.Write([]byte{byte(i)})
			st.SetReliableBoundary()
			st.CancelWrite(uint64(i))
		}
	}()
	eventually(t, ctx, server, func() bool { return len(server.theirs[uni].queue) == most })
	for i := range all {
		server.mu.Lock()
		if n := len(server.streams); n > most {
			t.Errorf("%d streams are held", n)
		}
		server.mu.Unlock()
		st, err := server.AcceptUniStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(st); len(b) != 1 || b[0] != byte(i) || !isReset(err, uint64(i), true) {
			t.Fatalf("stream %d: %v, %v", i, b, err)
		}
	}
	server.mu.Lock()
	defer server.mu.Unlock()
	if server.shared != 0 {
		t.Errorf("%d bytes of window were not given back", server.shared)
	}
}
