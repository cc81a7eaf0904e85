package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/models"
)

const eventStream = "text/event-stream"

// script answers the n-th request of a Watch with the n-th body, and the one
// after the last with a refusal that ends it.
func script(bodies ...io.Reader) roundTrip {
	requests := 0
	return func(*http.Request) (*http.Response, error) {
		requests++
		if requests > len(bodies) {
			return respond(http.StatusUnauthorized, "application/problem+json", strings.NewReader(`{"detail":"no","code":"unauthenticated"}`)), nil
		}
		return respond(http.StatusOK, eventStream, bodies[requests-1]), nil
	}
}

// watchAll gives everything that a Watch of the bodies tells.
func watchAll(t interface{ Fatalf(string, ...any) }, bodies ...io.Reader) []client.Change {
	var changes []client.Change
	c := overNothing(script(bodies...), client.Options{RetryAfter: time.Nanosecond})
	err := c.Watch(context.Background(), func(change client.Change) error {
		changes = append(changes, change)
		return nil
	})
	if client.CodeOf(err) != models.CodeUnauthenticated {
		t.Fatalf("watching ended with %v", err)
	}
	return changes
}

// told writes changes short: the ids of a snapshot in brackets, else an id.
func told(changes []client.Change) string {
	var words []string
	for _, change := range changes {
		switch {
		case change.Session != nil && change.Snapshot == nil:
			words = append(words, change.Session.ID)
		case change.Session == nil && change.Snapshot != nil:
			ids := make([]string, 0, len(change.Snapshot))
			for _, session := range change.Snapshot {
				ids = append(ids, session.ID)
			}
			words = append(words, "["+strings.Join(ids, " ")+"]")
		default:
			words = append(words, fmt.Sprintf("%+v", change))
		}
	}
	return strings.Join(words, " ")
}

func TestWatchParses(t *testing.T) {
	for _, test := range []struct{ name, stream, want string }{
		{"a snapshot and changes", "event: snapshot\ndata: {\"sessions\":[{\"id\":\"a\"},{\"id\":\"b\"}]}\n\nevent: session\ndata: {\"id\":\"a\"}\n\n", "[a b] a"},
		{"an empty snapshot", "event: snapshot\ndata: {\"sessions\":[]}\n\n", "[]"},
		{"a snapshot of null", "event: snapshot\ndata: {\"sessions\":null}\n\n", "[]"},
		{"no spaces after the colons", "event:session\ndata:{\"id\":\"a\"}\n\n", "a"},
		{"more spaces", "event: session\ndata:   {\"id\":\"a\"}  \n\n", "a"},
		{"CRLF", "event: session\r\ndata: {\"id\":\"a\"}\r\n\r\n", "a"},
		{"CR", "event: session\rdata: {\"id\":\"a\"}\r\r", "a"},
		{"a mixture", "event: session\r\ndata: {\"id\":\"a\"}\n\revent: session\rdata: {\"id\":\"b\"}\n\n", "a b"},
		{"comments", ": ping\n\n:\n\nevent: session\n: in between\ndata: {\"id\":\"a\"}\n\n: ping\n\n", "a"},
		{"data in several lines", "event: session\ndata: {\"id\":\ndata: \"a\"}\n\n", "a"},
		{"data before its name", "data: {\"id\":\"a\"}\nevent: session\n\n", "a"},
		{"the last name counts", "event: snapshot\nevent: session\ndata: {\"id\":\"a\"}\n\n", "a"},
		{"a byte order mark", "\ufeffevent: session\ndata: {\"id\":\"a\"}\n\n", "a"},
		{"two byte order marks", "\ufeff\ufeffevent: session\ndata: {\"id\":\"a\"}\n\n", ""},
		{"a byte order mark later", "event: session\n\ufeffdata: {\"id\":\"a\"}\n\n", ""},
		{"lines that do not join into a number", "event: session\ndata: {\"id\":\"a\",\"generation\":1\ndata: 2}\n\n", ""},
		{"fields that we do not know", "id: 7\nretry: 1000\nfoo: bar\nfoo\nevent: session\ndata: {\"id\":\"a\"}\n\n", "a"},
		{"events that we do not know", "event: agent\ndata: {}\n\ndata: {}\n\nevent: session\ndata: {\"id\":\"a\"}\n\n", "a"},
		{"a name without data", "event: session\n\nevent: session\ndata: {\"id\":\"a\"}\n\n", "a"},
		{"a name does not last", "event: session\ndata: {\"id\":\"a\"}\n\ndata: {\"id\":\"b\"}\n\n", "a"},
		{"an event without an end", "event: session\ndata: {\"id\":\"a\"}\n\nevent: session\ndata: {\"id\":\"b\"}\n", "a"},
		{"a line without an end", "event: session\ndata: {\"id\":\"a\"}\n\nevent: session\ndata: {\"id\":\"b\"}", "a"},
		{"names are told by case", "Event: session\nDATA: {\"id\":\"a\"}\n\n", ""},
		{"nothing", "", ""},
		{"a session that is none", "event: session\ndata: nonsense\n\nevent: session\ndata: {\"id\":\"b\"}\n\n", ""},
		{"a snapshot that is none", "event: snapshot\ndata: []\n\n", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			whole := told(watchAll(t, strings.NewReader(test.stream)))
			if whole != test.want {
				t.Errorf("told %q, want %q", whole, test.want)
			}
			if bytewise := told(watchAll(t, iotest.OneByteReader(strings.NewReader(test.stream)))); bytewise != whole {
				t.Errorf("told %q byte by byte, and %q at once", bytewise, whole)
			}
		})
	}
}

