//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"time"

	"every.channel/ec/lib/netlab"
	"every.channel/ec/lib/object"
)

const relayPort = "4443"

var (
	video    = object.TrackName{Namespace: object.Namespace{"ec", "atsc", "2065", "3"}, Name: "ts_t07"}
	manifest = object.TrackName{Namespace: object.Namespace{"ec", "source", "home", "3"}, Name: "manifest"}
)

// firstGroup is the number of the first group. Numbers skip, as those of chunks do.
const firstGroup, groupStep = 1000, 2

// startRelay starts ec-relay at the right side and returns the fingerprint of its key.
func (p *place) startRelay(args ...string) (fingerprint string, err error) {
	cmd, err := p.command(netlab.RightSide, filepath.Join(p.bin, "ec-relay"), append([]string{
		"--exit-with-stdin", "--open", "--store", filepath.Join(p.dir, "store"), "--listen", p.lab.IP(netlab.RightSide) + ":" + relayPort}, args...)...)
	if err != nil {
		return "", err
	}
	if _, err := cmd.StdinPipe(); err != nil { // held open
		return "", err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := p.run(cmd); err != nil {
		return "", err
	}
	var ready struct {
		Fingerprint string `json:"fingerprint"`
	}
	if err := json.NewDecoder(out).Decode(&ready); err != nil {
		return "", fmt.Errorf("ec-relay: %w", err)
	}
	return ready.Fingerprint, nil
}

// startPub starts ec-pub and returns what writes the programme to it.
func (p *place) startPub(s netlab.Side, fingerprint string, args ...string) (feed func(context.Context) error, err error) {
	cmd, err := p.command(s, filepath.Join(p.bin, "ec-pub"), append(append([]string{"--retry", "10m", "--fingerprint", fingerprint}, args...), p.url())...)
	if err != nil {
		return nil, err
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := p.run(cmd); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		err := p.prog.publish(ctx, in)
		if ctx.Err() != nil {
			return nil
		}
		return err
	}, nil // its input stays open: what it does at its end is not measured here
}

func (p *place) url() string { return "moqt://" + p.lab.IP(netlab.RightSide) + ":" + relayPort }

// publish writes the programme as ec-chop would.
func (p *programme) publish(ctx context.Context, w io.Writer) error {
	buf := bufio.NewWriterSize(w, 2*objectSize)
	out := object.NewWriter(buf)
	put := func(name object.TrackName, group, id uint64, i int, payload []byte) error {
		prop := object.Properties{Hash: object.Sum(payload), HasHash: true, PTS: uint64(i) * uint64(objectEvery*90/time.Millisecond), HasPTS: true}
		return out.WriteObject(name, &object.Object{Group: group, ID: id, Priority: 100, Properties: prop.Append(nil), Payload: payload})
	}
	return p.objects(ctx, func(i int, b []byte) error {
		group, id := uint64(firstGroup+i/perGroup*groupStep), uint64(i%perGroup)
		if err := put(video, group, id, i, b); err != nil {
			return err
		}
		if id == perGroup-1 {
			if err := out.WriteObject(video, &object.Object{Group: group, ID: perGroup, Status: object.EndOfGroup}); err != nil {
				return err
			}
			if err := put(manifest, group, 0, i, b[:200]); err != nil {
				return err
			}
			if err := out.WriteObject(manifest, &object.Object{Group: group, ID: 1, Status: object.EndOfGroup}); err != nil {
				return err
			}
		}
		return buf.Flush()
	})
}

// ec measures ec-pub, ec-relay and ec-sub: up is between the first two, down between the last two.
func ec(ctx context.Context, p *place) error {
	fingerprint, err := p.startRelay()
	if err != nil {
		return err
	}
	feed, err := p.startPub(p.from(), fingerprint)
	if err != nil {
		return err
	}
	return p.together(ctx, feed, func(ctx context.Context) error { return p.subscribe(ctx, fingerprint, p.url()) })
}

// ecWebSocket measures ec-sub as a page that has no WebTransport: over a WebSocket, which is TCP, to ec-relay's HTTP.
func ecWebSocket(ctx context.Context, p *place) error {
	web := p.lab.IP(netlab.RightSide) + ":" + infoPort
	fingerprint, err := p.startRelay("--http", web)
	if err != nil {
		return err
	}
	feed, err := p.startPub(netlab.RightSide, fingerprint)
	if err != nil {
		return err
	}
	return p.together(ctx, feed, func(ctx context.Context) error { return p.subscribe(ctx, fingerprint, "ws://"+web+"/moq") })
}

// subscribe reads what ec-sub writes, as soon as there is something at the relay.
func (p *place) subscribe(ctx context.Context, fingerprint, url string) error {
	if err := sleep(ctx, p.prog.start.Add(2*time.Second)); err != nil {
		return nil
	}
	args := append([]string{"--retry", "10m", "--verify", "--allow-gaps", "--fingerprint", fingerprint}, p.row.sub...)
	cmd, err := p.command(p.to(), filepath.Join(p.bin, "ec-sub"), append(args, url, "ec-atsc-2065-3--ts_t07")...)
	if err != nil {
		return err
	}
	return p.follow(ctx, cmd, func(r io.Reader) error {
		for in := object.NewReader(r); ; {
			rec, err := in.Next()
			if err != nil {
				return err
			}
			if !rec.IsTrack && rec.Object.Status == object.Normal {
				p.prog.came(rec.Object.Payload, time.Now())
			}
		}
	})
}

// follow runs a program whose output f reads.
func (p *place) follow(ctx context.Context, cmd *exec.Cmd, f func(io.Reader) error) error {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := p.run(cmd); err != nil {
		return err
	}
	return read(ctx, out, func() error { return f(out) })
}
