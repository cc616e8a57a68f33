package hdhr

import (
	"fmt"
	"strconv"
	"strings"
)

// TunerStatus is the value of /tunerN/status.
type TunerStatus struct {
	Channel          string // "8vsb:533000000", "none"
	Lock             string // "8vsb", "none", "(ntsc)"
	Strength         int    // ss, percent
	Quality          int    // snq, percent
	SymbolQuality    int    // seq, percent
	BitsPerSecond    int64  // received by the tuner
	PacketsPerSecond int64  // sent to the target
}

// ParseTunerStatus reads "ch=… lock=… ss=… snq=… seq=… bps=… pps=…". Unknown keys are skipped and
// missing ones are zero.
func ParseTunerStatus(s string) TunerStatus {
	st := TunerStatus{Channel: "none", Lock: "none"}
	for _, f := range strings.Fields(s) {
		k, v, _ := strings.Cut(f, "=")
		n, _ := strconv.ParseInt(v, 10, 64)
		switch k {
		case "ch":
			st.Channel = v
		case "lock":
			st.Lock = v
		case "ss":
			st.Strength = int(n)
		case "snq":
			st.Quality = int(n)
		case "seq":
			st.SymbolQuality = int(n)
		case "bps":
			st.BitsPerSecond = n
		case "pps":
			st.PacketsPerSecond = n
		}
	}
	return st
}

func (s TunerStatus) String() string {
	return fmt.Sprintf("ch=%s lock=%s ss=%d snq=%d seq=%d bps=%d pps=%d",
		s.Channel, s.Lock, s.Strength, s.Quality, s.SymbolQuality, s.BitsPerSecond, s.PacketsPerSecond)
}