func TestWatchDecodesSessionsWhole(t *testing.T) {
	session := client.Session{ID: "a", Name: "Büro \u2028 x", State: models.SessionFailed, Reason: "no\nXvnc", ReasonCode: models.CodeNeedsMissing,
		Generation: 3, Retryable: true, Resources: client.Resources{CPU: "1"}}
	encoded, err := json.Marshal(session)
	must(t, err)
	changes := watchAll(t, strings.NewReader("event: session\ndata: "+string(encoded)+"\n\n"))
	if len(changes) != 1 || !reflect.DeepEqual(*changes[0].Session, session) {
		t.Errorf("told %+v", changes)
	}
}

// chunks reads one chunk at a time.
type chunks struct{ left [][]byte }

func (c *chunks) Read(p []byte) (int, error) {
	for len(c.left) > 0 && len(c.left[0]) == 0 {
		c.left = c.left[1:]
	}
	if len(c.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.left[0])
	c.left[0] = c.left[0][n:]
	return n, nil
}

// drawChunks cuts stream anywhere.
func drawChunks(t *rapid.T, stream []byte) *chunks {
	cuts := rapid.SliceOfN(rapid.IntRange(0, len(stream)), 0, 20).Draw(t, "cuts")
	slices.Sort(cuts)
	cut := &chunks{}
	begin := 0
	for _, end := range append(cuts, len(stream)) {
		cut.left = append(cut.left, stream[begin:end])
		begin = end
	}
	return cut
}

