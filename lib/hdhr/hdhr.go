// Package hdhr speaks the HDHomeRun protocols, as a client and as a device.
//
// Client side: discovery requests go out over UDP and devices come in ([Discover]); get and set
// requests go out over TCP ([Control]); lineups, status and MPEG-TS come in over HTTP ([Client]).
// Device side: a [Device] answers all of these for a [Backend] that supplies the channels and
// their transport streams.
//
// The specification is the vendor's libhdhomerun (hdhomerun_pkt.h for the packet, hdhomerun_discover.c
// and hdhomerun_control.c for its use) and the vendor's HTTP API page. The package knows nothing of
// what a transport stream contains beyond the PID of a packet, which a tuner's filter needs.
package hdhr

// Ports of the protocols (hdhomerun_pkt.h; the vendor's HTTP API page).
const (
	DiscoverPort = 65001 // UDP
	ControlPort  = 65001 // TCP
	HTTPPort     = 80
	StreamPort   = 5004
)
