package agent_test

import (
	"context"
	"slices"
	"testing"

	"github.com/streamspace/streamspace/wire"
)

// stocked is a machine that holds images.
type stocked struct {
	*machine
	lists chan []string
}

// Images implements driver.ImageHolder.
func (s stocked) Images(ctx context.Context) (<-chan []string, error) {
	out := make(chan []string)
	go func() {
		defer close(out)
		for {
			select {
			case names := <-s.lists:
				out <- names
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

func TestImagesAreToldWhenTheyChangeAndOnEveryConnection(t *testing.T) {
	p := newPlane(t)
	s := stocked{newMachine(), make(chan []string)}
	config := configure(t, p, s.machine)
	config.Driver = s
	run(t, config)
	l := p.link()
	want := func(l *link, n int, names ...string) {
		t.Helper()
		if got := into[wire.Images](l, n, wire.TypeImages).Names; !slices.Equal(got, names) {
			t.Errorf("images %d are %v, not %v", n, got, names)
		}
	}
	s.lists <- []string{"desk:1", "shell"}
	want(l, 1, "desk:1", "shell")
	s.lists <- []string{"desk:1", "shell"} // which is no news
	s.lists <- []string{}
	want(l, 2)
	s.lists <- []string{"desk:2"}
	want(l, 3, "desk:2")
	_ = l.socket.CloseNow()
	want(p.link(), 1, "desk:2")
}
