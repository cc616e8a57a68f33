package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// get is a command of the scripts: get URL [TIME] writes what a URL gives, for so long, to stdout and its status to stderr.
func get() {
	limit := time.Minute
	if len(os.Args) > 2 {
		limit, _ = time.ParseDuration(os.Args[2])
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", os.Args[1], nil)
	if err == nil {
		var res *http.Response
		if res, err = http.DefaultClient.Do(req); err == nil {
			fmt.Fprintln(os.Stderr, "status", res.StatusCode)
			_, err = io.Copy(os.Stdout, res.Body)
		}
	}
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// part is a command of the scripts: part A B fails unless file A is a part of file B that begins with a packet, 188 bytes each.
func part() {
	a, err := os.ReadFile(os.Args[1])
	b, err2 := os.ReadFile(os.Args[2])
	at := bytes.Index(b, a)
	if err != nil || err2 != nil || len(a) < 188 || at < 0 || at%188 != 0 {
		fmt.Fprintln(os.Stderr, "not a part:", len(a), "bytes at", at, "of", len(b), err, err2)
		os.Exit(1)
	}
	fmt.Println(len(a), "bytes at", at)
}
