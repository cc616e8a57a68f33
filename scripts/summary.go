//go:build ignore

// Command summary reads go test -json from stdin and prints one line per package and the output of what failed. It
// writes "PASSED FAILED" to its first argument and appends a line per skipped test to its second.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
)

type event struct {
	Action, Package, ImportPath, Test, Output, FailedBuild string
	Elapsed                                                float64
}

var skipReason = regexp.MustCompile(`^\s+\S+\.go:\d+: (.*)`)

func main() {
	output := map[string]*strings.Builder{} // by package and test
	reasons := map[string]string{}
	perPackage := map[string]*[3]int{} // passed, failed, skipped
	var passed, failed int
	var skipped []string
	failures := map[string]bool{} // packages with a failed test
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		var e event
		if json.Unmarshal(in.Bytes(), &e) != nil {
			fmt.Println(in.Text())
			continue
		}
		if e.Action == "build-output" {
			fmt.Print(e.Output)
			continue
		}
		key := e.Package + " " + e.Test
		n := perPackage[e.Package]
		if n == nil {
			n = new([3]int)
			perPackage[e.Package] = n
		}
		switch e.Action {
		case "output":
			b := output[key]
			if b == nil {
				b = new(strings.Builder)
				output[key] = b
			}
			b.WriteString(e.Output)
			if m := skipReason.FindStringSubmatch(e.Output); m != nil && reasons[key] == "" {
				reasons[key] = m[1]
			}
			continue
		case "pass", "skip", "fail":
		default:
			continue
		}
		if e.Test == "" {
			if e.Action == "fail" && !failures[e.Package] { // build failure, panic or timeout
				failed++
				n[1]++
				print(output[key])
			}
			verdict := map[string]string{"pass": "ok    ", "skip": "no tests", "fail": "FAILED"}[e.Action]
			fmt.Printf("%s %s: %d passed, %d failed, %d skipped, %.1f s\n", verdict, e.Package, n[0], n[1], n[2], e.Elapsed)
			continue
		}
		switch e.Action {
		case "pass":
			n[0]++
			passed++
		case "skip":
			n[2]++
			skipped = append(skipped, fmt.Sprintf("%s %s: %s", e.Package, e.Test, reasons[key]))
		case "fail":
			n[1]++
			failed++
			failures[e.Package] = true
			print(output[key])
		}
		delete(output, key)
	}
	if err := in.Err(); err != nil {
		fmt.Println(err)
		failed++
	}
	check(os.WriteFile(os.Args[1], fmt.Appendln(nil, passed, failed), 0o644))
	f, err := os.OpenFile(os.Args[2], os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
	check(err)
	for _, s := range skipped {
		fmt.Fprintln(f, strings.TrimPrefix(s, "every.channel/ec/"))
	}
	check(f.Close())
}

func print(b *strings.Builder) {
	if b != nil {
		fmt.Print(b.String())
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "summary:", err)
		os.Exit(1)
	}
}
