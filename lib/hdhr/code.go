package hdhr

import (
	"fmt"

	"every.channel/ec/lib/exit"
)

// Code is the error that a device gives with a refused stream, in X-HDHomeRun-Error. A Backend
// returns one from Tune to refuse; a client finds it with errors.As.
type Code int

// The codes. The vendor's page does not list them; the numbers and words are those that devices send.
const (
	CodeUnknownChannel    Code = 801
	CodeSystemBusy        Code = 803
	CodeTunerInUse        Code = 804
	CodeAllTunersInUse    Code = 805
	CodeTuneFailed        Code = 806
	CodeNoVideoData       Code = 807
	CodeDVRFailed         Code = 808
	CodeConnectionLimit   Code = 809
	CodeDVRFull           Code = 810
	CodeContentProtection Code = 811
)

func (c Code) text() string {
	switch c {
	case CodeUnknownChannel:
		return "Unknown Channel"
	case CodeSystemBusy:
		return "System Busy"
	case CodeTunerInUse:
		return "Tuner In Use"
	case CodeAllTunersInUse:
		return "All Tuners In Use"
	case CodeTuneFailed:
		return "Tune Failed"
	case CodeNoVideoData:
		return "No Video Data"
	case CodeDVRFailed:
		return "DVR Failed"
	case CodeConnectionLimit:
		return "Playback Connection Limit"
	case CodeDVRFull:
		return "DVR Full"
	case CodeContentProtection:
		return "Content Protection Required"
	}
	return "Unknown Error"
}

// String is the form of the header, "805 All Tuners In Use".
func (c Code) String() string { return fmt.Sprintf("%d %s", int(c), c.text()) }

func (c Code) Error() string { return "device error " + c.String() }

// ExitCode is the exit code of a command that ends with this error.
func (c Code) ExitCode() int {
	switch c {
	case CodeSystemBusy, CodeTunerInUse, CodeAllTunersInUse, CodeConnectionLimit:
		return exit.Busy
	case CodeContentProtection:
		return exit.NotAllowed
	}
	return exit.Unreachable
}
