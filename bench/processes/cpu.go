package processes

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// tick is the unit of processor times in /proc: Linux's USER_HZ is 100 on
// every machine that Go runs on.
const tick = 10 * time.Millisecond

// CPU is the processor time, user and system, that the process and its group
// have taken so far, those that ended and were waited for included.
func (p *Process) CPU() (time.Duration, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, fmt.Errorf("processor time of %s: %w", p.name, err)
	}
	var total time.Duration
	members := 0
	for _, path := range stats {
		content, err := os.ReadFile(path)
		if err != nil {
			continue // it ended meanwhile
		}
		group, taken, err := parseStat(content)
		if err != nil {
			return 0, fmt.Errorf("processor time of %s: %s: %w", p.name, path, err)
		}
		if group == p.PID() {
			members++
			total += taken
		}
	}
	if members == 0 {
		return 0, fmt.Errorf("processor time of %s: it has ended:\n%s", p.name, p.Log())
	}
	return total, nil
}

// parseStat reads the process group and the four processor times of a
// /proc/PID/stat (proc_pid_stat(5)). The second field is a name in parentheses
// that may hold anything, so counting begins behind the last one.
func parseStat(content []byte) (group int, taken time.Duration, err error) {
	const (
		groupField = 2 // counted behind the name
		timeField  = 11
		timeFields = 4
	)
	fields := bytes.Fields(content[bytes.LastIndexByte(content, ')')+1:])
	if len(fields) < timeField+timeFields {
		return 0, 0, fmt.Errorf("%d fields are too few", len(fields))
	}
	if group, err = strconv.Atoi(string(fields[groupField])); err != nil {
		return 0, 0, fmt.Errorf("process group: %w", err)
	}
	for _, field := range fields[timeField : timeField+timeFields] {
		ticks, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("processor time: %w", err)
		}
		taken += time.Duration(ticks) * tick
	}
	return group, taken, nil
}
