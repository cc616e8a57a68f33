package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"every.channel/ec/lib/cmdutil"
	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/hdhr"
)

type config struct {
	find    hdhr.DiscoverConfig
	sources []string // of lineups; empty: every device found
	lineup  bool
	json    bool
	log     *slog.Logger
}

// device is a tuner device that was found, with what its HTTP server adds to the discovery packet.
type device struct {
	hdhr.Found
	info hdhr.Info
}

// run finds devices, or reads lineups, and prints them to w.
func run(ctx context.Context, cfg config, w io.Writer) error {
	if len(cfg.sources) > 0 {
		var sources []source
		for _, s := range cfg.sources {
			sources = append(sources, source{s, s})
		}
		return lineups(ctx, cfg, sources, w)
	}
	devices, missing, err := find(ctx, cfg)
	if err != nil {
		return cmdutil.Exit(exit.Unreachable, err)
	}
	switch {
	case cfg.lineup:
		var sources []source
		for _, d := range devices {
			if url := cmp.Or(d.LineupURL, d.BaseURL); url != "" {
				sources = append(sources, source{url, d.ID.String()})
			}
		}
		err = lineups(ctx, cfg, sources, w)
	case cfg.json:
		err = printDevicesJSON(w, devices)
	default:
		err = printDevices(w, devices)
	}
	return errors.Join(err, missing)
}

// find returns the devices that answer, and in missing which of those asked for do not.
func find(ctx context.Context, cfg config) (devices []device, missing, err error) {
	found, err := hdhr.Discover(ctx, cfg.find)
	if err != nil {
		return nil, nil, err
	}
	var silent []string
	for _, t := range cfg.find.Targets {
		if answered(found, t.Addr()) {
			continue
		}
		// A firewall, a VLAN or a container may let HTTP through where it stops discovery.
		if f, ok := probe(ctx, t.Addr(), cfg.find.ID); ok {
			cfg.log.Debug("device answers http only", "address", t.Addr())
			found = append(found, f)
		} else {
			silent = append(silent, t.String())
		}
	}
	var client hdhr.Client
	client.Timeout = 2 * time.Second
	for _, f := range found {
		d := device{Found: f}
		if f.BaseURL != "" {
			if d.info, err = client.Info(ctx, f.BaseURL); err != nil {
				cfg.log.Warn("device found, but its HTTP server does not answer", "device", f.ID, "url", f.BaseURL, "err", err)
			}
		}
		devices = append(devices, d)
	}
	switch {
	case ctx.Err() != nil:
		return nil, nil, ctx.Err()
	case cfg.find.ID != 0 && len(devices) == 0:
		missing = cmdutil.Hint(fmt.Errorf("device %s does not answer", cfg.find.ID), hintNotFound)
	case len(silent) > 0:
		missing = cmdutil.Hint(fmt.Errorf("no device answers at %s", strings.Join(silent, ", ")),
			"is it switched on, and does a firewall let UDP and TCP port 65001 and TCP port 80 through?")
	case len(devices) == 0:
		missing = cmdutil.Hint(errors.New("no device found"), hintNotFound)
	}
	return devices, cmdutil.Exit(exit.Unreachable, missing), nil
}

const hintNotFound = "broadcasts do not leave a VLAN, a container or a virtual machine; if you know its address, use --ip ADDRESS"

func answered(found []hdhr.Found, a netip.Addr) bool {
	for _, f := range found {
		for _, from := range f.Addrs {
			if from.Addr().WithZone("") == a.Unmap().WithZone("") {
				return true
			}
		}
	}
	return false
}

// probe asks an address over HTTP.
func probe(ctx context.Context, a netip.Addr, id hdhr.DeviceID) (hdhr.Found, bool) {
	base := "http://" + a.String()
	if a.Is6() {
		base = "http://[" + strings.ReplaceAll(a.String(), "%", "%25") + "]"
	}
	client := hdhr.Client{Timeout: time.Second}
	info, err := client.Info(ctx, base)
	if err != nil || info.ID == 0 || id != 0 && info.ID != id {
		return hdhr.Found{}, false
	}
	return hdhr.Found{
		DiscoverReply: hdhr.DiscoverReply{ID: info.ID, Tuners: info.Tuners, Types: []hdhr.DeviceType{hdhr.TypeTuner},
			BaseURL: base, LineupURL: base + "/lineup.json"},
		Addrs: []netip.AddrPort{netip.AddrPortFrom(a, 0)},
	}, true
}

