package mesh

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"every.channel/ec/lib/iroh"
)

// Relays is the record of the operator's command relays: which relays there are, and over which path each is reached;
// docs/format/admin.md describes it.
type Relays struct {
	V      int        `json:"v"` // 1
	Iroh   *iroh.Self `json:"iroh,omitempty"`
	PID    int        `json:"pid,omitempty"`    // of ec-iroh; 0: it does not run at the moment
	Starts int        `json:"starts,omitempty"` // of ec-iroh
	Relays []Relay    `json:"relays"`
	Mirror *Progress  `json:"mirror,omitempty"`
}

// Relay is one relay of the list.
type Relay struct {
	Relay string `json:"relay"`            // its address
	State string `json:"state"`            // peer: both ways; upstream; away: dialed again and again; found: on the local network
	Path  string `json:"path,omitempty"`   // of iroh direct or relayed, else what the session runs over
	Addr  string `json:"addr,omitempty"`   // where it is
	RTT   int64  `json:"rtt_us,omitempty"` // 0: not measured
	ID    string `json:"id,omitempty"`     // its key, as far as it is known
}

// Progress says how far fetching what is missing here has come.
type Progress struct {
	Missing int64 `json:"missing"` // groups that peers had at the last look and this relay has not
	Brought int64 `json:"brought"` // groups fetched since the start
	// Paused says why nothing is fetched at the moment.
	Paused string `json:"paused,omitempty"`
}

// Print writes the list for people.
func (r Relays) Print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "RELAY\tSTATE\tPATH\tADDRESS\tRTT")
	for _, n := range r.Relays {
		rtt := "-"
		if n.RTT > 0 {
			rtt = (time.Duration(n.RTT) * time.Microsecond).String()
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", n.Relay, n.State, dash(n.Path), dash(n.Addr), rtt)
	}
	if r.Mirror != nil {
		fmt.Fprintln(tw, "mirror:", r.Mirror)
	}
	return tw.Flush()
}

func (p Progress) String() string {
	s := fmt.Sprintf("%d groups fetched, %d missing", p.Brought, p.Missing)
	if p.Paused != "" {
		s += ", paused: " + p.Paused
	}
	return s
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
