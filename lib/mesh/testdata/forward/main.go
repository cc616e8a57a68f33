// Command forward passes on what comes over a socket, for a test, until its standard input ends.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strings"
)

func main() {
	scheme, at, _ := strings.Cut(os.Args[1], "://")
	switch scheme {
	case "moqt":
		in, err := net.ListenPacket("udp", "127.0.0.1:0")
		check(err)
		out, err := net.Dial("udp", at)
		check(err)
		fmt.Println("moqt://" + in.LocalAddr().String())
		go datagrams(in, out)
	default:
		network := map[string]string{"unix": "unix", "tcp": "tcp"}[scheme]
		in, err := net.Listen("tcp", "127.0.0.1:0")
		check(err)
		fmt.Println("tcp://" + in.Addr().String())
		go func() {
			for {
				a, err := in.Accept()
				check(err)
				b, err := net.Dial(network, at)
				check(err)
				go io.Copy(a, b)
				go io.Copy(b, a)
			}
		}()
	}
	io.Copy(io.Discard, os.Stdin)
}

// datagrams passes those of one client on.
func datagrams(in net.PacketConn, out net.Conn) {
	first := make([]byte, 65536)
	n, client, err := in.ReadFrom(first)
	check(err)
	out.Write(first[:n])
	go func() {
		b := make([]byte, 65536)
		for {
			n, err := out.Read(b)
			check(err)
			in.WriteTo(b[:n], client)
		}
	}()
	for {
		n, _, err := in.ReadFrom(first)
		check(err)
		out.Write(first[:n])
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
