package sim

import (
	"time"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
)

// waitFor is how long sessions wait whose users say nothing of it: longer than
// a world lasts.
const waitFor = 30 * time.Minute

// wish is what a user asks of a session's agent. The zero value asks nothing.
type wish struct {
	resources models.Resources
	// reserves is what the resources mean, besides one session.
	reserves models.Amount
	region   string
	disk     string
	priority int64
	wait     *time.Duration
	// home has the session keep its home.
	home bool
	// roams has the session placed anew when it is lost.
	roams bool
}

// drawWish makes what one user asks.
func drawWish(c *chance) wish {
	var w wish
	if c.happens(0.5) {
		sizes := []struct {
			text  string
			milli int64
		}{{"250m", 250}, {"1", 1000}, {"2", 2000}, {"0.7", 700}}
		one := sizes[c.pick(len(sizes))]
		w.resources.CPU, w.reserves.CPU = one.text, one.milli
	}
	if c.happens(0.5) {
		sizes := []struct {
			text  string
			bytes int64
		}{{"256Mi", gib / 4}, {"1Gi", gib}, {"2Gi", 2 * gib}, {"1536Mi", 3 * gib / 2}}
		one := sizes[c.pick(len(sizes))]
		w.resources.Memory, w.reserves.Memory = one.text, one.bytes
	}
	if c.happens(0.12) {
		w.region = regions()[c.pick(2)]
	}
	if c.happens(0.12) {
		w.disk = disks()[c.pick(2)]
	}
	if c.happens(0.2) {
		w.priority = int64(c.pick(11) - 5)
	}
	if c.happens(0.15) {
		w.wait = new(time.Duration)
	} else if c.happens(0.15) {
		wait := c.between(5*time.Second, 40*time.Second)
		w.wait = &wait
	}
	return w
}

func (w wish) request(id string, owner models.User) services.LaunchRequest {
	request := services.LaunchRequest{ID: id, Template: templateName, Owner: owner, Resources: w.resources, Region: w.region,
		Priority: w.priority, Wait: w.wait}
	switch {
	case w.home:
		request.Template = homeTemplate
	case w.roams:
		request.Template = roamingTemplate
	}
	if w.disk != "" {
		request.Labels = models.Selector{{Key: "disk", Operator: models.LabelIn, Values: []string{w.disk}}}
	}
	return request
}

// amount is what the session takes.
func (w wish) amount() models.Amount {
	return w.reserves.Plus(models.Amount{Sessions: 1})
}

// suits tells whether an agent with these traits will do.
func (w wish) suits(t traits) bool {
	return (w.region == "" || w.region == t.region) && (w.disk == "" || w.disk == t.labels["disk"])
}

// patience is how long the session waits for an agent.
func (w wish) patience() time.Duration {
	if w.wait != nil {
		return *w.wait
	}
	return waitFor
}
