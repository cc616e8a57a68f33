package transport

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestBorder: of package wire only error codes are used here, and no protocol is named. What a draft says is the session's matter.
func TestBorder(t *testing.T) {
	codes := []string{"SessionCode", "ResetCode", "NoError", "InternalError", "Unauthorized", "ProtocolViolation", "InvalidPath", "VersionNegotiationFailed", "ResetInternalError"}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	looked := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "wire" {
					looked++
					if !slices.Contains(codes, n.Sel.Name) {
						t.Errorf("%v: wire.%s", set.Position(n.Pos()), n.Sel.Name)
					}
				}
			case *ast.BasicLit:
				if n.Kind == token.STRING && strings.Contains(n.Value, "moqt-") {
					t.Errorf("%v: %s", set.Position(n.Pos()), n.Value)
				}
			}
			return true
		})
	}
	if looked < len(codes) {
		t.Errorf("only %d uses of package wire were seen", looked)
	}
}
