package mesh

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ownSocket returns nil if the process that dialed a Unix socket is one of this user (unix(7), SO_PEERCRED) and of a program that counts.
func ownSocket(c *net.UnixConn, counts func(pid string) bool) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return err
	}
	switch {
	case credErr != nil:
		return credErr
	case int(cred.Uid) != os.Getuid():
		return notLocal(fmt.Sprintf("it came from user %d of this machine", cred.Uid))
	case !counts(strconv.Itoa(int(cred.Pid))):
		return notLocal("it came through another program of this machine")
	}
	return nil
}

// ownPort returns nil if every socket on this machine that could have sent from a loopback address is one of this user (proc(5), /proc/net)
// and of a program that counts.
func ownPort(network string, from netip.AddrPort, counts func(pid string) bool) (err error) {
	for range looks {
		if err = lookAtPort(network, from, counts); err == nil {
			return nil
		}
		time.Sleep(lookAgain)
	}
	return err
}

// The lists of sockets and of open files are no snapshots: one that is there may be missing while others come and go. So what is not found is
// looked for again.
const (
	looks     = 3
	lookAgain = 20 * time.Millisecond
)

func lookAtPort(network string, from netip.AddrPort, counts func(pid string) bool) error {
	inodes, err := sockets(network, from)
	if err != nil {
		return err
	}
	if len(inodes) == 0 {
		return notLocal("it came through another network namespace")
	}
	own := make(map[string]bool)
	exes, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, exe := range exes {
		pid := filepath.Base(filepath.Dir(exe))
		if !counts(pid) {
			continue
		}
		fds, _ := filepath.Glob("/proc/" + pid + "/fd/*")
		for _, fd := range fds {
			if to, err := os.Readlink(fd); err == nil {
				own[to] = true
			}
		}
	}
	for inode, uid := range inodes {
		switch {
		case uid != os.Getuid():
			return notLocal(fmt.Sprintf("it came from user %d of this machine", uid))
		case !own["socket:["+inode+"]"]:
			return notLocal("it came through another program of this machine")
		}
	}
	return nil
}

// ownProgram reports whether a process runs the file that this one runs.
func ownProgram(pid string) bool {
	other, err := os.Stat("/proc/" + pid + "/exe")
	if err != nil {
		return false
	}
	self, err := os.Stat("/proc/self/exe")
	return err == nil && os.SameFile(self, other)
}

// ownTool reports whether a process runs this program, or one of the tools of this project that lies beside it. A program that was replaced
// while it runs still counts by the name that it had.
func ownTool(pid string) bool {
	if ownProgram(pid) {
		return true
	}
	other, err := os.Readlink("/proc/" + pid + "/exe")
	if err != nil {
		return false
	}
	self, err := os.Readlink("/proc/self/exe")
	if err != nil || filepath.Dir(other) != filepath.Dir(self) {
		return false
	}
	return slices.Contains(tools, strings.TrimSuffix(filepath.Base(other), " (deleted)"))
}

// ownReader reports the same of tools that give on to nobody what they read.
func ownReader(pid string) bool {
	if !ownTool(pid) || ownProgram(pid) {
		return false
	}
	other, err := os.Readlink("/proc/" + pid + "/exe")
	return err == nil && strings.TrimSuffix(filepath.Base(other), " (deleted)") != relayTool
}

// relayTool is the one of the tools that serves others.
const relayTool = "ec-relay"

// tools are the programs that have sessions of their own and pass on nobody else's.
var tools = []string{"ec-pub", "ec-sub", relayTool, "ec-discover"}

// sockets are the inodes and users of those that may send from an address.
func sockets(network string, from netip.AddrPort) (map[string]int, error) {
	found := make(map[string]int)
	for _, file := range []string{network, network + "6"} {
		f, err := os.Open("/proc/self/net/" + file)
		if err != nil {
			if file == network {
				return nil, err
			}
			continue
		}
		s := bufio.NewScanner(f)
		for s.Scan() {
			fields := strings.Fields(s.Text())
			if len(fields) < 10 || network == "tcp" && fields[3] != "01" { // established
				continue
			}
			at, ok := kernelAddr(fields[1])
			if !ok || at.Port() != from.Port() || !at.Addr().IsUnspecified() && at.Addr().Unmap() != from.Addr().Unmap() {
				continue
			}
			uid, err := strconv.Atoi(fields[7])
			if err != nil {
				continue
			}
			found[fields[9]] = uid
		}
		err = s.Err()
		f.Close()
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// kernelAddr reads 0100007F:115B: words in the machine's byte order, and a port.
func kernelAddr(text string) (a netip.AddrPort, ok bool) {
	host, port, ok := strings.Cut(text, ":")
	p, err := strconv.ParseUint(port, 16, 16)
	b, hexErr := hex.DecodeString(host)
	if !ok || err != nil || hexErr != nil || len(b)%4 != 0 {
		return a, false
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	addr, ok := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(addr, uint16(p)), ok
}
