package cmdutil

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestErrorsHaveOneKey: an error in the log has the key err, wherever it is logged, so that whoever reads logs knows what to look for.
func TestErrorsHaveOneKey(t *testing.T) {
	calls := 0
	files := token.NewFileSet()
	for _, root := range []string{"../../lib", "../../cmd", "../../scripts"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(files, path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				call, is := n.(*ast.CallExpr)
				if !is || !logs(call) {
					return true
				}
				calls++
				for i := range len(call.Args) - 1 {
					if key, is := call.Args[i].(*ast.BasicLit); is && key.Value != `"err"` && i+1 < len(call.Args) && isError(call.Args[i+1]) {
						t.Errorf("%s: an error under the key %s", files.Position(key.Pos()), key.Value)
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if calls < 100 {
		t.Errorf("only %d lines of log were found", calls)
	}
}

// logs reports whether a call writes to a log.
func logs(call *ast.CallExpr) bool {
	sel, is := call.Fun.(*ast.SelectorExpr)
	return is && len(call.Args) > 1 && slices.Contains([]string{"Debug", "Info", "Warn", "Error", "Log", "With"}, sel.Sel.Name)
}

// isError reports whether an expression has the name of an error, or is the text of one.
func isError(e ast.Expr) bool {
	named := func(name string) bool {
		return name == "err" || strings.HasSuffix(name, "Err") || strings.HasSuffix(name, "err")
	}
	switch e := e.(type) {
	case *ast.Ident:
		return named(e.Name)
	case *ast.SelectorExpr:
		return named(e.Sel.Name)
	case *ast.CallExpr:
		sel, is := e.Fun.(*ast.SelectorExpr)
		return is && (sel.Sel.Name == "Error" && len(e.Args) == 0 || sel.Sel.Name == "Cause" || sel.Sel.Name == "Err")
	}
	return false
}
