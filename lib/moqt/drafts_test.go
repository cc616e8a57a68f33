package moqt

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const wirePath = "every.channel/ec/lib/moqt/wire"

// TestNobodyAsksForTheDraft: outside of wire no program of this module does one thing for one draft and another for the next, however the
// draft is held or named. What sessions do by their draft is chosen in ways.go, line by line with wire.Choose; drafts may be listed,
// passed on, shown, and given to wire.
func TestNobodyAsksForTheDraft(t *testing.T) {
	loaded := loadPackages(t)
	read := 0
	for _, p := range loaded.list {
		if p.ImportPath == wirePath || !slices.Contains(p.Deps, wirePath) && p.ImportPath != wirePath || p.Standard {
			continue
		}
		info, files := loaded.check(t, p)
		if info == nil {
			continue
		}
		read++
		for _, f := range files {
			for _, use := range draftUses(info, f) {
				at := loaded.fset.Position(use.at)
				if filepath.Base(at.Filename) == "ways.go" && use.what == "wire.Choose" {
					continue
				}
				t.Errorf("%s: %s decides by the draft", at, use.what)
			}
		}
	}
	if read < 10 {
		t.Errorf("%d packages were read", read)
	}
}

// TestDraftUsesAreFound: the check above finds every way to decide by a draft.
func TestDraftUsesAreFound(t *testing.T) {
	loaded := loadPackages(t)
	for body, want := range map[string]int{
		`if v.Has(wire.Fills) { f() }`:                        1,
		`newer := v >= wire.Draft20; if newer { f() }`:        1,
		`switch v { case wire.Draft16: f() }`:                 1,
		`type n = uint8; x := n(v); if x > 16 { f() }`:        1,
		`_ = map[wire.Version]func(){wire.Draft16: f}[v]`:     1,
		`if v.String() == "moqt-16" { f() }`:                  1,
		`a := v.ALPN(); if strings.HasSuffix(a, "-16") {f()}`: 0, // and what follows
		`if a := v.ALPN(); a == "moqt-16" { f() }`:            1,
		`wire.Choose(v, wire.Fills, f, g)()`:                  1,
		`for range v.MaxInteger() { f() }`:                    1,
		`_, ok := any(v).(interface{ Has() }); _ = ok`:        1,
		`list := []wire.Version{v, wire.Draft18}; _ = list`:   0,
		`fmt.Println("draft", v, v.String())`:                 0,
		`_ = wire.IsSubgroup(5, v)`:                           0,
		`_ = slices.Index(wire.Versions(), v)`:                1,
		`_ = wire.Versions()[0]`:                              0,
	} {
		src := "package x\nimport (\"fmt\"; \"slices\"; \"strings\"; \"every.channel/ec/lib/moqt/wire\")\n" +
			"var _ = fmt.Sprint; var _ = slices.Max[[]int]; var _ = strings.Cut\nfunc f() {}\nfunc g() {}\nfunc h(v wire.Version) {\n" + body + "\n}\n"
		file, err := parser.ParseFile(loaded.fset, "x.go", src, 0)
		if err != nil {
			t.Fatal(err)
		}
		info := newInfo()
		if _, err := (&types.Config{Importer: loaded.importer}).Check("x", loaded.fset, []*ast.File{file}, info); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if got := draftUses(info, file); len(got) != want {
			t.Errorf("%s: found %v, want %d", body, got, want)
		}
	}
}

type draftUse struct {
	at   token.Pos
	what string
}

func (u draftUse) String() string { return u.what }

// draftName is a protocol name that is written out.
var draftName = regexp.MustCompile(`^"moqt-\d+"$`)

// draftUses finds where a file decides by a draft: a Version is compared, switched on, converted, or a key; a method of it is called that
// tells more than its name, a name is compared; a function outside of wire and not of ours takes it for more than to show it.
func draftUses(info *types.Info, file *ast.File) (list []draftUse) {
	isVersion := func(e ast.Expr) bool { return e != nil && versionType(info.TypeOf(e)) }
	add := func(e ast.Node, format string, args ...any) {
		list = append(list, draftUse{e.Pos(), fmt.Sprintf(format, args...)})
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BinaryExpr:
			for _, e := range []ast.Expr{n.X, n.Y} {
				if lit, is := e.(*ast.BasicLit); isVersion(e) || is && draftName.MatchString(lit.Value) || namesDraft(info, e) {
					add(n, "comparison")
					break
				}
			}
		case *ast.SwitchStmt:
			if isVersion(n.Tag) || n.Tag != nil && namesDraft(info, n.Tag) {
				add(n, "switch")
			}
		case *ast.IndexExpr:
			if isVersion(n.Index) {
				add(n, "index")
			}
		case *ast.TypeAssertExpr:
			if call, is := n.X.(*ast.CallExpr); is && len(call.Args) == 1 && isVersion(call.Args[0]) {
				add(n, "type assertion")
			}
		case *ast.CallExpr:
			callUses(info, n, isVersion, add)
		}
		return true
	})
	return list
}

