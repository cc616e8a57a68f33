//go:build ignore

// Command netlab is scripts/netlab.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"every.channel/ec/lib/netlab"
)

// event is something that happens at a time.
type event struct {
	at   time.Duration
	what string
}

func main() {
	code, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "netlab: error:", err)
	}
	os.Exit(code)
}

func run() (int, error) {
	var left, right netlab.Params
	var events []event
	flags := flag.NewFlagSet("netlab", flag.ContinueOnError)
	flags.Usage = func() {}
	flags.SetOutput(io.Discard)
	seed := flags.Uint64("seed", 1, "")
	report := flags.String("report", "", "")
	set := func(ps ...*netlab.Params) func(string) error {
		return func(text string) error {
			for _, p := range ps {
				if err := p.Set(text); err != nil {
					return err
				}
			}
			return nil
		}
	}
	flags.Func("link", "", set(&left, &right))
	flags.Func("left", "", set(&left))
	flags.Func("right", "", set(&right))
	flags.Func("at", "", func(text string) error {
		at, what, ok := strings.Cut(text, ":")
		d, err := time.ParseDuration(at)
		if err != nil || !ok || d < 0 {
			return fmt.Errorf("want TIME:WHAT, such as 10s:down")
		}
		bare := strings.TrimPrefix(strings.TrimPrefix(what, "left:"), "right:")
		if what != "renumber" {
			if err := new(netlab.Params).Set(bare); err != nil {
				return err
			}
		}
		events = append(events, event{d, what})
		return nil
	})
	if err := flags.Parse(os.Args[1:]); err != nil {
		return 64, fmt.Errorf("%w; scripts/netlab --help", err)
	}
	if flags.NArg() == 0 {
		return 64, errors.New("no command; scripts/netlab --help")
	}
	slices.SortStableFunc(events, func(a, b event) int { return int(a.at - b.at) })
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	lab, err := netlab.New(*seed, left, right)
	if err != nil {
		return 69, err
	}
	defer lab.Close()
	cmd := exec.CommandContext(ctx, flags.Arg(0), flags.Args()[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	cmd.Env = append(os.Environ(), lab.Environ()...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return 69, err
	}
	done := make(chan struct{})
	go happen(lab, events, done)
	err = cmd.Wait()
	close(done)
	r := lab.Report()
	r.Seed = *seed
	text, _ := json.Marshal(r)
	if *report != "" {
		if err := os.WriteFile(*report, append(text, '\n'), 0o644); err != nil {
			return 74, err
		}
	} else {
		fmt.Fprintf(os.Stderr, "netlab: %s\n", text)
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() >= 0 {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 70, err
	}
	return 0, nil
}

// happen carries out events at their times, until done.
func happen(lab *netlab.Lab, events []event, done chan struct{}) {
	begun := time.Now()
	for _, e := range events {
		select {
		case <-time.After(time.Until(begun.Add(e.at))):
		case <-done:
			return
		}
		if err := lab.Apply(e.what); err != nil {
			fmt.Fprintf(os.Stderr, "netlab: error: %s: %v\n", e.what, err)
		}
	}
}