// drawStream writes events in any of the ways that the HTML standard allows,
// and gives what they tell.
func drawStream(t *rapid.T) (stream []byte, want string) {
	var out bytes.Buffer
	var words []string
	lastCR := false
	line := func(text string) {
		ends := []string{"\n", "\r\n", "\r"}
		if text == "" && lastCR {
			ends = ends[1:] // LF would belong to the CR before
		}
		end := rapid.SampledFrom(ends).Draw(t, "end of line")
		out.WriteString(text + end)
		lastCR = end == "\r"
	}
	if rapid.Bool().Draw(t, "byte order mark") {
		out.WriteString("\ufeff")
	}
	ids := rapid.SliceOfN(rapid.StringMatching(`[a-z0-9]{1,8}`), 0, 8).Draw(t, "ids")
	for _, id := range ids {
		for range rapid.IntRange(0, 2).Draw(t, "comments") {
			line(rapid.SampledFrom([]string{": ping", ":", "id: 1", "retry"}).Draw(t, "comment"))
		}
		colon := rapid.SampledFrom([]string{":", ": "}).Draw(t, "colon")
		var value any = map[string]any{"id": id, "name": "a name"}
		name := "session"
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			name, value = "snapshot", map[string]any{"sessions": []any{value}}
			words = append(words, "["+id+"]")
		case 1:
			name = "of-the-future"
		default:
			words = append(words, id)
		}
		encoded, err := json.MarshalIndent(value, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		data := strings.Split(string(encoded), "\n")
		if rapid.Bool().Draw(t, "name first") {
			line("event" + colon + name)
			name = ""
		}
		for _, text := range data {
			line("data" + colon + text)
		}
		if name != "" {
			line("event" + colon + name)
		}
		line("")
	}
	if rapid.Bool().Draw(t, "breaks off") {
		out.WriteString("event: session\ndata: {\"id\":\"lost\"}")
	}
	return out.Bytes(), strings.Join(words, " ")
}

func TestWatchTellsTheSameHoweverTheStreamIsCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stream, want := drawStream(t)
		if got := told(watchAll(t, drawChunks(t, stream))); got != want {
			t.Fatalf("told %q, want %q, of %q", got, want, stream)
		}
	})
}

func FuzzWatch(f *testing.F) {
	f.Add([]byte("event: snapshot\ndata: {\"sessions\":[{\"id\":\"a\"}]}\n\nevent: session\ndata: {\"id\":\"b\"}\n\n"))
	f.Add([]byte("\ufeffevent:session\rdata:{\"id\":\rdata:\"a\"}\r\r\n\nevent: session"))
	f.Add([]byte(": ping\r\n\r\nretry: 1\r\n\ndata\n\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		whole := told(watchAll(t, bytes.NewReader(stream)))
		if bytewise := told(watchAll(t, iotest.OneByteReader(bytes.NewReader(stream)))); bytewise != whole {
			t.Errorf("told %q byte by byte, and %q at once", bytewise, whole)
		}
		if late := told(watchAll(t, iotest.DataErrReader(bytes.NewReader(stream)))); late != whole {
			t.Errorf("told %q with the end in the last read, and %q in one of its own", late, whole)
		}
	})
}

func TestWatchTakesLargeSnapshots(t *testing.T) {
	var many struct {
		Sessions []client.Session `json:"sessions"`
	}
	for i := range 2000 {
		many.Sessions = append(many.Sessions, client.Session{ID: fmt.Sprint(i), Reason: strings.Repeat("a", 500)})
	}
	encoded, err := json.Marshal(many)
	must(t, err)
	changes := watchAll(t, strings.NewReader("event: snapshot\ndata: "+string(encoded)+"\n\n"))
	if len(changes) != 1 || len(changes[0].Snapshot) != 2000 {
		t.Errorf("told of %d changes", len(changes))
	}
}

// endless gives the same text for ever.
type endless string

func (e endless) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		n += copy(p[n:], e)
	}
	return n, nil
}

