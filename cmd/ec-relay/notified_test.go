package main

import (
	"fmt"
	"net"
	"os"
)

// notified is a command of the scripts: it writes to the file notified what it gets as a service manager at NOTIFY_SOCKET.
func notified() {
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: os.Getenv("NOTIFY_SOCKET"), Net: "unixgram"})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	f, err := os.Create("notified")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	b := make([]byte, 4096)
	for {
		n, err := c.Read(b)
		if err != nil {
			os.Exit(1)
		}
		fmt.Fprintf(f, "%s\n", b[:n])
	}
}
