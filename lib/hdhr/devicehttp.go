package hdhr

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// noDataTimeout is how long a tuner may take to deliver the first packet (vendor's HTTP API page).
const noDataTimeout = 5 * time.Second

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func asCode(err error) Code {
	var c Code
	if errors.As(err, &c) {
		return c
	}
	return CodeTuneFailed
}

func (d *Device) apiRoutes(m *http.ServeMux) {
	m.HandleFunc("GET /discover.json", d.serveDiscoverJSON)
	m.HandleFunc("GET /lineup.json", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, lineupFields(d.lineup(r), r.URL.Query().Has("tuning")))
	})
	m.HandleFunc("GET /lineup.xml", d.serveLineupXML)
	m.HandleFunc("GET /lineup.m3u", d.serveLineupM3U)
	m.HandleFunc("GET /lineup_status.json", func(w http.ResponseWriter, r *http.Request) {
		source := "Antenna"
		if strings.HasSuffix(d.cfg.ChannelMap, "cable") {
			source = "Cable"
		}
		writeJSON(w, map[string]any{"ScanInProgress": 0, "ScanPossible": 0, "Source": source, "SourceList": []string{source}})
	})
	m.HandleFunc("GET /status.json", d.serveStatus)
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	json.NewEncoder(w).Encode(v) // an error here is a client that left
}

// reached is the device's address that the request came to.
func reached(r *http.Request) netip.Addr {
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

func client(r *http.Request) netip.Addr {
	a, _ := netip.ParseAddrPort(r.RemoteAddr)
	return a.Addr().Unmap()
}

func (d *Device) serveDiscoverJSON(w http.ResponseWriter, r *http.Request) {
	base := d.BaseURL(reached(r))
	writeJSON(w, map[string]any{
		"FriendlyName": d.cfg.Name, "ModelNumber": d.cfg.Model,
		"FirmwareName": d.cfg.FirmwareName, "FirmwareVersion": d.cfg.Firmware,
		"DeviceID": d.cfg.ID.String(), "DeviceAuth": "none", "TunerCount": d.cfg.Tuners,
		"BaseURL": base, "LineupURL": base + "/lineup.json",
	})
}

// lineup is the backend's with URLs for this client. ?show=unprotected leaves protected ones out;
// the other selections mean all there is.
func (d *Device) lineup(r *http.Request) []Channel {
	var out []Channel
	for _, c := range d.cfg.Backend.Lineup() {
		if c.DRM && r.URL.Query().Get("show") == "unprotected" {
			continue
		}
		c.URL = d.StreamURL(reached(r), "/auto/v"+c.Number)
		out = append(out, c)
	}
	return out
}

func lineupFields(cs []Channel, tuning bool) []map[string]any {
	out := []map[string]any{}
	for _, c := range cs {
		out = append(out, c.fields(tuning))
	}
	return out
}

func (d *Device) serveLineupXML(w http.ResponseWriter, r *http.Request) {
	type program struct {
		GuideNumber, GuideName string
		VideoCodec             string `xml:",omitempty"`
		AudioCodec             string `xml:",omitempty"`
		HD                     int    `xml:",omitempty"`
		Favorite               int    `xml:",omitempty"`
		DRM                    int    `xml:",omitempty"`
		URL                    string
	}
	type lineup struct {
		XMLName xml.Name `xml:"Lineup"`
		Program []program
	}
	flag := map[bool]int{true: 1}
	var l lineup
	for _, c := range d.lineup(r) {
		l.Program = append(l.Program, program{c.Number, c.Name, c.VideoCodec, c.AudioCodec,
			flag[c.HD], flag[c.Favorite], flag[c.DRM], c.URL})
	}
	w.Header().Set("Content-Type", "application/xml; charset=utf-8")
	io.WriteString(w, xml.Header)
	xml.NewEncoder(w).Encode(l)
}

func (d *Device) serveLineupM3U(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "audio/x-mpegurl; charset=utf-8")
	fmt.Fprintln(w, "#EXTM3U")
	clean := strings.NewReplacer("\n", " ", "\r", " ", `"`, "'")
	for _, c := range d.lineup(r) {
		number, name := clean.Replace(c.Number), clean.Replace(c.Name)
		fmt.Fprintf(w, "#EXTINF:-1 channel-id=\"%s\" channel-number=\"%s\" tvg-name=\"%s\",%s %s\n%s\n",
			number, number, name, number, name, c.URL)
	}
}

func (d *Device) serveStatus(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	out := []map[string]any{}
	for _, t := range d.tuners {
		m := map[string]any{"Resource": "tuner" + strconv.Itoa(t.n)}
		if t.channel != "none" {
			s := d.cfg.Backend.Signal(t.sel.Frequency)
			m["Frequency"] = t.sel.Frequency
			m["SignalStrengthPercent"] = s.Strength
			m["SignalQualityPercent"] = s.Quality
			m["SymbolQualityPercent"] = s.SymbolQuality
			if t.sel.Channel.Number != "" {
				m["VctNumber"], m["VctName"] = t.sel.Channel.Number, t.sel.Channel.Name
			}
			if bps := t.rate.bps.Load(); bps > 0 {
				m["NetworkRate"] = bps
			}
			if a, held := t.holder(); held && a.IsValid() {
				m["TargetIP"] = a.String()
			}
		}
		out = append(out, m)
	}
	d.mu.Unlock()
	writeJSON(w, out)
}

