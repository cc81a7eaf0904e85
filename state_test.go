package streamspace_test

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// makers are the functions whose results may be kept for a whole package,
// because nobody can change them.
var makers = []string{"errors.New", "fmt.Errorf", "regexp.MustCompile", "strings.NewReplacer"}

// Packages have no state: what can change belongs to a value that somebody
// makes, owns and ends. What a package may keep is a table that nobody writes
// to. Packages that only tests use may keep what is dear to make.
func TestPackagesHaveNoState(t *testing.T) {
	files := map[string][]source{}
	for _, file := range sources(t) {
		if !file.test && !within(file.dir, "test/...") && !within(file.dir, "db/dbtest") {
			files[file.dir] = append(files[file.dir], file)
		}
	}
	for _, all := range files {
		variables := map[string]bool{}
		for _, file := range all {
			for _, declared := range packageVariables(t, file) {
				variables[declared] = true
			}
		}
		for _, file := range all {
			checkWrites(t, file, variables)
		}
	}
}

const stateSection = "Rules of the source"

// packageVariables names the file's package variables and checks what they
// begin as.
func packageVariables(t *testing.T, file source) []string {
	var names []string
	for _, declaration := range file.tree.Decls {
		group, isGroup := declaration.(*ast.GenDecl)
		if !isGroup || group.Tok != token.VAR {
			continue
		}
		for _, spec := range group.Specs {
			variable := spec.(*ast.ValueSpec)
			for _, name := range variable.Names {
				if name.Name != "_" {
					names = append(names, name.Name)
				}
			}
			for _, value := range variable.Values {
				ast.Inspect(value, func(node ast.Node) bool {
					switch node := node.(type) {
					case *ast.FuncLit:
						return false
					case *ast.CallExpr:
						if !isConversion(node) && !slices.Contains(makers, written(node.Fun)) {
							file.fail(t, node.Pos(), stateSection, "a package variable must not be made by %s; let a constructor make it", written(node.Fun))
						}
					case *ast.UnaryExpr:
						if node.Op == token.AND {
							file.fail(t, node.Pos(), stateSection, "a package variable must not be a pointer to what can change")
						}
					}
					return true
				})
			}
			if kind := written(variable.Type); strings.HasPrefix(kind, "sync.") || strings.HasPrefix(kind, "atomic.") {
				file.fail(t, variable.Pos(), stateSection, "a package variable of type %s is state of the package", kind)
			}
		}
	}
	return names
}

// isConversion tells T(x) of a type that is written out, as in []byte("x") or
// (*T)(nil), from a call.
func isConversion(call *ast.CallExpr) bool {
	switch call.Fun.(type) {
	case *ast.ParenExpr, *ast.ArrayType, *ast.MapType:
		return true
	}
	return false
}

// written gives a name or a name of a package's as it is written, else nothing.
func written(expression ast.Expr) string {
	switch expression := expression.(type) {
	case *ast.Ident:
		return expression.Name
	case *ast.SelectorExpr:
		if of := written(expression.X); of != "" {
			return of + "." + expression.Sel.Name
		}
	}
	return ""
}

// checkWrites finds what writes to a package variable, or to a local variable
// of the same name, which is as hard to follow.
func checkWrites(t *testing.T, file source, variables map[string]bool) {
	wrote := func(target ast.Expr) {
		if name := root(target); variables[name] {
			file.fail(t, target.Pos(), stateSection, "this writes to %s, which is the name of a package variable", name)
		}
	}
	ast.Inspect(file.tree, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.AssignStmt:
			if node.Tok == token.DEFINE {
				return true
			}
			for _, target := range node.Lhs {
				wrote(target)
			}
		case *ast.IncDecStmt:
			wrote(node.X)
		case *ast.UnaryExpr:
			if _, isComposite := node.X.(*ast.CompositeLit); node.Op == token.AND && !isComposite {
				wrote(node.X)
			}
		case *ast.CallExpr:
			if name := written(node.Fun); (name == "delete" || name == "clear") && len(node.Args) > 0 {
				wrote(node.Args[0])
			}
		}
		return true
	})
}

// root is the variable that an expression is part of.
func root(expression ast.Expr) string {
	switch expression := expression.(type) {
	case *ast.Ident:
		return expression.Name
	case *ast.IndexExpr:
		return root(expression.X)
	case *ast.SelectorExpr:
		return root(expression.X)
	case *ast.StarExpr:
		return root(expression.X)
	case *ast.ParenExpr:
		return root(expression.X)
	}
	return ""
}
