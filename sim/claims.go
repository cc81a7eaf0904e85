package sim

import (
	"encoding/json"
	"slices"
	"strconv"

	"github.com/streamspace/streamspace/models"
)

// claim is what an agent may say that it has, and what that means. The judge
// takes the meaning from here and not from the product.
type claim struct {
	said  map[string]any
	means models.Amount
}

const (
	none = models.Unlimited
	gib  = int64(1) << 30
)

// honest is what a machine for so many sessions says, in one of two ways.
func honest(sessions, cores, memory int64, allocatable bool) claim {
	parts := map[string]any{"cpu": cores, "memory": text(memory) + "Gi"}
	said := map[string]any{"maxSessions": sessions, "cpu": 64, "memory": "256Gi", "allocatable": parts}
	if !allocatable {
		said = map[string]any{"maxSessions": sessions, "cpu": text(cores), "memory": text(memory * gib)}
	}
	return claim{said, models.Amount{Sessions: sessions, CPU: cores * 1000, Memory: memory * gib}}
}

func text(number int64) string { return strconv.FormatInt(number, 10) }

// lies are what agents say that is not so, or is nonsense. What cannot be read
// limits nothing.
func lies() []claim {
	return []claim{
		honest(12, 16, 32, true),
		honest(1, 1, 1, true),
		honest(2, 1, 2, false),
		honest(1, 8, 1, false),
		{map[string]any{}, models.Amount{Sessions: none, CPU: none, Memory: none}},
		{map[string]any{"maxSessions": "many", "cpu": "2", "memory": true}, models.Amount{Sessions: none, CPU: 2000, Memory: none}},
		{map[string]any{"maxSessions": -3, "allocatable": map[string]any{"cpu": "1500m"}}, models.Amount{Sessions: none, CPU: 1500, Memory: none}},
		{map[string]any{"maxSessions": 1e300, "cpu": "-1", "memory": "2Gi"}, models.Amount{Sessions: none, CPU: none, Memory: 2 * gib}},
		{map[string]any{"maxSessions": 2, "allocatable": "all of it", "memory": []string{"1Gi"}}, models.Amount{Sessions: 2, CPU: none, Memory: none}},
		{map[string]any{"maxSessions": 3, "cpu": "1", "allocatable": map[string]any{"memory": "1536Mi", "maxSessions": "2"}},
			models.Amount{Sessions: 2, CPU: none, Memory: 3 * gib / 2}},
	}
}

// canonical writes what was said so that the same is written alike.
func canonical(said any) string {
	body, _ := json.Marshal(said) // claims are plain JSON
	var again any
	_ = json.Unmarshal(body, &again)
	body, _ = json.Marshal(again)
	return string(body)
}

// meanings finds what claims mean by their canonical text.
type meanings map[string]models.Amount

func (m meanings) learn(one claim) { m[canonical(one.said)] = one.means }

// of gives what a capacity in the database means.
func (m meanings) of(capacity any) (models.Amount, bool) {
	amount, known := m[canonical(capacity)]
	return amount, known
}

// takes tells whether so much fits besides what is there. What a session wants
// nothing of, there may be too much of already.
func takes(limit, there, wanted models.Amount) bool {
	fits := func(limit, there, wanted int64) bool { return limit == none || wanted == 0 || there+wanted <= limit }
	return fits(limit.Sessions, there.Sessions, wanted.Sessions) && fits(limit.CPU, there.CPU, wanted.CPU) &&
		fits(limit.Memory, there.Memory, wanted.Memory)
}

// traits are what an agent says of itself for selectors.
type traits struct {
	region string
	labels map[string]string
}

func drawTraits(c *chance) traits {
	return traits{region: regions()[c.pick(2)], labels: map[string]string{"disk": disks()[c.pick(2)]}}
}

func regions() []string { return []string{"north", "south"} }
func disks() []string   { return []string{"ssd", "tape"} }

// profile is what a machine's agent says now.
type profile struct {
	claim claim
	traits
}

// say changes what the machine's agent says it has from now on.
func (m *machine) say(one claim) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.profile.claim = one
}

// become changes what the agent says of itself from its next registration on.
func (m *machine) become(t traits) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.profile.traits = t
}

// says is what the machine's agent says now.
func (m *machine) says() profile {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.profile
}

// reword puts what the agent claims into its heartbeat.
func (m *machine) reword(beat frame) frame {
	content, masked := beat.content()
	var message map[string]any
	if !masked || json.Unmarshal(content, &message) != nil {
		return beat
	}
	payload, is := message["payload"].(map[string]any)
	if !is {
		return beat
	}
	payload["capacity"] = m.says().claim.said
	content, err := json.Marshal(message)
	if err != nil {
		return beat
	}
	return beat.with(content)
}

// machine finds a machine by its name, or gives nil.
func (w *world) machine(name string) *machine {
	if i := slices.IndexFunc(w.machines, func(m *machine) bool { return m.name == name }); i >= 0 {
		return w.machines[i]
	}
	return nil
}
