package catalog_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/streamspace/streamspace/internal/catalog"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/test/program"
)

// startWithin bounds the start of programs on a busy machine.
const startWithin = 60 * time.Second

// template gives a built-in template whose needs this machine has.
func template(t *testing.T, name string) models.Template {
	t.Helper()
	templates, err := catalog.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range templates {
		if found.Metadata.Name != name {
			continue
		}
		for _, need := range found.Spec.Process.Needs {
			if _, err := exec.LookPath(need.Command); err == nil {
				continue
			}
			if os.Getenv("CI") == "true" {
				t.Fatalf("%s is missing; %s", need.Command, need.Install)
			}
			t.Skipf("SKIPPED: %s is missing; %s", need.Command, need.Install)
		}
		return found
	}
	t.Fatalf("there is no built-in template %s", name)
	return models.Template{}
}

// prepare makes the template's command in a home, as the process platform does
// it but for the limits.
func prepare(found models.Template, home, display string) *exec.Cmd {
	command := exec.Command(found.Spec.Process.Command[0], found.Spec.Process.Command[1:]...)
	command.Dir = home
	command.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "DISPLAY=" + display, "TERM=xterm-256color",
		"LANG=C.UTF-8", "SHELL=/bin/bash", "USER=user"}
	for _, variable := range found.Spec.Env {
		command.Env = append(command.Env, variable.Name+"="+variable.Value)
	}
	return command
}

// shortHome is a home that leaves room for a socket's name, which may have 107
// bytes. It may keep files of programs that are slow to end.
func shortHome(t *testing.T) string {
	t.Helper()
	home, err := os.MkdirTemp("", "home-")
	if err != nil {
		t.Fatal(err)
	}
	program.Reap(t, home)
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	return home
}

// holds waits for the content of a file in a home.
func holds(t *testing.T, home, name, want string) {
	t.Helper()
	program.Eventually(t, name+" holds "+want, startWithin, func() error {
		content, err := os.ReadFile(filepath.Join(home, name))
		if err == nil && strings.TrimSpace(string(content)) != want {
			err = fmt.Errorf("it holds %q", content)
		}
		return err
	})
}

func TestDesktop(t *testing.T) {
	found := template(t, "desktop")
	home := shortHome(t)
	view := showScreen(t, home, found.Spec.Process.Geometry)
	run(t, prepare(found, home, view.display))
	const wall, theirs = 0x33566b, 0x10181f
	program.Eventually(t, "the desktop shows a wall and a terminal", startWithin, func() error {
		count := view.colours()
		if count[wall] < 200_000 || count[theirs] < 200_000 || len(count) < 8 {
			return fmt.Errorf("%d pixels are wall, %d terminal, and there are %d colours", count[wall], count[theirs], len(count))
		}
		return nil
	})
	// The terminal is where one looks for it, and takes the keyboard.
	view.click(view.width*3/10, view.height*3/10)
	view.typeKeys("echo typed-in-$((40+2)) > proof.txt\n")
	holds(t, home, "proof.txt", "typed-in-42")
	// The clipboard works from the command line, and knows more than ASCII.
	view.typeKeys(`printf '\303\244\342\202\254' | xclip -selection clipboard` + "\n")
	view.typeKeys("until xclip -selection clipboard -o > clip.new; do sleep 0.1; done; mv clip.new clip.txt\n")
	holds(t, home, "clip.txt", "ä€")
	// The prompt does without the name of a user, whom the system need not know.
	view.typeKeys(`printf %s "${PS1@P}" | tr -dc '[:print:]' | sed 's/\[[0-9;]*m//g; s/ //g' > prompt.txt` + "\n")
	holds(t, home, "prompt.txt", "~"+prompt())
}

// What a person changed in a persistent home stays.
func TestDesktopKeepsItsSettings(t *testing.T) {
	found := template(t, "desktop")
	home := shortHome(t)
	view := showScreen(t, home, found.Spec.Process.Geometry)
	settings := filepath.Join(home, ".icewm")
	if err := os.Mkdir(settings, 0o700); err != nil {
		t.Fatal(err)
	}
	const wall = 0x123456
	for name, content := range map[string]string{
		"theme": "Theme=\"win95/default.theme\"\n", "preferences": "DesktopBackgroundColor=\"#123456\"\n",
	} {
		if err := os.WriteFile(filepath.Join(settings, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, prepare(found, home, view.display))
	program.Eventually(t, "the desktop has its owner's colour", startWithin, func() error {
		if count := view.colours(); count[wall] < 200_000 {
			return fmt.Errorf("%d pixels have it", count[wall])
		}
		return nil
	})
	if _, err := os.Stat(filepath.Join(settings, "menu")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the settings were written again: %v", err)
	}
}

// The browser has all of the screen, and nothing can hide it.
func TestBrowser(t *testing.T) {
	found := template(t, "browser")
	home := shortHome(t)
	view := showScreen(t, home, found.Spec.Process.Geometry)
	run(t, prepare(found, home, view.display))
	visit := func(name string, colour uint32) {
		t.Helper()
		var typed time.Time
		program.Eventually(t, "the browser shows a page that is "+name, startWithin, func() error {
			part := view.colours()[colour]
			if part > view.width*view.height*8/10 {
				return nil
			}
			// At first nobody reads the keys.
			if time.Since(typed) > 3*time.Second {
				view.chord(controlKey, 'l') // goes to the address
				view.typeKeys(fmt.Sprintf("data:text/html,<body bgcolor=%06x>\n", colour))
				typed = time.Now()
			}
			return fmt.Errorf("%d pixels are", part)
		})
	}
	visit("red", 0xff0000)
	view.click(view.width-83, 20) // the button that would hide the window
	visit("green", 0x00ff00)
}

func TestTerminal(t *testing.T) {
	found := template(t, "terminal")
	home := shortHome(t)
	command := prepare(found, home, "")
	terminal, err := pty.Start(command)
	if err != nil {
		t.Fatal(err)
	}
	said := &program.Buffer{}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(said, terminal) // ends with the shell
	}()
	shows := func(want string) {
		t.Helper()
		program.Eventually(t, "the terminal shows "+want, startWithin, func() error {
			if !strings.Contains(said.String(), want) {
				return fmt.Errorf("it shows %q", said)
			}
			return nil
		})
	}
	shows("~")
	shows(prompt())
	if _, err := terminal.WriteString("echo typed-in-$((40+2)) $LANG $SHELL; exit\n"); err != nil {
		t.Fatal(err)
	}
	shows("typed-in-42 C.UTF-8 /bin/bash")
	if err := command.Wait(); err != nil {
		t.Errorf("the end of the shell is no success: %v", err)
	}
	<-ended
	_ = terminal.Close()
}

// prompt is how the shell's prompt ends.
func prompt() string {
	if os.Getuid() == 0 {
		return "#"
	}
	return "$"
}