func printDevices(w io.Writer, devices []device) error {
	if len(devices) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "DEVICE\tADDRESS\tTUNERS\tMODEL\tFIRMWARE\tNAME")
	for _, d := range devices {
		for i, a := range d.Addrs {
			if i > 0 {
				fmt.Fprintf(t, "\t%s\t\t\t\t\n", a.Addr())
				continue
			}
			fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t%s\n", d.ID, a.Addr(), d.Tuners,
				dash(d.info.Model), dash(d.info.Firmware), dash(d.info.Name))
		}
	}
	return t.Flush()
}

func printDevicesJSON(w io.Writer, devices []device) error {
	enc := json.NewEncoder(w)
	for _, d := range devices {
		addrs := []string{}
		for _, a := range d.Addrs {
			addrs = append(addrs, a.Addr().String())
		}
		if err := enc.Encode(struct {
			V         int      `json:"v"`
			Type      string   `json:"type"`
			ID        string   `json:"id"`
			Addresses []string `json:"addresses"`
			Tuners    int      `json:"tuners"`
			BaseURL   string   `json:"baseUrl,omitempty"`
			LineupURL string   `json:"lineupUrl,omitempty"`
			Name      string   `json:"name,omitempty"`
			Model     string   `json:"model,omitempty"`
			Firmware  string   `json:"firmware,omitempty"`
		}{1, "device", d.ID.String(), addrs, d.Tuners, d.BaseURL, d.LineupURL, d.info.Name, d.info.Model, d.info.Firmware}); err != nil {
			return err
		}
	}
	return nil
}

// source is the URL of a lineup, and its name in the output.
type source struct{ url, name string }

// lineups prints the channels of every source. One that can not be read does not hold up the others.
func lineups(ctx context.Context, cfg config, sources []source, w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	enc := json.NewEncoder(w)
	headed := cfg.json
	var errs []error
	for _, s := range sources {
		channels, err := readLineup(ctx, s.url, cfg.log)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if !headed {
			headed = true
			fmt.Fprintln(t, "CHANNEL\tNAME\tVIDEO\tAUDIO\tFREQUENCY\tTSID\tPROGRAM\tSIGNAL\tNOTE\tSOURCE")
		}
		for _, c := range channels {
			if cfg.json {
				err := enc.Encode(struct {
					V       int          `json:"v"`
					Type    string       `json:"type"`
					Source  string       `json:"source"`
					Channel hdhr.Channel `json:"channel"`
				}{1, "channel", s.name, c})
				if err != nil {
					return err
				}
				continue
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", clean(c.Number), dash(c.Name), dash(c.VideoCodec),
				dash(c.AudioCodec), number(int(c.Frequency), 1), number(c.TSID, 0), number(c.Program, 1),
				signal(c), dash(note(c)), s.name)
		}
	}
	return errors.Join(append([]error{t.Flush()}, errs...)...)
}

func readLineup(ctx context.Context, source string, log *slog.Logger) ([]hdhr.Channel, error) {
	var channels []hdhr.Channel
	var skipped int
	var err error
	if strings.Contains(source, "://") {
		channels, skipped, err = new(hdhr.Client).Lineup(ctx, source)
		if _, ok := errors.AsType[net.Error](err); ok {
			err = cmdutil.Exit(exit.Unreachable, err)
		} else if _, refused := errors.AsType[*hdhr.StreamError](err); err != nil && !refused {
			err = cmdutil.Exit(exit.BadData, err)
		}
	} else {
		var b []byte
		if b, err = os.ReadFile(source); err == nil {
			if channels, skipped, err = hdhr.ParseLineup(b); err != nil {
				err = cmdutil.Exit(exit.BadData, cmdutil.Hint(fmt.Errorf("%s: %w", source, err), "want the lineup.json of a device"))
			}
		}
	}
	if skipped > 0 {
		log.Warn("lineup entries not understood", "source", source, "skipped", skipped)
	}
	return channels, err
}

func note(c hdhr.Channel) string {
	var notes []string
	for _, n := range []struct {
		on   bool
		text string
	}{{c.HD, "HD"}, {c.Favorite, "favorite"}, {c.DRM, "protected"}, {c.ATSC3, "ATSC3"}} {
		if n.on {
			notes = append(notes, n.text)
		}
	}
	return strings.Join(notes, ",")
}

func signal(c hdhr.Channel) string {
	if c.SignalStrength == 0 && c.SignalQuality == 0 {
		return "-"
	}
	return fmt.Sprintf("%d%%/%d%%", c.SignalStrength, c.SignalQuality)
}

func number(n, least int) string {
	if n < least {
		return "-"
	}
	return strconv.Itoa(n)
}

func dash(s string) string {
	if s = clean(s); s == "" {
		return "-"
	}
	return s
}

// clean drops control characters from a remote label, which could harm a terminal or the table.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
}
