package models_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/streamspace/streamspace/models"
)

// declaredCodes reads the constants of type ErrorCode from the source.
func declaredCodes(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	ast.Inspect(file, func(node ast.Node) bool {
		spec, isValue := node.(*ast.ValueSpec)
		if !isValue || len(spec.Values) != 1 {
			return true
		}
		if kind, isNamed := spec.Type.(*ast.Ident); !isNamed || kind.Name != "ErrorCode" {
			return true
		}
		code, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		codes = append(codes, code)
		return true
	})
	return codes
}

func TestEveryCodeIsDescribedOnce(t *testing.T) {
	page, err := os.ReadFile("../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	codes := declaredCodes(t)
	if len(codes) < 20 {
		t.Fatalf("only %v were found", codes)
	}
	for _, code := range codes {
		if count := strings.Count(string(page), "\n| `"+code+"` |"); count != 1 {
			t.Errorf("docs/errors.md has %d rows for `%s`, want one", count, code)
		}
	}
	if rows := strings.Count(string(page), "\n| `"); rows != len(codes) {
		t.Errorf("docs/errors.md has %d rows, and there are %d codes", rows, len(codes))
	}
}

func TestErrorForLogsAndForUsers(t *testing.T) {
	cause := fmt.Errorf("open /secret/path: %w", fs.ErrNotExist)
	err := &models.Error{Code: models.CodeInternal, Message: "something went wrong", Err: cause}
	if said := err.Error(); said != "internal: something went wrong: open /secret/path: file does not exist" {
		t.Errorf("the log shows %q", said)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Error("the cause is out of reach")
	}
	if err := models.Errorf(models.CodeNotFound, "no %s %d", "row", 7); err.Error() != "not_found: no row 7" || err.Unwrap() != nil || err.Retryable {
		t.Errorf("Errorf gives %+v", err)
	}
}

func TestCodeOf(t *testing.T) {
	inner := models.Errorf(models.CodeQueueFull, "full")
	for _, test := range []struct {
		err  error
		want models.ErrorCode
	}{
		{nil, ""},
		{errors.New("plain"), models.CodeInternal},
		{inner, models.CodeQueueFull},
		{fmt.Errorf("send: %w", inner), models.CodeQueueFull},
		{errors.Join(errors.New("plain"), inner), models.CodeQueueFull},
		{&models.Error{Code: models.CodeStopped, Err: inner}, models.CodeStopped}, // the outermost counts
	} {
		if got := models.CodeOf(test.err); got != test.want {
			t.Errorf("CodeOf(%v) = %q, want %q", test.err, got, test.want)
		}
	}
}