func TestWatchKeepsNoEventWithoutEnd(t *testing.T) {
	after := "event: session\ndata: {\"id\":\"after\"}\n\n"
	for name, body := range map[string]io.Reader{
		"a line that never ends":    endless("data: aaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
		"an event that never ends":  endless("data: aaaaaaaaaaaaaaaaaaaaaaaaaa\n"),
		"a comment that never ends": endless(":aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
	} {
		t.Run(name, func(t *testing.T) {
			if got := told(watchAll(t, body, strings.NewReader(after))); got != "after" {
				t.Errorf("told %q", got)
			}
		})
	}
}

func TestWatchConnectsAgainAndBeginsWithASnapshot(t *testing.T) {
	requests := &counter{}
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RequestURI() != "/api/v1/events" || r.Header.Get("Accept") != eventStream || r.Header.Get("Authorization") != "Bearer ssp_test" {
			t.Errorf("requested %s with %v", r.URL.RequestURI(), r.Header)
		}
		n := requests.next()
		switch n {
		case 2:
			panic(http.ErrAbortHandler) // no answer
		case 3:
			writeProblem(w, http.StatusInternalServerError, models.CodeInternal)
			return
		case 4:
			html(http.StatusBadGateway)(w, r)
			return
		}
		w.Header().Set("Content-Type", eventStream+"; charset=utf-8")
		_, _ = fmt.Fprintf(w, "event: snapshot\ndata: {\"sessions\":[{\"id\":\"%d\"}]}\n\n", n)
		_ = http.NewResponseController(w).Flush()
		if n == 5 {
			_, _ = fmt.Fprint(w, "event: session\ndata: {\"id\":\"half")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
		if n == 6 {
			_, _ = fmt.Fprint(w, "event: session\ndata: {\"id\":\"last\"}\n\n")
		}
	})
	var changes []client.Change
	enough := errors.New("enough")
	err := c.Watch(t.Context(), func(change client.Change) error {
		changes = append(changes, change)
		if change.Session != nil {
			return enough
		}
		return nil
	})
	if err != enough {
		t.Errorf("watching ended with %v", err)
	}
	if got := told(changes); got != "[1] [5] [6] last" {
		t.Errorf("told %q", got)
	}
}

func TestWatchEndsWithTheCallbacksError(t *testing.T) {
	problem := &client.Problem{Status: http.StatusServiceUnavailable, Retryable: true, Detail: "of the callback's own"}
	calls := 0
	c := overNothing(script(strings.NewReader("event: session\ndata: {\"id\":\"a\"}\n\nevent: session\ndata: {\"id\":\"b\"}\n\n")), client.Options{})
	err := c.Watch(t.Context(), func(client.Change) error { calls++; return problem })
	if err != error(problem) || calls != 1 {
		t.Errorf("after %d calls watching ended with %v", calls, err)
	}
}

func TestWatchEndsWhereTheAPIRefusesForGood(t *testing.T) {
	for _, test := range []struct {
		status    int
		retryable bool
		final     bool
	}{
		{http.StatusUnauthorized, false, true}, {http.StatusForbidden, false, true}, {http.StatusNotFound, false, true},
		{http.StatusBadRequest, false, true}, {http.StatusTooManyRequests, true, false}, {http.StatusInternalServerError, false, false},
		{http.StatusServiceUnavailable, true, false}, {http.StatusBadGateway, false, false},
	} {
		requests := 0
		c := overNothing(func(*http.Request) (*http.Response, error) {
			requests++
			if requests == 3 {
				return respond(http.StatusGone, "", strings.NewReader("")), nil
			}
			body := fmt.Sprintf(`{"detail":"no","code":"x","retryable":%v}`, test.retryable)
			return respond(test.status, "application/problem+json", strings.NewReader(body)), nil
		}, client.Options{RetryAfter: time.Nanosecond})
		err := c.Watch(t.Context(), func(client.Change) error { return nil })
		if final := problemOf(t, err).Status == test.status; final != test.final || (requests == 1) != test.final {
			t.Errorf("a refusal with %d (retryable: %v) gave %d requests and %v", test.status, test.retryable, requests, err)
		}
	}
}

// hanging is a stream that says something now and then and never ends by
// itself.
type hanging struct {
	ctx   context.Context
	every time.Duration
	text  string
}

func (h *hanging) Read(p []byte) (int, error) {
	select {
	case <-time.After(h.every):
		return copy(p, h.text), nil
	case <-h.ctx.Done():
		return 0, h.ctx.Err()
	}
}

func TestWatchGivesASilentStreamUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var began []time.Time
		c := overNothing(func(r *http.Request) (*http.Response, error) {
			began = append(began, time.Now())
			switch len(began) {
			case 1: // never a word
				return respond(http.StatusOK, eventStream, &hanging{r.Context(), time.Hour, ""}), nil
			case 2: // no answer
				<-r.Context().Done()
				return nil, r.Context().Err()
			case 3: // comments alone show that it lives
				return respond(http.StatusOK, eventStream, io.MultiReader(
					io.LimitReader(&hanging{r.Context(), 59 * time.Second, ": ping\n\n"}, 80),
					&hanging{r.Context(), time.Hour, ""})), nil
			}
			return respond(http.StatusGone, "", strings.NewReader("")), nil
		}, client.Options{RetryAfter: time.Nanosecond})
		err := c.Watch(t.Context(), func(client.Change) error { return nil })
		if problemOf(t, err).Status != http.StatusGone {
			t.Fatal(err)
		}
		for i, want := range []time.Duration{time.Minute, time.Minute, 10*59*time.Second + time.Minute} {
			if lasted := began[i+1].Sub(began[i]); lasted < want || lasted > want+time.Second {
				t.Errorf("connection %d lasted %v, want %v", i+1, lasted, want)
			}
		}
	})
}