// streamRoutes are the URLs of streams: /auto/v5.1, /tuner0/v5.1, /auto/ch533000000-3.
func (d *Device) streamRoutes(m *http.ServeMux) {
	m.HandleFunc("GET /{tuner}/{channel}", d.serveStream)
}

func refuse(w http.ResponseWriter, c Code) {
	status := http.StatusServiceUnavailable // vendor's HTTP API page: also for protected channels
	if c == CodeUnknownChannel {
		status = http.StatusNotFound
	}
	w.Header().Set("X-HDHomeRun-Error", c.String())
	http.Error(w, c.String(), status)
}

// parseStreamPath reads the two parts of a stream's URL. n is below 0 for "auto".
func (d *Device) parseStreamPath(tuner, channel string) (n int, s Selection, ok bool) {
	if n = -1; tuner != "auto" {
		digits, found := strings.CutPrefix(tuner, "tuner")
		v, err := strconv.ParseUint(digits, 10, 8)
		if !found || err != nil {
			return 0, s, false
		}
		n = int(v)
	}
	if number, found := strings.CutPrefix(channel, "v"); found {
		c, known := d.channelByNumber(number)
		return n, Selection{Frequency: c.Frequency, Program: c.Program, Channel: c}, known
	}
	hz, found := strings.CutPrefix(channel, "ch")
	hz, program, _ := strings.Cut(hz, "-")
	f, err := strconv.ParseInt(hz, 10, 64)
	if !found || err != nil || f <= 0 {
		return 0, s, false
	}
	p := uint64(0)
	if program != "" {
		if p, err = strconv.ParseUint(program, 10, 16); err != nil {
			return 0, s, false
		}
	}
	return n, d.selection(f, int(p)), true
}

func (d *Device) serveStream(w http.ResponseWriter, r *http.Request) {
	n, s, ok := d.parseStreamPath(r.PathValue("tuner"), r.PathValue("channel"))
	if !ok {
		refuse(w, CodeUnknownChannel)
		return
	}
	if s.Channel.DRM {
		refuse(w, CodeContentProtection)
		return
	}
	var duration time.Duration
	if v := r.URL.Query().Get("duration"); v != "" {
		seconds, err := strconv.ParseFloat(v, 64)
		if err != nil || seconds < 0 || seconds > 1e9 {
			http.Error(w, "duration: want seconds", http.StatusBadRequest)
			return
		}
		duration = time.Duration(seconds * float64(time.Second))
	}
	if r.Method == http.MethodHead {
		// Looking must not take a tuner.
		w.Header().Set("Content-Type", "video/mpeg")
		return
	}
	t, err := d.acquire(n, s, client(r))
	if err != nil {
		refuse(w, asCode(err))
		return
	}
	defer d.release(t)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	log := d.log.With("tuner", t.n, "channel", r.PathValue("channel"), "client", client(r))
	rc, err := d.tune(ctx, s)
	if err != nil {
		log.Debug("tune refused", "err", err)
		refuse(w, asCode(err))
		return
	}
	defer rc.Close()
	stop := context.AfterFunc(ctx, func() { rc.Close() }) // the client leaves while the antenna is silent
	defer stop()
	log.Debug("stream starts")
	sent, err := d.copyStream(w, rc, t, duration)
	log.Debug("stream ends", "bytes", sent, "err", err)
}

// copyStream sends a stream to an HTTP client until it ends, the client leaves or the duration is
// over. Nothing is promised to the client before the first packet is there.
func (d *Device) copyStream(w http.ResponseWriter, rc io.ReadCloser, t *tuner, duration time.Duration) (sent int64, err error) {
	buf := make([]byte, 348*packetSize) // about 64 KiB
	silent := time.AfterFunc(noDataTimeout, func() { rc.Close() })
	n, err := rc.Read(buf)
	if !silent.Stop() || n == 0 {
		refuse(w, CodeNoVideoData)
		return 0, errors.Join(CodeNoVideoData, err)
	}
	h := w.Header()
	h.Set("Content-Type", "video/mpeg")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-HDHomeRun-Resource", "tuner"+strconv.Itoa(t.n))
	h.Set("Transfer-Encoding", "identity") // as the devices do: the stream ends with the connection
	if duration > 0 {
		over := time.AfterFunc(duration, func() { rc.Close() })
		defer over.Stop()
	}
	out := http.NewResponseController(w)
	t.rate.start(time.Now())
	for {
		if n > 0 {
			if _, werr := w.Write(buf[:n]); werr != nil {
				return sent, werr
			}
			// A part-filled buffer means that the source has no more now; do not hold it back.
			if n < len(buf) {
				if ferr := out.Flush(); ferr != nil {
					return sent, ferr
				}
			}
			sent += int64(n)
			t.rate.add(n, time.Now())
		}
		if err != nil {
			return sent, err
		}
		n, err = rc.Read(buf)
	}
}
