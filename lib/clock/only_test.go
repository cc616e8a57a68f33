package clock

import (
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// elsewhere are folders that know a clock's numbers for reasons of their own.
var elsewhere = map[string]string{
	"lib/clock":   "this is the place",
	"lib/ts":      "packs PCR and PTS into bits and imports nothing",
	"lib/torture": "judges the others, so it must not share their mistakes",
}

// numbers of a clock: rates and moduli, and the mask of a PTS.
var numbers = map[string]string{
	"90000": "Hz", "27000000": "SystemHz", "8589934592": "Wrap", "8589934591": "Wrap - 1, or PTS", "2576980377600": "SystemWrap",
}

// notClocks are numbers that only look like it: the last Unix time that ec-sim takes.
var notClocks = map[string]bool{"cmd/ec-sim/flags.go 8589934592": true}

// TestNowhereElse: no other package does arithmetic with the numbers of PTS and PCR. Tests may: they write down what they expect.
func TestNowhereElse(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Skip("not in the repository: ", err)
	}
	files := 0
	for _, top := range []string{"lib", "cmd"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			name, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			name = filepath.ToSlash(name)
			switch {
			case d.IsDir() && elsewhere[name] != "":
				return fs.SkipDir
			case d.IsDir(), !strings.HasSuffix(name, ".go"), strings.HasSuffix(name, "_test.go"):
				return nil
			}
			files++
			for _, found := range clockNumbers(t, path, nil) {
				if !notClocks[name+" "+found] {
					t.Errorf("%s has %s: that is clock.%s, and what is done with it is for this package", name, found, numbers[found])
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 100 {
		t.Errorf("only %d files were read", files)
	}
}

// TestNowhereElseSees: the search finds what it is for.
func TestNowhereElseSees(t *testing.T) {
	const source = `package p
const mask = 1<<33 - 1
func f(a, b int64) int64 { return (a - b) << 31 >> 31 }
func g(t int64) int64 { return t * 1e9 / 90_000 }
var h = 27_000_000
var innocent = 1<<31 + 900_000
`
	got := clockNumbers(t, "p.go", source)
	if want := "8589934592 sign 90000 27000000"; strings.Join(got, " ") != want {
		t.Errorf("found %q, want %q", got, want)
	}
}

// clockNumbers are the numbers of a file in the order in which they stand there; "sign" is the extension of 33 bits to 64.
func clockNumbers(t *testing.T, path string, source any) (found []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		e, ok := n.(ast.Expr)
		if !ok {
			return true
		}
		if v := value(e); v != nil && numbers[v.ExactString()] != "" {
			found = append(found, v.ExactString())
			return false
		}
		if b, ok := e.(*ast.BinaryExpr); ok && b.Op == token.SHR && shifts(b.X, token.SHL, "31") && shifts(b, token.SHR, "31") {
			found = append(found, "sign")
		}
		return true
	})
	return found
}

// shifts reports that an expression is a shift by so many bits.
func shifts(e ast.Expr, op token.Token, by string) bool {
	b, ok := e.(*ast.BinaryExpr)
	if !ok || b.Op != op {
		return false
	}
	v := value(b.Y)
	return v != nil && v.ExactString() == by
}

// value is that of a literal, or of literals that are shifted; nil if it is something else.
func value(e ast.Expr) constant.Value {
	switch e := e.(type) {
	case *ast.BasicLit:
		if v := constant.MakeFromLiteral(e.Value, e.Kind, 0); v.Kind() == constant.Int {
			return v
		}
	case *ast.BinaryExpr:
		x, y := value(e.X), value(e.Y)
		if e.Op != token.SHL || x == nil || y == nil {
			return nil
		}
		if n, ok := constant.Uint64Val(y); ok && n < 64 {
			return constant.Shift(x, token.SHL, uint(n))
		}
	}
	return nil
}
