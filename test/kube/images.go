package kube

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ShellImage has busybox, and a shell as its command. It is there from the
// beginning.
const ShellImage = "streamspace.test/shell:1"

// pauseImage holds the namespaces of a pod: any program that waits will do.
const pauseImage = "streamspace.test/pause:1"

// Image is a container image of one layer.
type Image struct {
	// Name has a tag other than latest, of which Kubernetes would ask a registry.
	Name string
	// Files are programs by their path, Links what paths are symbolic links to.
	Files map[string][]byte
	Links map[string]string
	// Command is what it runs, User as whom, root if empty.
	Command []string
	User    string
}

// Shell is an image with busybox and files besides.
func Shell(name string, command ...string) (Image, error) {
	const program = "/bin/busybox"
	busybox, err := os.ReadFile(program)
	if err != nil {
		return Image{}, fmt.Errorf("busybox-static: %w", err)
	}
	applets, err := exec.Command(program, "--list").Output()
	if err != nil {
		return Image{}, fmt.Errorf("busybox-static: %w", err)
	}
	image := Image{Name: name, Files: map[string][]byte{"bin/busybox": busybox}, Links: map[string]string{}, Command: command}
	for _, applet := range strings.Fields(string(applets)) {
		if applet != "busybox" {
			image.Links["bin/"+applet] = "busybox"
		}
	}
	return image, nil
}

// Program builds a Go program without cgo, given the directory of its source.
func Program(source string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "streamspace-program-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	into := filepath.Join(dir, "program")
	build := exec.Command("go", "build", "-o", into, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build %s: %w: %s", source, err, said)
	}
	return os.ReadFile(into)
}

// importImages gives the node what every pod and every test needs.
func (c *Cluster) importImages() error {
	shell, err := Shell(ShellImage, "sh")
	if err != nil {
		return err
	}
	pause := shell
	pause.Name, pause.Command = pauseImage, []string{"/bin/sleep", "2147483647"}
	if err := c.wait("containerd answers", func(ctx context.Context) error {
		return exec.CommandContext(ctx, "ctr", "-a", c.path("containerd.sock"), "version").Run()
	}); err != nil {
		return err
	}
	for _, image := range []Image{shell, pause} {
		if err := c.Import(image); err != nil {
			return err
		}
	}
	return nil
}

// Import gives the node an image.
func (c *Cluster) Import(image Image) error {
	archive, err := image.archive()
	if err != nil {
		return fmt.Errorf("make the image %s: %w", image.Name, err)
	}
	load := exec.Command("ctr", "-a", c.path("containerd.sock"), "-n", "k8s.io", "images", "import", "-")
	load.Stdin = bytes.NewReader(archive)
	if said, err := load.CombinedOutput(); err != nil {
		return fmt.Errorf("import the image %s: %w: %s", image.Name, err, said)
	}
	return nil
}

// archive is the image as `docker save` writes one.
func (i Image) archive() ([]byte, error) {
	layer := newArchive()
	layer.add(tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}, nil)
	layer.add(tar.Header{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	for name, content := range i.Files {
		layer.add(tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755}, content)
	}
	for name, to := range i.Links {
		layer.add(tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeSymlink}, nil)
	}
	files, err := layer.close()
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(files)
	config, err := json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux",
		"config": map[string]any{"Cmd": i.Command, "Env": []string{"PATH=/bin"}, "WorkingDir": "/", "User": i.User},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(digest[:])}},
	})
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{i.Name}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return nil, err
	}
	whole := newArchive()
	for name, content := range map[string][]byte{"manifest.json": manifest, "config.json": config, "layer.tar": files} {
		whole.add(tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, content)
	}
	return whole.close()
}

type archive struct {
	content bytes.Buffer
	writer  *tar.Writer
	err     error
}

func newArchive() *archive {
	a := &archive{}
	a.writer = tar.NewWriter(&a.content)
	return a
}

func (a *archive) add(header tar.Header, content []byte) {
	header.Size = int64(len(content))
	if a.err == nil {
		a.err = a.writer.WriteHeader(&header)
	}
	if a.err == nil {
		_, a.err = a.writer.Write(content)
	}
}

func (a *archive) close() ([]byte, error) {
	if a.err == nil {
		a.err = a.writer.Close()
	}
	return a.content.Bytes(), a.err
}

// Containerd has containerd's own client do something, and gives what it says.
func (c *Cluster) Containerd(arguments ...string) (string, error) {
	said, err := exec.Command("ctr", append([]string{"-a", c.path("containerd.sock"), "-n", "k8s.io"}, arguments...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ctr %s: %w: %s", strings.Join(arguments, " "), err, said)
	}
	return string(said), nil
}
