//go:build linux

package netlab

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestMain is also a program that a test runs in a namespace: NETLAB=echo ADDRESS, or NETLAB=ask ADDRESS, which prints how many of 100
// datagrams came back, and after how long the fastest one.
func TestMain(m *testing.M) {
	switch os.Getenv("NETLAB") {
	case "echo":
		c, err := net.ListenPacket("udp4", os.Args[1])
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("listening")
		b := make([]byte, 2000)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			c.WriteTo(b[:n], from)
		}
	case "ask":
		c, err := net.Dial("udp4", os.Args[1])
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		b := make([]byte, 2000)
		came, fastest := 0, time.Hour
		for i := range byte(100) {
			begun := time.Now()
			c.Write([]byte{i})
			c.SetReadDeadline(begun.Add(100 * time.Millisecond))
			for {
				if _, err := c.Read(b); err != nil {
					break
				}
				if b[0] == i { // and no answer to an earlier one that was late
					came, fastest = came+1, min(fastest, time.Since(begun))
					break
				}
			}
		}
		fmt.Println(came, fastest.Milliseconds())
		return
	}
	os.Exit(m.Run())
}

func TestLab(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, for network namespaces")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip("there is no /dev/net/tun")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("there is no ip")
	}
	l, err := New(1, Params{Delay: 10 * time.Millisecond}, Params{Delay: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if out, _ := exec.Command("ip", "netns", "list").Output(); strings.Contains(string(out), l.ends[0].space) {
			t.Error("a namespace is left behind")
		}
	}()
	env := map[string]string{}
	for _, v := range l.Environ() {
		key, value, _ := strings.Cut(v, "=")
		env[key] = value
	}
	in := func(side, what, address string) *exec.Cmd {
		words := append(strings.Fields(env[side]), os.Args[0], address)
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Env = append(os.Environ(), "NETLAB="+what)
		return cmd
	}
	echo := in("RIGHT", "echo", env["RIGHT_IP"]+":7")
	out, err := echo.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := echo.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		echo.Process.Kill()
		echo.Wait()
	}()
	if _, err := out.Read(make([]byte, 9)); err != nil {
		t.Fatal(err)
	}
	var inside *net.UDPConn
	if err := l.In(LeftSide, func() (err error) { // a socket stays where it was opened
		inside, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(l.IP(LeftSide))})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	to, err := net.ResolveUDPAddr("udp4", env["RIGHT_IP"]+":7")
	if err != nil {
		t.Fatal(err)
	}
	inside.WriteTo([]byte("from inside"), to)
	inside.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, _, err := inside.ReadFrom(make([]byte, 100)); n != 11 || err != nil {
		t.Errorf("%d bytes came back to a socket inside, %v", n, err)
	}
	other, err := New(2, Params{}, Params{}) // a second lab of the same process
	if err != nil {
		t.Fatal(err)
	}
	if out, err := other.Command(t.Context(), RightSide, "ip", "-o", "addr").CombinedOutput(); err != nil || !strings.Contains(string(out), other.IP(RightSide)) {
		t.Errorf("%v: %s", err, out)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
	ask := func() (came, fastest int) {
		t.Helper()
		out, err := in("LEFT", "ask", env["RIGHT_IP"]+":7").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if _, err := fmt.Sscan(string(out), &came, &fastest); err != nil {
			t.Fatalf("%s", out)
		}
		return came, fastest
	}
	if came, fastest := ask(); came < 95 || fastest < 20 || fastest > 60 {
		t.Errorf("%d of 100 came, the fastest after %d ms, want 20", came, fastest)
	}
	for _, event := range []string{"left:loss=100%", "left:loss=50%", "clear", "renumber"} {
		if err := l.Apply(event); err != nil {
			t.Fatal(err)
		}
		came, fastest := ask()
		want := map[string][2]int{"left:loss=100%": {0, 0}, "left:loss=50%": {30, 70}}[event]
		if want[1] == 0 && event != "left:loss=100%" {
			want = [2]int{95, 100}
		}
		if came < want[0] || came > want[1] || event == "clear" && fastest >= 20 {
			t.Errorf("%s: %d of 100 came, the fastest after %d ms", event, came, fastest)
		}
	}
	if r := l.Report(); r.Left.Sent < 400 || r.Left.Lost < 100 || r.Right.Lost > 0 || r.Right.Delivered < 200 {
		t.Errorf("%+v", r)
	}
}
