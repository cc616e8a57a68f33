package cmdutil

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// repository is the root of the module.
func repository(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Skip("not in the repository: ", err)
	}
	return root
}

// tableRows returns the cells of the markdown table under a heading of a file.
func tableRows(t *testing.T, file, heading string) (rows [][]string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	inside := false
	for s := bufio.NewScanner(f); s.Scan(); {
		line := strings.TrimSpace(s.Text())
		switch {
		case strings.HasPrefix(line, "#"):
			inside = strings.TrimLeft(line, "# ") == heading
		case inside && strings.HasPrefix(line, "|"):
			var cells []string
			for _, c := range strings.Split(strings.Trim(line, "|"), "|") {
				cells = append(cells, strings.TrimSpace(c))
			}
			rows = append(rows, cells)
		}
	}
	if len(rows) < 3 {
		t.Fatalf("%s: no table under %q", file, heading)
	}
	return rows[2:] // without the head and the line below it
}

type goPackage struct {
	ImportPath                         string
	Standard                           bool
	Imports, TestImports, XTestImports []string
}

func goList(t *testing.T, root string, args ...string) (list []goPackage) {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Standard,Imports,TestImports,XTestImports"}, args...)...)
	cmd.Dir, cmd.Stderr = root, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

const module = "every.channel/ec"

// room is the table's name for a package: lib/moqt/wire belongs to moqt, and web stands beside lib. "" is outside of both.
func room(path string) string {
	if path == module+"/web" {
		return "web"
	}
	rest, ok := strings.CutPrefix(path, module+"/lib/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}

// within reports whether a package is a folder's or lies below it.
func within(path, folder string) bool { return path == folder || strings.HasPrefix(path, folder+"/") }

// TestImportDirection holds go list against the table in docs/ARCHITECTURE.md: a package imports only what
// its row, or that of the folder above it, names, rows name only lower layers or rows above, and nothing in lib is missing from the table.
// What tests, and packages for tests alone, import is not checked: they may look from above. Only interop, which looks at all of it
// from outside, is imported by nobody.
func TestImportDirection(t *testing.T) {
	root := repository(t)
	type row struct {
		layer, order int
		may          []string
	}
	rows := map[string]row{}
	for i, cells := range tableRows(t, root+"/docs/ARCHITECTURE.md", "Layers") {
		if len(cells) != 4 {
			t.Fatalf("layer table, row %q: %d cells, want 4", cells, len(cells))
		}
		layer := slices.Index([]string{"0", "1", "2", "3", "4", "5", "top"}, cells[0])
		if layer < 0 {
			t.Fatalf("layer table, row %q: unknown layer", cells)
		}
		r := row{layer: layer, order: i}
		if cells[3] != "–" {
			r.may = strings.Fields(cells[3])
		}
		rows[cells[1]] = r
	}
	of := func(path string) string { // the row of a package: its own, or that of the folder above
		if name := strings.TrimPrefix(path, module+"/lib/"); rows[name].order > 0 {
			return name
		}
		return room(path)
	}
	for name, r := range rows {
		for _, m := range r.may {
			if below, ok := rows[m]; !ok || below.layer > r.layer || below.order >= r.order {
				t.Errorf("layer table: %s may import %s, which is not below it", name, m)
			}
		}
	}
	for _, p := range goList(t, root, "./...") {
		if within(p.ImportPath, module+"/interop") {
			continue
		}
		for _, imp := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if within(imp, module+"/interop") {
				t.Errorf("%s imports %s: nothing imports what tests from outside", p.ImportPath, imp)
			}
		}
		from := of(p.ImportPath)
		if strings.HasPrefix(p.ImportPath, module+"/scripts/") { // measures from outside
			continue
		}
		if from == "" && !strings.HasPrefix(p.ImportPath, module+"/cmd/") {
			t.Errorf("%s is neither in lib nor in cmd", p.ImportPath)
			continue
		}
		r, listed := rows[from]
		if from != "" && !listed {
			t.Errorf("package %s is missing in the layer table of docs/ARCHITECTURE.md", from)
			continue
		}
		for _, imp := range p.Imports {
			if !strings.HasPrefix(imp, module+"/") {
				continue
			}
			to := of(imp)
			switch {
			case within(imp, module+"/interop"): // told above
			case to == "":
				t.Errorf("%s imports %s: nothing imports a command", p.ImportPath, imp)
			case from == "", to == from: // commands import what they run
			case !slices.Contains(r.may, to):
				t.Errorf("%s imports %s, which docs/ARCHITECTURE.md does not allow", p.ImportPath, imp)
			}
		}
	}
}

// TestDependencyOwners: a third-party module is imported only by the owners that docs/ARCHITECTURE.md names.
func TestDependencyOwners(t *testing.T) {
	root := repository(t)
	type owners struct{ code, tests []string }
	modules := map[string]owners{}
	for _, cells := range tableRows(t, root+"/docs/ARCHITECTURE.md", "Dependencies") {
		var o owners
		for _, name := range strings.Split(strings.ReplaceAll(cells[1], " and ", ","), ",") {
			name = strings.TrimSpace(name)
			if n, ok := strings.CutSuffix(name, "(tests)"); ok {
				o.tests = append(o.tests, strings.TrimSpace(n))
			} else if name == "tests" {
				o.tests = append(o.tests, "everywhere")
			} else {
				o.code = append(o.code, name)
			}
		}
		modules[cells[0]] = o
	}
	standard := map[string]bool{}
	for _, p := range goList(t, root, "std") {
		standard[p.ImportPath] = true
	}
	owns := func(owners []string, path string) bool {
		name := room(path)
		if rest, ok := strings.CutPrefix(path, module+"/cmd/"); ok {
			name = rest
			if slices.Contains(owners, "cmd/*") {
				return true
			}
		}
		return slices.Contains(owners, "everywhere") || slices.Contains(owners, name)
	}
	for _, p := range goList(t, root, "./...") {
		check := func(imports []string, tests bool) {
			for _, imp := range imports {
				if standard[imp] || imp == "C" || imp == "testing/synctest" || strings.HasPrefix(imp, module+"/") {
					continue
				}
				var found string
				for m := range modules {
					if (imp == m || strings.HasPrefix(imp, m+"/")) && len(m) > len(found) {
						found = m
					}
				}
				o := modules[found]
				switch {
				case found == "":
					t.Errorf("%s imports %s, which has no row in the dependency table of docs/ARCHITECTURE.md", p.ImportPath, imp)
				case !owns(o.code, p.ImportPath) && !(tests && owns(o.tests, p.ImportPath)):
					t.Errorf("%s imports %s, which belongs to %v (tests: %v)", p.ImportPath, imp, o.code, o.tests)
				}
			}
		}
		check(p.Imports, false)
		check(append(p.TestImports, p.XTestImports...), true)
	}
}
