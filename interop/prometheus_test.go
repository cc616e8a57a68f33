package interop

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"every.channel/ec/lib/catalog"
)

// TestPrometheus: Prometheus scrapes a relay with a live broadcast, a second home and a viewer; every query of the dashboard in dist/grafana has
// data, promtool accepts metrics and alert rules, and of the alerts none fires for a healthy relay, but one does for a relay that is gone.
func TestPrometheus(t *testing.T) {
	for _, program := range []string{"prometheus", "promtool"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("no %s: it is in Debian's package prometheus", program)
		}
	}
	bin, dir := tools(t), t.TempDir()
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", bin, "every.channel/ec/cmd/ec-relay").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	start := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(name, args...)
		cmd.Dir, cmd.SysProcAttr = dir, &syscall.SysProcAttr{Setpgid: true}
		cmd.Env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "EC_INSECURE=true", "RELAY=unix://"+dir+"/relay")
		log, err := os.Create(filepath.Join(dir, filepath.Base(name)+fmt.Sprint(time.Now().UnixNano())+".log"))
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			cmd.Wait()
			if b, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
				t.Logf("%s: %s", name, b[max(0, len(b)-2000):])
			}
		})
		return cmd
	}
	web, prom := address(t), address(t)
	relay := start(filepath.Join(bin, "ec-relay"), "--listen", "unix://"+dir+"/relay", "--http", web, "--store", "st", "--scrub", "100M")
	home := `ec-sim --live --duration 3m write 5.1 | ec-chop --source %s --tuner tuner | ec-pub --retry 1m "$RELAY"`
	signal(t, filepath.Join(dir, "tuner"))
	start("sh", "-c", fmt.Sprintf(home, "one"))
	start("sh", "-c", fmt.Sprintf(home, "two"))
	start("sh", "-c", `ec-sub --retry 1m --ts "$RELAY" 5.1 >/dev/null`)

	rules, err := filepath.Abs("../dist/prometheus/ec-relay.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	conf := fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [%q]\nscrape_configs: [{job_name: ec-relay, static_configs: [{targets: [%q]}]}]\n", rules, web)
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, check := range [][]string{{"check", "config", "prometheus.yml"}, {"check", "rules", rules}} {
		cmd := exec.Command("promtool", check...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("promtool %s: %v\n%s", strings.Join(check, " "), err, out)
		}
	}
	start("prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", "--web.listen-address="+prom, "--log.level=warn")

	ask := func(expr string) (n int, first string) {
		var answer struct {
			Status, Error string
			Data          struct{ Result []json.RawMessage }
		}
		res, err := http.Get("http://" + prom + "/api/v1/query?query=" + url.QueryEscape(expr))
		if err != nil {
			return -1, err.Error()
		}
		defer res.Body.Close()
		if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || answer.Status != "success" {
			return -1, fmt.Sprintf("%v %s", err, answer.Error)
		}
		if len(answer.Data.Result) > 0 {
			first = string(answer.Data.Result[0])
		}
		return len(answer.Data.Result), first
	}
	until := func(what, expr string, good func(n int) bool) {
		t.Helper()
		var n int
		var first string
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
			if n, first = ask(expr); good(n) {
				return
			}
		}
		t.Fatalf("%s: %s has %d results, %s", what, expr, n, first)
	}
	some := func(n int) bool { return n > 0 }
	until("two homes and a viewer", `ec_track_publishers{track=~"ec-atsc-.*--ts_.*"} == 2 and ec_track_subscribers > 0 and on() ec_sent_bytes_total > 0`, some)
	for _, expr := range queries(t, "../dist/grafana/ec-relay.json") {
		until("dashboard", strings.ReplaceAll(expr, "$instance", ".*"), some)
	}
	metrics(t, web)
	if n, first := ask(`ALERTS{alertname!="EcGroupsMissing"}`); n != 0 { // what a second home is about to bring may be missing for a moment
		t.Errorf("alert without a reason: %s", first)
	}
	syscall.Kill(relay.Process.Pid, syscall.SIGKILL)
	until("a relay that is gone", `ALERTS{alertname="EcRelayDown",alertstate="pending"}`, some)
}

// signal keeps a record of a tuner, as ec-tune --health does, until the test ends.
func signal(t *testing.T, file string) {
	percent := 90
	ctx, over := t.Context(), make(chan struct{})
	t.Cleanup(func() { <-over })
	go func() {
		defer close(over)
		tick := time.NewTicker(catalog.TunerEvery)
		defer tick.Stop()
		for {
			b, err := catalog.Tuner{UTC: catalog.TimeOf(time.Now()), Strength: &percent, Quality: &percent}.Append(nil)
			if err == nil {
				err = os.WriteFile(file+".new", b, 0o600)
			}
			if err == nil {
				err = os.Rename(file+".new", file)
			}
			if err != nil {
				t.Error(err)
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
}

// address is one that is free on the loopback.
func address(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// queries are those of a dashboard's panels.
func queries(t *testing.T, dashboard string) (list []string) {
	t.Helper()
	b, err := os.ReadFile(dashboard)
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			list = append(list, target.Expr)
		}
	}
	if len(list) < 20 {
		t.Fatalf("%d queries in the dashboard", len(list))
	}
	return list
}

// metrics lets promtool look at what a relay answers.
func metrics(t *testing.T, web string) {
	t.Helper()
	res, err := http.Get("http://" + web + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("promtool", "check", "metrics")
	cmd.Stdin = strings.NewReader(string(body))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}
