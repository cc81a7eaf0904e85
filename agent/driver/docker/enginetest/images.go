package enginetest

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ImportShell makes an image of busybox.
func (e *Engine) ImportShell(ctx context.Context, image string) error {
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return fmt.Errorf("busybox-static: %w", err)
	}
	applets, err := exec.Command("/bin/busybox", "--list").Output()
	if err != nil {
		return fmt.Errorf("busybox-static: %w", err)
	}
	shell := NewArchive()
	shell.File("bin/busybox", busybox)
	for _, applet := range strings.Fields(string(applets)) {
		if applet != "busybox" {
			shell.Link("bin/"+applet, "busybox")
		}
	}
	content, err := shell.Close()
	if err != nil {
		return err
	}
	return e.Import(ctx, image, content, "ENV PATH=/bin", `CMD ["sh"]`)
}

// ImportProgram makes an image of one Go program, which is built from its
// directory.
func (e *Engine) ImportProgram(ctx context.Context, image, source string) error {
	path := filepath.Join(e.dir, "program")
	build := exec.CommandContext(ctx, "go", "build", "-o", path, ".")
	build.Dir = source // which may be in another module than the caller
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w: %s", source, err, said)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	root := NewArchive()
	root.File("program", program)
	content, err := root.Close()
	if err != nil {
		return err
	}
	return e.Import(ctx, image, content, `CMD ["/program"]`)
}

// Archive is the root file system of an image.
type Archive struct {
	content bytes.Buffer
	writer  *tar.Writer
	err     error
}

// NewArchive makes one with /tmp and /bin.
func NewArchive() *Archive {
	a := &Archive{}
	a.writer = tar.NewWriter(&a.content)
	a.header(tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777})
	a.header(tar.Header{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755})
	return a
}

func (a *Archive) header(header tar.Header) {
	if a.err == nil {
		a.err = a.writer.WriteHeader(&header)
	}
}

// File adds a program.
func (a *Archive) File(name string, content []byte) {
	a.header(tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(content))})
	if a.err == nil {
		_, a.err = a.writer.Write(content)
	}
}

// Link adds a symbolic link.
func (a *Archive) Link(name, to string) {
	a.header(tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeSymlink})
}

// Close gives the archive, or the first error in making it.
func (a *Archive) Close() (io.Reader, error) {
	if a.err == nil {
		a.err = a.writer.Close()
	}
	return &a.content, a.err
}
