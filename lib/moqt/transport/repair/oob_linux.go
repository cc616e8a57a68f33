package repair

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Control messages of the kernel that go with datagrams: what size the datagrams have that are sent as one (UDP_SEGMENT, udp(7)), from
// which address they are sent or at which they came (ip(7)), and ECN.

// segment is the size of the datagrams that are sent as one; 0: it is one.
func segment(oob []byte) int {
	for len(oob) >= unix.SizeofCmsghdr {
		h, body, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return 0
		}
		if h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_SEGMENT && len(body) >= 2 {
			return int(binary.NativeEndian.Uint16(body))
		}
		oob = rest
	}
	return 0
}

// withSegment returns the control messages with another size of the datagrams that are sent as one; 0: it is one.
func withSegment(oob []byte, size int) []byte {
	if size == 0 && segment(oob) == 0 {
		return oob
	}
	out := only(oob, func(level, kind int32) bool { return level != unix.IPPROTO_UDP || kind != unix.UDP_SEGMENT })
	if size == 0 {
		return out
	}
	m := make([]byte, unix.CmsgSpace(2))
	binary.NativeEndian.PutUint64(m, uint64(unix.CmsgLen(2)))
	binary.NativeEndian.PutUint32(m[unix.SizeofCmsghdr-8:], unix.IPPROTO_UDP)
	binary.NativeEndian.PutUint32(m[unix.SizeofCmsghdr-4:], unix.UDP_SEGMENT)
	binary.NativeEndian.PutUint16(m[unix.CmsgLen(0):], uint16(size))
	return append(out, m...)
}

// replyOOB are the control messages by which an answer leaves from the address at which the question came.
func replyOOB(oob []byte) []byte {
	return only(oob, func(level, kind int32) bool {
		return level == unix.IPPROTO_IP && kind == unix.IP_PKTINFO || level == unix.IPPROTO_IPV6 && kind == unix.IPV6_PKTINFO
	})
}

func only(oob []byte, keep func(level, kind int32) bool) (out []byte) {
	for len(oob) >= unix.SizeofCmsghdr {
		h, _, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		if keep(h.Level, h.Type) {
			out = append(out, oob[:len(oob)-len(rest)]...)
		}
		oob = rest
	}
	return out
}
