package docker

import (
	"bytes"
	"context"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/streamspace/streamspace/models"
)

const (
	// maxWords bounds the last words of a program, in bytes.
	maxWords = 300
	// brief is how long a terminal may have run for its last words to be told:
	// after that they are what a person saw, and for nobody else.
	brief = 10 * time.Second
	// wordsWithin bounds the time of asking for them.
	wordsWithin = 5 * time.Second
)

// lastWords gives the end of what a container has put out, on one line; nothing
// if there is none, or it is not to be told.
func (d *Driver) lastWords(ctx context.Context, found container.InspectResponse) string {
	if models.Protocol(found.Config.Labels[labelProtocol]) == models.ProtocolTerminal {
		began, beganErr := time.Parse(time.RFC3339Nano, found.State.StartedAt)
		ended, endedErr := time.Parse(time.RFC3339Nano, found.State.FinishedAt)
		if beganErr != nil || endedErr != nil || ended.Sub(began) > brief {
			return ""
		}
	}
	ctx, cancel := context.WithTimeout(ctx, wordsWithin)
	defer cancel()
	stream, err := d.engine.ContainerLogs(ctx, found.ID, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Tail: "5"})
	if err != nil {
		d.config.Logger.Debug("a session's last words cannot be had", "error", err)
		return ""
	}
	defer func() { _ = stream.Close() }()
	// The engine keeps lines of any length.
	limited := io.LimitReader(stream, 64<<10)
	var said bytes.Buffer
	if found.Config.Tty {
		_, err = io.Copy(&said, limited)
	} else {
		_, err = stdcopy.StdCopy(&said, &said, limited)
	}
	if err != nil {
		d.config.Logger.Debug("a session's last words are not whole", "error", err)
	}
	return oneLine(said.String())
}

// oneLine makes a program's output fit for a sentence: its end, without control
// characters.
func oneLine(said string) string {
	said = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(said, ""), func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	if len(said) <= maxWords {
		return said
	}
	said = said[len(said)-maxWords:]
	return "…" + strings.ToValidUTF8(said, "")
}
