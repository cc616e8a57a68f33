package hdhr

import (
	"context"
	"io"
)

// Backend is what a Device receives with: the antenna and the demodulators.
type Backend interface {
	// Lineup lists the channels. URL is left empty. Frequency, Modulation, Program and TSID should be
	// given: control clients tune by them.
	Lineup() []Channel

	// Tune starts reception. Reads return whole 188-byte packets as they are received and block in
	// between; the device reads with a buffer of at least 7 packets. The device closes the stream when
	// the client leaves, even while a Read blocks, which that must end, and cancels ctx; it may close twice.
	// To refuse, Tune returns a Code; other errors become
	// CodeTuneFailed. A Read error ends the client's stream.
	Tune(ctx context.Context, s Selection) (io.ReadCloser, error)

	// Signal tells what a tuner sees at a frequency in Hz. It is called often.
	Signal(frequency int64) Signal
}

// Selection is what a tuner is set to.
type Selection struct {
	Frequency int64 // Hz
	// Program is the MPEG program wanted, with the tables that belong to it: 0 for the whole multiplex.
	Program int
	// Channel is the lineup entry meant, zero where a client tuned to a frequency.
	Channel Channel
}

// Signal is what a tuner reports about what it receives.
type Signal struct {
	Lock          string // modulation locked to, "8vsb"; "" or "none": no lock
	Strength      int    // ss, percent
	Quality       int    // snq, percent, signal to noise
	SymbolQuality int    // seq, percent
}
