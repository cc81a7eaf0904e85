package enginetest

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// desktopScript brings up a screen, and a window manager and a terminal on it.
const desktopScript = `Xtigervnc :1 -rfbport 5900 -SecurityTypes None -AlwaysShared -geometry 1280x800 &
until [ -e /tmp/.X11-unix/X1 ]; do sleep 0.05; done
export DISPLAY=:1
mkdir -p $HOME/.icewm && echo ShowTaskBar=0 > $HOME/.icewm/preferences
xterm -geometry 96x28+48+48 &
exec icewm`

// ImportDesktop makes an image of a desktop: Xvnc on port 5900, icewm and xterm.
// Its root file system is what Debian's packages of these, and those that they
// depend on, have put on this machine.
func (e *Engine) ImportDesktop(ctx context.Context, image string) error {
	files, err := packaged("tigervnc-standalone-server", "icewm", "xterm", "fonts-dejavu-core", "xkb-data", "x11-xkb-utils",
		"dash", "coreutils", "libc-bin", "base-files")
	if err != nil {
		return err
	}
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(archive(writer, files)) }()
	defer func() { _ = reader.Close() }()
	command := fmt.Sprintf(`CMD ["sh", "-c", %q]`, desktopScript)
	return e.Import(ctx, image, reader, "ENV PATH=/usr/bin:/bin", "ENV LANG=C.UTF-8", command)
}

// packaged lists the files of packages and of all that they depend on.
func packaged(names ...string) ([]string, error) {
	depends, err := output("apt-cache", append([]string{"depends", "--recurse", "--installed", "--no-recommends", "--no-suggests",
		"--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances"}, names...)...)
	if err != nil {
		return nil, err
	}
	var packages []string
	for _, line := range depends {
		if line != "" && !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "<") {
			packages = append(packages, line)
		}
	}
	// Names that other packages provide are no packages themselves.
	known, err := output("dpkg-query", "--show", "--showformat", "${db:Status-Abbrev} ${binary:Package}\n")
	if err != nil {
		return nil, err
	}
	var installed []string
	for _, line := range known {
		status, name, _ := strings.Cut(line, " ")
		if bare, _, _ := strings.Cut(strings.TrimSpace(name), ":"); status == "ii" && slices.Contains(packages, bare) {
			installed = append(installed, strings.TrimSpace(name))
		}
	}
	return output("dpkg", append([]string{"--listfiles"}, installed...)...)
}

func output(program string, args ...string) (lines []string, err error) {
	command := exec.Command(program, args...)
	var said bytes.Buffer
	command.Stderr = &said
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", program, err, said.String())
	}
	for scanner := bufio.NewScanner(bytes.NewReader(out)); scanner.Scan(); {
		lines = append(lines, scanner.Text())
	}
	return lines, nil
}

// archive writes the files, where they are in a system with a merged /usr.
func archive(to io.Writer, files []string) (err error) {
	writer := tar.NewWriter(to)
	for _, link := range []string{"bin", "lib", "lib64", "sbin"} {
		if err := writer.WriteHeader(&tar.Header{Name: link, Linkname: "usr/" + link, Typeflag: tar.TypeSymlink}); err != nil {
			return err
		}
	}
	if err := writer.WriteHeader(&tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}); err != nil {
		return err
	}
	files = append(files, "/etc", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/ld.so.cache")
	seen := map[string]bool{"/tmp": true}
	for _, file := range files {
		for _, dir := range []string{"/bin", "/lib", "/lib64", "/sbin"} {
			if file == dir || strings.HasPrefix(file, dir+"/") {
				file = "/usr" + file
			}
		}
		if seen[file] || !strings.HasPrefix(file, "/") || unneeded(file) {
			continue
		}
		seen[file] = true
		if err := add(writer, file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return writer.Close()
}

func unneeded(file string) bool {
	for _, dir := range []string{"/usr/share/doc", "/usr/share/man", "/usr/share/locale", "/usr/share/info", "/usr/share/perl", "/usr/lib/x86_64-linux-gnu/perl",
		"/var/lib/dpkg", "/dev", "/proc", "/sys", "/usr/lib/x86_64-linux-gnu/dri", "/usr/share/bug", "/usr/share/lintian"} {
		if file == dir || strings.HasPrefix(file, dir+"/") {
			return true
		}
	}
	return false
}

func add(writer *tar.Writer, file string) error {
	info, err := os.Lstat(file)
	if err != nil {
		return err
	}
	target := ""
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		if target, err = os.Readlink(file); err != nil {
			return err
		}
	case !info.IsDir() && !info.Mode().IsRegular():
		return nil
	}
	header, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	header.Name = strings.TrimPrefix(file, "/")
	if info.IsDir() {
		header.Name += "/"
	}
	if err := writer.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
		return err
	}
	content, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	_, err = io.Copy(writer, content)
	return err
}