func TestWatchWaitsLongerWithEachFailureAndBeginsAnewWhenHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const failing = 60
		var waits []time.Duration
		last := time.Now()
		c := overNothing(func(*http.Request) (*http.Response, error) {
			waits = append(waits, time.Since(last))
			last = time.Now()
			switch len(waits) {
			case failing:
				return respond(http.StatusOK, eventStream, strings.NewReader("event: session\ndata: {\"id\":\"a\"}\n\n")), nil
			case failing + 2:
				return respond(http.StatusGone, "", strings.NewReader("")), nil
			case failing + 1: // a stream without a word is a failure too
				return respond(http.StatusOK, eventStream, strings.NewReader("")), nil
			}
			return nil, errors.New("no route to host")
		}, client.Options{})
		err := c.Watch(t.Context(), func(client.Change) error { return nil })
		if problemOf(t, err).Status != http.StatusGone {
			t.Fatal(err)
		}
		bound := client.DefaultRetryAfter
		var total time.Duration
		for i, waited := range waits[1:failing] {
			bound = min(bound, 30*time.Second)
			if waited <= 0 || waited > bound {
				t.Errorf("waited %v after failure %d, want at most %v", waited, i+1, bound)
			}
			total += waited
			bound *= 2
		}
		if total < 5*time.Minute {
			t.Errorf("waited only %v in all", total)
		}
		if waits[failing] > client.DefaultRetryAfter || waits[failing+1] > 2*client.DefaultRetryAfter {
			t.Errorf("after it was heard it waited %v and %v", waits[failing], waits[failing+1])
		}
	})
}

func TestWatchEndsWithItsContext(t *testing.T) {
	heard := make(chan struct{}, 1)
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", eventStream)
		_, _ = fmt.Fprint(w, "event: snapshot\ndata: {\"sessions\":[]}\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- c.Watch(ctx, func(client.Change) error { heard <- struct{}{}; return nil })
	}()
	<-heard
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("watching ended with %v", err)
		}
	case <-time.After(patience):
		t.Error("watching goes on")
	}
}

func TestWatchEndsWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := overNothing(func(*http.Request) (*http.Response, error) { return nil, errors.New("no route to host") },
			client.Options{RetryAfter: 30 * time.Second})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		begin := time.Now()
		if err := c.Watch(ctx, func(client.Change) error { return nil }); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != 10*time.Minute {
			t.Errorf("after %v watching ended with %v", time.Since(begin), err)
		}
	})
}
