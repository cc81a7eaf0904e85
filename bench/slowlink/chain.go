// Package slowlink makes places with slow links between them out of network
// namespaces of this machine. Nothing leaves the machine.
package slowlink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/streamspace/streamspace/bench/processes"
)

// commandWithin bounds one call of ip or tc, which take milliseconds.
const commandWithin = 20 * time.Second

// Place is one network namespace.
type Place struct{ name string }

// Chain is places in a row, each linked to the next.
type Chain struct {
	Places []Place
}

// NewChain makes that many places; the links are as fast as the machine is. It
// needs root's rights, and ip and tc of iproute2.
func NewChain(ctx context.Context, places int) (_ *Chain, err error) {
	c := &Chain{}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	for i := range places {
		place := Place{name: fmt.Sprintf("ssbench-%d-%d", os.Getpid(), i)}
		if err := run(ctx, "ip", "netns", "add", place.name); err != nil {
			return nil, err
		}
		c.Places = append(c.Places, place)
		if err := run(ctx, "ip", "-n", place.name, "link", "set", "lo", "up"); err != nil {
			return nil, err
		}
	}
	for i := range places - 1 {
		if err := c.link(ctx, i); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// The ends of a link, as its two places call them.
const (
	toNext     = "next"
	toPrevious = "previous"
)

// link joins the place with the next one.
func (c *Chain) link(ctx context.Context, i int) error {
	left, right := c.Places[i].name, c.Places[i+1].name
	for _, arguments := range [][]string{
		{"link", "add", toNext, "netns", left, "type", "veth", "peer", "name", toPrevious, "netns", right},
		{"-n", left, "address", "add", c.Address(i, i) + "/30", "dev", toNext},
		{"-n", right, "address", "add", c.Address(i, i+1) + "/30", "dev", toPrevious},
		{"-n", left, "link", "set", toNext, "up"},
		{"-n", right, "link", "set", toPrevious, "up"},
	} {
		if err := run(ctx, "ip", arguments...); err != nil {
			return err
		}
	}
	return nil
}

// Address is the IP address of a place on the given link; link i joins the
// places i and i+1.
func (c *Chain) Address(link, place int) string {
	return fmt.Sprintf("10.213.%d.%d", link, place-link+1)
}

// Shape makes a link slow, both ways. rate, burst and latency are those of
// tc-tbf(8), e.g. 100mbit, 64kb, 50ms: a queue that is full delays by latency,
// and drops.
func (c *Chain) Shape(ctx context.Context, link int, rate, burst, latency string) error {
	for _, end := range [][2]string{{c.Places[link].name, toNext}, {c.Places[link+1].name, toPrevious}} {
		if err := run(ctx, "tc", "-n", end[0], "qdisc", "replace", "dev", end[1], "root", "tbf",
			"rate", rate, "burst", burst, "latency", latency); err != nil {
			return err
		}
	}
	return nil
}

// Unshape makes a link fast again.
func (c *Chain) Unshape(ctx context.Context, link int) error {
	for _, end := range [][2]string{{c.Places[link].name, toNext}, {c.Places[link+1].name, toPrevious}} {
		if err := run(ctx, "tc", "-n", end[0], "qdisc", "delete", "dev", end[1], "root"); err != nil {
			return err
		}
	}
	return nil
}

// Close removes the places and with them the links. Processes inside should
// have ended.
func (c *Chain) Close() error {
	var errs []error
	for _, place := range c.Places {
		// Also when the run was interrupted.
		errs = append(errs, run(context.Background(), "ip", "netns", "delete", place.name))
	}
	c.Places = nil
	return errors.Join(errs...)
}

// In makes the command run in the place.
func (p Place) In(command processes.Command) processes.Command {
	command.Arguments = append([]string{"netns", "exec", p.name, command.Path}, command.Arguments...)
	command.Path = "ip"
	return command
}

func run(ctx context.Context, command string, arguments ...string) error {
	ctx, cancel := context.WithTimeout(ctx, commandWithin)
	defer cancel()
	said, err := exec.CommandContext(ctx, command, arguments...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", command, strings.Join(arguments, " "), err, strings.TrimSpace(string(said)))
	}
	return nil
}
