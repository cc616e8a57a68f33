package sub

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"every.channel/ec/lib/object"
)

// clean drops control characters, because labels come from broadcasters and relays that nobody here controls.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, s)
}

// labelKeys are the labels of a catalog by which people know a channel.
var labelKeys = []string{"channel", "callsign", "service"}

// channel is what a receiver calls its channel, for people.
func (l Listing) channel() (words []string) {
	for _, k := range labelKeys {
		if v := l.Labels[k]; v != "" {
			words = append(words, clean(v))
		}
	}
	return words
}

// onAir is how old the last group of a broadcast may be for the broadcast to be on: chunks take up to twice their length to be published.
const onAir = 15 * time.Second

// on is when there is something of a transport stream, for people: since when, and until when if it is not on now.
func (l Listing) on(now time.Time) string {
	if l.From == nil {
		return ""
	}
	from := l.From.Local().Format("Jan 2 15:04")
	if now.Sub(*l.To) < onAir {
		return from + " to now"
	}
	to := l.To.Local()
	if form := "Jan 2"; to.Format(form) == l.From.Local().Format(form) {
		return from + " to " + to.Format("15:04")
	}
	return from + " to " + to.Format("Jan 2 15:04")
}

func writeTable(w io.Writer, list []Listing, now time.Time) error {
	var whole bytes.Buffer // a tabwriter writes cell by cell
	t := tabwriter.NewWriter(&whole, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tGROUPS\tON\tPACKAGING\tCODEC\tABOUT")
	channels := map[string][]string{} // of broadcasts, as the first of their receivers calls them
	for _, l := range list {
		if _, told := channels[l.Broadcast]; l.Broadcast != "" && !told && len(l.Labels) > 0 {
			channels[l.Broadcast] = l.channel()
		}
	}
	for _, l := range list {
		name := l.Namespace
		if l.Track != "" {
			name = object.TrackName{Namespace: parse(l.Namespace), Name: l.Track}.String()
		}
		groups := "none"
		if l.LastGroup != nil {
			groups = fmt.Sprintf("…%d", *l.LastGroup)
			if l.FirstGroup != nil {
				groups = fmt.Sprintf("%d…%d", *l.FirstGroup, *l.LastGroup)
			}
		}
		var about []string
		if l.Current {
			about = append(about, "current")
		}
		about = append(about, l.channel()...)
		if l.Current && len(l.Labels) == 0 {
			about = append(about, channels[l.Namespace]...)
		}
		if l.Broadcast != "" {
			about = append(about, "receives "+clean(l.Broadcast))
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", name, groups, l.on(now), clean(l.Packaging), clean(l.Codec), strings.Join(about, ", "))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := w.Write(whole.Bytes())
	return err
}

func parse(s string) object.Namespace {
	ns, _ := object.ParseNamespace(s)
	return ns
}
