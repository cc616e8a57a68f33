package cmdutil

import (
	"net"
	"os"
)

// Notify tells the service manager a state such as "READY=1" or "STOPPING=1" (sd_notify(3)); without
// NOTIFY_SOCKET it does nothing.
func Notify(state string) error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	if name[0] == '@' {
		name = "\x00" + name[1:]
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte(state))
	return err
}
