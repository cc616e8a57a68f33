//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"every.channel/ec/lib/netlab"
)

// HLS: segments of 1 s, six in the playlist, which the client asks for every half second.
const (
	httpPort      = "8080"
	segmentLasts  = perGroup * objectEvery
	playlistHolds = 6
	pollEvery     = segmentLasts / 2 // RFC 8216 §6.3.4: half of the target duration
)

// startNginx serves a folder at the right side.
func (p *place) startNginx() (root string, err error) {
	root = filepath.Join(p.dir, "www")
	if err := os.Mkdir(root, 0o777); err != nil {
		return "", err
	}
	conf := filepath.Join(p.dir, "nginx.conf")
	text := fmt.Sprintf(`daemon off;
user root;
pid %[1]s/pid;
error_log stderr error;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/tmp;
	proxy_temp_path %[1]s/tmp;
	fastcgi_temp_path %[1]s/tmp;
	uwsgi_temp_path %[1]s/tmp;
	scgi_temp_path %[1]s/tmp;
	client_max_body_size 100m;
	keepalive_timeout 300s;
	keepalive_requests 100000;
	types { application/vnd.apple.mpegurl m3u8; video/mp2t ts; }
	server {
		listen %[2]s:%[3]s;
		listen 127.0.0.1:%[3]s;
		root %[4]s;
		dav_methods PUT;
	}
}
`, p.dir, p.lab.IP(netlab.RightSide), httpPort, root)
	if err := os.WriteFile(conf, []byte(text), 0o666); err != nil {
		return "", err
	}
	cmd, err := p.command(netlab.RightSide, "nginx", "-e", "stderr", "-c", conf)
	if err != nil {
		return "", err
	}
	if err := p.run(cmd); err != nil {
		return "", err
	}
	for range 50 {
		c, err := p.dial(netlab.RightSide, "127.0.0.1:"+httpPort)
		if err == nil {
			return root, c.Close()
		}
		time.Sleep(100 * time.Millisecond)
	}
	return "", fmt.Errorf("nginx does not listen")
}

// client is one of HTTP at a side, with one connection that lasts.
func (p *place) client(s netlab.Side) *http.Client {
	return &http.Client{Transport: &http.Transport{
		MaxConnsPerHost: 1, ResponseHeaderTimeout: stuckAfter,
		DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
			c, err := p.dial(s, address)
			if err != nil {
				return nil, err
			}
			return moving{c}, nil
		},
	}}
}

// hls measures a packager, nginx and a client. Down, the packager writes into nginx's folder and the client is at the other side; up, the
// packager sends to nginx with PUT, and the client is beside nginx.
func hls(ctx context.Context, p *place) error {
	root, err := p.startNginx()
	if err != nil {
		return err
	}
	put := func(_ context.Context, name string, b []byte) error {
		tmp := filepath.Join(root, "new")
		if err := os.WriteFile(tmp, b, 0o666); err != nil {
			return err
		}
		return os.Rename(tmp, filepath.Join(root, name))
	}
	address := p.lab.IP(netlab.RightSide) + ":" + httpPort
	if p.up {
		put = p.putter("http://" + address + "/")
	}
	return p.together(ctx, func(ctx context.Context) error {
		return p.prog.pack(ctx, put)
	}, func(ctx context.Context) error {
		return p.play(ctx, "http://"+address+"/")
	})
}

// putter sends files with PUT, each until it is there.
func (p *place) putter(base string) func(context.Context, string, []byte) error {
	c := p.client(p.from())
	return func(ctx context.Context, name string, b []byte) error {
		for {
			req, err := http.NewRequestWithContext(ctx, "PUT", base+name, bytes.NewReader(b))
			if err != nil {
				return err
			}
			res, err := c.Do(req)
			if err == nil {
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
				if res.StatusCode < 300 {
					return nil
				}
				return fmt.Errorf("PUT %s: %s", name, res.Status)
			}
			if err := sleep(ctx, time.Now().Add(100*time.Millisecond)); err != nil {
				return err
			}
		}
	}
}

// pack makes segments and playlists. What is ready waits its turn while the one before is on its way.
func (p *programme) pack(ctx context.Context, put func(context.Context, string, []byte) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	ready := make(chan []byte, p.number) // all of them at most
	var packing sync.WaitGroup
	packing.Go(func() {
		for n := 0; ; n++ {
			var seg []byte
			select {
			case seg = <-ready:
			case <-ctx.Done():
				return
			}
			var list bytes.Buffer
			first := max(0, n+1-playlistHolds)
			fmt.Fprintf(&list, "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:%d\n#EXT-X-MEDIA-SEQUENCE:%d\n", segmentLasts/time.Second, first)
			for i := first; i <= n; i++ {
				fmt.Fprintf(&list, "#EXTINF:%.3f,\n%d.ts\n", segmentLasts.Seconds(), i)
			}
			if err := put(ctx, fmt.Sprint(n, ".ts"), seg); err != nil {
				stop(err)
				return
			}
			if err := put(ctx, "live.m3u8", list.Bytes()); err != nil {
				stop(err)
				return
			}
		}
	})
	var seg []byte
	err := p.objects(ctx, func(i int, b []byte) error {
		if seg = append(seg, b...); (i+1)%perGroup == 0 {
			ready <- seg
			seg = nil
		}
		return nil
	})
	packing.Wait()
	if context.Cause(ctx) != nil && err == nil {
		err = context.Cause(ctx)
	}
	return err
}

// play reads the playlist and each new segment in turn, beginning with the newest one. An object is here with its last byte.
func (p *place) play(ctx context.Context, base string) error {
	c := p.client(p.to())
	next := -1
	for {
		begun := time.Now()
		segments, err := playlist(ctx, c, base)
		if err == nil && len(segments) > 0 {
			if next < 0 {
				next = segments[len(segments)-1]
			}
			for _, n := range segments {
				if n < next {
					continue
				}
				for err = p.segment(ctx, c, fmt.Sprint(base, n, ".ts")); err != nil && ctx.Err() == nil; err = p.segment(ctx, c, fmt.Sprint(base, n, ".ts")) {
					sleep(ctx, time.Now().Add(100*time.Millisecond))
				}
				next = n + 1
			}
		}
		if sleep(ctx, begun.Add(pollEvery)) != nil {
			return nil
		}
	}
}

// playlist returns the numbers of the segments in it.
func playlist(ctx context.Context, c *http.Client, base string) (list []int, err error) {
	req, err := http.NewRequestWithContext(ctx, "GET", base+"live.m3u8", nil)
	if err != nil {
		return nil, err
	}
	res, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	for s := bufio.NewScanner(res.Body); s.Scan(); {
		var n int
		if _, err := fmt.Sscanf(s.Text(), "%d.ts", &n); err == nil && strings.HasSuffix(s.Text(), ".ts") {
			list = append(list, n)
		}
	}
	return list, nil
}

// segment reads one.
func (p *place) segment(ctx context.Context, c *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return err
	}
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNotFound {
		return nil
	}
	for b := make([]byte, objectSize); ; {
		if _, err := io.ReadFull(res.Body, b); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		p.prog.came(b, time.Now())
	}
}
