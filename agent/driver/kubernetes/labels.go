package kubernetes

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	core "k8s.io/api/core/v1"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
)

// The labels of pods, claims and records. What a label cannot hold is in it as a
// hash, and in the annotation of the same name as it is.
const (
	labelAgent      = "streamspace.io/agent"
	labelSession    = "streamspace.io/session"
	labelGeneration = "streamspace.io/generation"
	labelUser       = "streamspace.io/user"
	labelTemplate   = "streamspace.io/template"
	labelProtocol   = "streamspace.io/protocol"
	// labelHome is the claim that is the session's home.
	labelHome = "streamspace.io/home"
	// labelKind tells records from pods for people.
	labelKind = "app.kubernetes.io/component"
	labelPart = "app.kubernetes.io/part-of"
)

// The annotations besides.
const (
	annotationPort = "streamspace.io/port"
	// annotationHealth is the path that answers once a session's pages are ready, and
	// annotationTLS that they speak HTTPS.
	annotationHealth = "streamspace.io/http-health"
	annotationTLS    = "streamspace.io/http-tls"
	annotationMemory = "streamspace.io/memory"
	annotationLimits = "streamspace.io/time-limits"
)

const (
	// slugLength bounds the readable part of names, and plainLength what is put into
	// a label as it is. Both leave room for a hash in the 63 that there are.
	slugLength  = 16
	plainLength = 40
)

// gate keeps a pod from its node until its start is certain to count.
const gate = "streamspace.io/admitted"

var plain = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)

// value is text as a label holds it: different for different texts.
func value(text string) string {
	if len(text) <= plainLength && plain.MatchString(text) {
		return text
	}
	return slug(text) + "x" + hash(text)
}

// name gives what is made for several things a name that no others have.
func name(kind string, things ...string) string {
	return fmt.Sprintf("streamspace-%s-%s-%s", kind, slug(things[len(things)-1]), hash(things...))
}

func slug(text string) string {
	kept := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, text)
	return kept[:min(len(kept), slugLength)]
}

func hash(things ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(things, "\x00")))
	return hex.EncodeToString(sum[:8])
}

// podName names a runtime after its session and generation.
func (d *Driver) podName(ref driver.Ref) string {
	return fmt.Sprintf("%s-%d", name("s", d.config.AgentID, ref.SessionID), ref.Generation)
}

// mine selects what is this agent's.
func (d *Driver) mine() string { return labelAgent + "=" + value(d.config.AgentID) }

// refOf reads which runtime a pod is.
func refOf(pod *core.Pod) driver.Ref {
	generation, _ := strconv.ParseInt(pod.Labels[labelGeneration], 10, 64) // this driver has written it
	return driver.Ref{SessionID: pod.Annotations[labelSession], Generation: generation}
}

func limitsOf(pod *core.Pod) (limits models.TimeLimits) {
	_ = json.Unmarshal([]byte(pod.Annotations[annotationLimits]), &limits) // likewise
	return limits
}
