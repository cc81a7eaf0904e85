package supervisor

import (
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/streamspace/streamspace/agent/driver/process/internal/runtimedir"
)

const (
	// maxOutput bounds each of the two files of the log.
	maxOutput = 256 << 10
	// tailSize is what is remembered of each program's last output.
	tailSize = 4 << 10
	// outputWithin is how long the last output of a program that has ended may
	// take through the pipe.
	outputWithin = 200 * time.Millisecond
)

// outputLog keeps what the session's programs print, so much of it as helps to
// find out what is wrong.
type outputLog struct {
	mu   sync.Mutex
	file *os.File
	size int
}

func newOutputLog() (*outputLog, error) {
	file, err := openOutput()
	return &outputLog{file: file}, err
}

func openOutput() (*os.File, error) {
	return os.OpenFile(runtimedir.OutputLog, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
}

// add appends to the log. What cannot be written is left out: a session does
// not end for its log.
func (l *outputLog) add(output []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size+len(output) > maxOutput {
		if os.Rename(runtimedir.OutputLog, runtimedir.OldOutputLog) != nil {
			return
		}
		file, err := openOutput()
		if err != nil {
			return
		}
		_ = l.file.Close()
		l.file, l.size = file, 0
	}
	n, _ := l.file.Write(output)
	l.size += n
}

// source is one program's output on its way to the log.
type source struct {
	log *outputLog
	// over is closed when every process that could print has closed the pipe.
	over chan struct{}

	mu   sync.Mutex
	last []byte
}

func (l *outputLog) source() *source { return &source{log: l, over: make(chan struct{})} }

// open gives the end of a pipe for the program; call it once. The goroutine at
// the other end lives until the program and its descendants have closed it.
func (s *source) open() (*os.File, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	go func() {
		defer close(s.over)
		defer func() { _ = reader.Close() }()
		_, _ = io.Copy(s, reader) // it ends with the pipe
	}()
	return writer, nil
}

// Write implements io.Writer.
func (s *source) Write(output []byte) (int, error) {
	s.log.add(output)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = append(s.last, output...)
	if len(s.last) > tailSize {
		s.last = append([]byte(nil), s.last[len(s.last)-tailSize:]...)
	}
	return len(output), nil
}

// drain waits for the last output.
func (s *source) drain(within time.Duration) {
	select {
	case <-s.over:
	case <-time.After(within):
	}
}

// tail is the program's last output.
func (s *source) tail() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.last)
}

// quoted puts a program's last words into a sentence: three lines of them.
func quoted(said string) string {
	const lines, size = 3, 400
	said = strings.TrimSpace(said)
	all := strings.Split(said, "\n")
	said = strings.Join(all[max(0, len(all)-lines):], "\n")
	said = strings.ToValidUTF8(said[max(0, len(said)-size):], "")
	if said == "" {
		return ""
	}
	return "; its last output: " + said
}
