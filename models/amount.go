package models

// Unlimited is the limit of what an agent has named no limit for.
const Unlimited = -1

// Amount is what sessions reserve and what agents have. As a limit, each part
// may be Unlimited.
type Amount struct {
	// Sessions counts sessions; one session reserves one.
	Sessions int64 `json:"sessions"`
	// CPU is in thousandths of a core, Memory in bytes.
	CPU    int64 `json:"cpuMilli"`
	Memory int64 `json:"memoryBytes"`
	GPUs   int64 `json:"gpus"`
}

// Plus adds two amounts.
func (a Amount) Plus(b Amount) Amount {
	return Amount{Sessions: a.Sessions + b.Sessions, CPU: a.CPU + b.CPU, Memory: a.Memory + b.Memory, GPUs: a.GPUs + b.GPUs}
}

// Minus subtracts b, which may leave less than nothing.
func (a Amount) Minus(b Amount) Amount {
	return Amount{Sessions: a.Sessions - b.Sessions, CPU: a.CPU - b.CPU, Memory: a.Memory - b.Memory, GPUs: a.GPUs - b.GPUs}
}

// Within tells whether the amount is no more than a limit, in every part.
func (a Amount) Within(limit Amount) bool {
	within := func(amount, limit int64) bool { return limit == Unlimited || amount <= limit }
	return within(a.Sessions, limit.Sessions) && within(a.CPU, limit.CPU) && within(a.Memory, limit.Memory) && within(a.GPUs, limit.GPUs)
}

// Reserves is what a session with these resources takes from its agent. The
// quantities must be valid; what is empty reserves nothing.
func (r Resources) Reserves() Amount {
	amount := Amount{Sessions: 1, GPUs: r.GPUs}
	if r.CPU != "" {
		amount.CPU, _ = ParseCPU(r.CPU)
	}
	if r.Memory != "" {
		amount.Memory, _ = ParseMemory(r.Memory)
	}
	return amount
}

// Fits tells whether the amount is no more than what reserved leaves of a limit,
// in every part.
func (a Amount) Fits(limit, reserved Amount) bool { return a.Within(limit.left(reserved)) }
