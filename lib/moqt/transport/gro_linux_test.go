package transport

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// Datagrams that the kernel hands over as one come out one by one, in order, whoever sent what lies between them.
func TestDatagramsThatCameAsOne(t *testing.T) {
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	in, ok := coalescing(udp).(*groConn)
	if !ok {
		t.Skip("this kernel has no UDP_GRO")
	}
	var from [2]*net.UDPConn
	for i := range from {
		if from[i], err = net.DialUDP("udp", nil, udp.LocalAddr().(*net.UDPAddr)); err != nil {
			t.Fatal(err)
		}
		defer from[i].Close()
	}
	var want []string
	next := 0
	payload := func(n int) []byte {
		next++
		return bytes.Repeat([]byte{byte(next)}, n)
	}
	expect := func(i int, b []byte) {
		want = append(want, fmt.Sprintf("%v %d×%d", from[i].LocalAddr(), b[0], len(b)))
	}
	for _, step := range []struct{ from, size, n, last int }{
		{0, 1200, 1, 1200}, {0, 1200, 20, 1200}, {1, 1452, 12, 77}, {1, 30, 1, 30}, {0, 1000, 3, 1}, {0, 1000, 1, 1000}, {1, 200, 60, 200},
	} {
		var all []byte
		for i := range step.n {
			size := step.size
			if i == step.n-1 {
				size = step.last
			}
			b := payload(size)
			expect(step.from, b)
			all = append(all, b...)
		}
		oob := make([]byte, unix.CmsgSpace(2))
		h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
		h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
		h.SetLen(unix.CmsgLen(2))
		binary.NativeEndian.PutUint16(oob[unix.CmsgSpace(0):], uint16(step.size))
		if _, _, err := from[step.from].WriteMsgUDP(all, oob, nil); err != nil {
			t.Skipf("this kernel has no UDP_SEGMENT: %v", err)
		}
	}
	if _, err := from[0].Write(nil); err != nil {
		t.Fatal(err)
	}
	in.SetReadDeadline(time.Now().Add(time.Minute))
	ms := make([]ipv4.Message, 7)
	for i := range ms {
		ms[i].Buffers, ms[i].OOB = [][]byte{make([]byte, 1452)}, make([]byte, 128)
	}
	var got []string
	coalesced := false
	for empty := false; len(got) < len(want) || !empty; {
		n, err := in.ReadBatch(ms, 0)
		if err != nil {
			t.Fatalf("after %d of %d: %v", len(got), len(want), err)
		}
		for _, m := range ms[:n] {
			b := m.Buffers[0][:m.N]
			if empty = len(b) == 0; empty {
				continue
			}
			if bytes.Count(b, b[:1]) != len(b) {
				t.Fatalf("datagram %d is of several", len(got))
			}
			got = append(got, fmt.Sprintf("%v %d×%d", m.Addr, b[0], len(b)))
		}
		coalesced = coalesced || len(in.rest) > 0
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("datagram %d is %s, want %s", i, got[i], want[i])
		}
	}
	if !coalesced {
		t.Error("nothing came as one")
	}
}
