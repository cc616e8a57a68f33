//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// One short cell of each system arrives whole, the table has it, and a second run does not measure it again.
func TestCell(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a quarter of a minute, at a broadcast's own pace")
	}
	if err := needed(); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", dir+"/", "./cmd/ec-pub", "./cmd/ec-relay", "./cmd/ec-sub")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	r := rows()[0]
	r.ways = []string{up}
	c := config{bin: dir, results: filepath.Join(dir, "results"), systems: "ec,srt,hls", seconds: 5, seed: 1}
	done := map[string]result{}
	if err := c.cells(t.Context(), r, up, done); err != nil {
		t.Fatal(err)
	}
	for _, system := range systems[up] {
		got := done[result{Row: r.name, Way: up, System: system, Seconds: 5}.key()]
		if got.Objects != 50 || got.Whole != 50 || got.Wrong > 0 || got.P50 == nil || *got.P50 < 15 {
			t.Errorf("%s: %+v", system, got)
		}
	}
	was, err := os.ReadFile(c.results)
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.read()
	if err != nil || len(again) != 3 {
		t.Fatalf("%d results, %v", len(again), err)
	}
	if err := c.cells(t.Context(), r, up, again); err != nil {
		t.Fatal(err)
	}
	if is, err := os.ReadFile(c.results); err != nil || !bytes.Equal(is, was) {
		t.Errorf("measured again: %v, %s", err, is)
	}
	var table bytes.Buffer
	c.out = &table
	if err := c.table([]row{r}, again); err != nil || !strings.Contains(table.String(), "| no loss | up | 1.0: ") {
		t.Errorf("%v\n%s", err, &table)
	}
}

func TestFigures(t *testing.T) {
	p := newProgramme(time.Now(), 10*time.Second)
	if f := p.figures(); f.Objects != 100 || f.Whole != 0 || f.P50 != nil {
		t.Errorf("nothing came: %+v", f)
	}
	for i := range p.number - 2 { // the last two do not come
		p.came(p.object(i), p.due(i).Add(time.Duration(i)*time.Millisecond))
		p.came(p.object(i), p.due(i).Add(time.Hour)) // the first time counts
	}
	spoilt := p.object(p.number - 1)
	spoilt[objectSize/2] ^= 1
	p.came(spoilt, time.Now())
	for k := range perObject - 1 { // all but one packet of the other
		p.cameOne(p.packet(nil, p.number-2, k), time.Now())
	}
	f := p.figures()
	if f.Whole != 98 || f.Wrong != 1 || *f.P50 != 99 || *f.P95 != 144 || f.P99 != nil || f.Most != nil {
		t.Errorf("%+v", f)
	}
	p.cameOne(p.packet(nil, p.number-2, perObject-1), p.due(p.number-2).Add(time.Second))
	if f = p.figures(); f.Whole != 99 || *f.P99 != 1000 {
		t.Errorf("%+v, p99 %v", f, *f.P99)
	}
	if r := (result{figures: f}); r.cell() != "0.990: 99, 144, 1000" {
		t.Errorf("%q", r.cell())
	}
	f.Objects, f.Whole = 10000, 9999
	if r := (result{figures: f}); !strings.HasPrefix(r.cell(), "0.999: ") {
		t.Errorf("%q for one of 10,000 missing", r.cell())
	}
}

// A line that was torn is measured again, others are not.
func TestResume(t *testing.T) {
	c := config{results: filepath.Join(t.TempDir(), "results")}
	for _, system := range []string{"ec", "srt"} {
		if err := c.write(result{Row: "loss 1 %", Way: up, System: system, Seconds: 20}); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(c.results)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.results, b[:len(b)-10], 0o644); err != nil {
		t.Fatal(err)
	}
	done, err := c.read()
	if _, ok := done["loss 1 %/up/ec/20"]; err != nil || len(done) != 1 || !ok {
		t.Errorf("%v, %v", done, err)
	}
}

func TestOnly(t *testing.T) {
	c := config{only: "loss 1 %, cut for 60 s", ways: "up,browser", seconds: 20}
	list, err := c.chosen()
	if err != nil || len(list) != 2 || len(list[0].ways) != 2 || len(list[1].ways) != 1 || c.lasts(list[0]) != 20*time.Second || c.lasts(list[1]) != 100*time.Second {
		t.Errorf("%v, %v", list, err)
	}
	for _, r := range rows() { // any row can be named
		c := config{only: r.name, ways: "up,down,browser,websocket"}
		if list, err := c.chosen(); err != nil || len(list) != 1 {
			t.Errorf("%q: %v, %v", r.name, list, err)
		}
	}
	c.only = "loss 2 %"
	if _, err := c.chosen(); err == nil || !strings.Contains(err.Error(), "20 % in bursts of 4") {
		t.Errorf("%v", err)
	}
}

// A part of a cell that fails ends the cell.
func TestTogether(t *testing.T) {
	p := &place{prog: newProgramme(time.Now(), time.Hour)}
	bad := errors.New("bad")
	err := p.together(t.Context(), func(context.Context) error { return bad }, func(ctx context.Context) error {
		<-ctx.Done()
		return nil
	})
	if !errors.Is(err, bad) {
		t.Errorf("%v", err)
	}
}
