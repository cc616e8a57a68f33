// Package pace sends a transport stream in its own time. Packets come in as fast as a relay sends them, in parts of 200 ms or in hours at
// once; they go out when their PCR says, in datagrams of seven packets or to a pipe. With a rate, the multiplex has that rate: null
// packets fill it, and each PCR is made anew for the place where it stands, so it is exact (H.222.0 §2.4.2.2, TR 101 290 §5.3.2).
//
// The clock of the output follows the clock of the broadcast, and not that of this machine: where the two drift apart by some parts per
// million, the output is sent that much faster or slower, so a stream that runs for months neither runs dry nor falls behind.
package pace
