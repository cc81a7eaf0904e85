package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/streamspace/streamspace/internal/auth"
	"github.com/streamspace/streamspace/models"
)

// keepSecret gives the secret in the file at path, made first if there is none.
// The file is what counts: if the database does not know its secret, e.g.
// because it was replaced, it learns it. So whoever has the secret keeps it.
func keepSecret(ctx context.Context, authenticator *auth.Authenticator, path string, grant auth.Grant) (string, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		secret, err := authenticator.IssueToken(ctx, grant)
		if err != nil {
			return "", fmt.Errorf("make %s: %w", path, err)
		}
		return secret, writeSecret(path, secret)
	}
	if err != nil {
		return "", fmt.Errorf("read a secret: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return "", fmt.Errorf("protect %s: %w", path, err)
	}
	secret := strings.TrimSpace(string(content))
	err = authenticator.Adopt(ctx, grant, secret)
	if models.CodeOf(err) == models.CodeUnauthenticated {
		return "", fmt.Errorf("%s does not hold what belongs there; remove it, and a new one is made at the next start", path)
	}
	if err != nil {
		return "", fmt.Errorf("check %s: %w", path, err)
	}
	return secret, nil
}

// writeSecret writes the file whole or not at all.
func writeSecret(path, secret string) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = file.Close()
			_ = os.Remove(file.Name())
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	if _, err := fmt.Fprintln(file, secret); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
