package ts_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"every.channel/ec/lib/ts"
)

// Packets are found in a stream with garbage in it, and their counters say what is missing.
func ExampleReader() {
	var stream bytes.Buffer
	for i := range 8 {
		var p ts.Packet
		p.Fill(&ts.Header{PID: 0x31, Continuity: uint8(i)}, []byte("payload"))
		switch i {
		case 3: // is lost
			continue
		case 6:
			stream.WriteString("noise")
		}
		stream.Write(p[:])
	}

	r := ts.NewReader(&stream)
	var counters ts.Continuity
	for packets := 0; ; packets++ {
		p, err := r.Next()
		var lost *ts.SyncError
		switch {
		case err == io.EOF:
			return
		case errors.As(err, &lost):
			fmt.Println("lost sync at", lost.Offset)
			continue
		case err != nil:
			panic(err)
		}
		if counters.Check(p) == ts.Gap {
			fmt.Println("packets of PID", p.PID(), "are missing before counter", p.Continuity())
		}
	}
	// Output:
	// packets of PID 49 are missing before counter 4
	// lost sync at 940
}