// callUses finds what a call does with a Version.
func callUses(info *types.Info, n *ast.CallExpr, isVersion func(ast.Expr) bool, add func(ast.Node, string, ...any)) {
	fun := ast.Unparen(n.Fun)
	if ix, is := fun.(*ast.IndexExpr); is {
		fun = ix.X
	}
	sel, _ := fun.(*ast.SelectorExpr)
	if sel != nil && isVersion(sel.X) {
		if name := sel.Sel.Name; name != "String" && name != "ALPN" {
			add(n, "Version.%s", name)
		}
		return
	}
	takes := slices.ContainsFunc(n.Args, isVersion)
	if tv := info.Types[n.Fun]; tv.IsType() {
		if _, iface := tv.Type.Underlying().(*types.Interface); takes && !iface && !versionType(tv.Type) {
			add(n, "conversion")
		}
		return
	}
	if !takes || sel == nil {
		return
	}
	f, _ := info.Uses[sel.Sel].(*types.Func)
	switch {
	case f == nil || f.Pkg() == nil:
	case f.Pkg().Path() == wirePath:
		others := f.Signature().Recv() != nil || slices.ContainsFunc(n.Args, func(e ast.Expr) bool { return !isVersion(e) })
		if f.Name() == "Choose" || !others { // it can tell nothing but something about the draft
			add(n, "wire.%s", f.Name())
		}
	case f.Pkg().Path() == "slices" || f.Pkg().Path() == "cmp" || f.Pkg().Path() == "reflect":
		add(n, "%s.%s", f.Pkg().Path(), f.Name())
	}
}

// namesDraft reports whether an expression is the name of a draft.
func namesDraft(info *types.Info, e ast.Expr) bool {
	call, is := ast.Unparen(e).(*ast.CallExpr)
	if !is {
		return false
	}
	sel, is := call.Fun.(*ast.SelectorExpr)
	return is && versionType(info.TypeOf(sel.X))
}

func versionType(t types.Type) bool {
	named, is := types.Unalias(t).(*types.Named)
	return is && named.Obj().Name() == "Version" && named.Obj().Pkg() != nil && named.Obj().Pkg().Path() == wirePath
}

func newInfo() *types.Info {
	return &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}}
}

// goPackage is what go list says of a package.
type goPackage struct {
	ImportPath, Dir, Export string
	GoFiles, Deps           []string
	Standard                bool
	ImportMap               map[string]string
	Module                  *struct{ Main bool }
}

type goPackages struct {
	fset     *token.FileSet
	list     []goPackage
	importer types.Importer
}

// loadPackages asks for the packages of this module and for what they import, compiled.
func loadPackages(t *testing.T) *goPackages {
	t.Helper()
	cmd := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles,Deps,Standard,ImportMap,Module", "every.channel/ec/...")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &goPackages{fset: token.NewFileSet()}
	exports := map[string]string{}
	for dec := json.NewDecoder(out); ; {
		var one goPackage
		if err := dec.Decode(&one); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		exports[one.ImportPath] = one.Export
		if one.Module != nil && one.Module.Main {
			p.list = append(p.list, one)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	p.importer = importer.ForCompiler(p.fset, "gc", func(path string) (io.ReadCloser, error) {
		if exports[path] == "" {
			return nil, fmt.Errorf("%s was not compiled", path)
		}
		return os.Open(exports[path])
	})
	return p
}

// check reads a package; nil: it has no files for this machine.
func (p *goPackages) check(t *testing.T, one goPackage) (*types.Info, []*ast.File) {
	t.Helper()
	var files []*ast.File
	for _, name := range one.GoFiles {
		f, err := parser.ParseFile(p.fset, filepath.Join(one.Dir, name), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	if len(files) == 0 {
		return nil, nil
	}
	info := newInfo()
	conf := types.Config{Importer: p.importer}
	if _, err := conf.Check(one.ImportPath, p.fset, files, info); err != nil {
		t.Fatalf("%s: %v", one.ImportPath, strings.TrimSpace(err.Error()))
	}
	return info, files
}
