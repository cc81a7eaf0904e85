package kubernetes

import (
	"context"
	"strconv"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/streamspace/streamspace/models"
)

// record is what is certain about a session, whoever asks. Every change of it is
// made on what was read before, or not at all.
type record struct {
	sessionID string
	// running is the newest generation that was let run, over the newest one that
	// is not to run any more. Generation 0, of the basic protocol, is in neither.
	running, over int64
	// reason is how the session ended in generation over, if nobody stopped it.
	reason string
	// object is nil when there is no record yet.
	object *core.ConfigMap
}

// The keys of a record.
const (
	keyRunning = "running"
	keyOver    = "over"
	keyReason  = "reason"
	keyChanged = "changed"
)

// admits tells why a generation may not run.
func (r record) admits(generation int64) error {
	switch {
	case generation == 0:
	case r.over == generation && r.reason != "":
		return models.Errorf(models.CodeRuntimeExited, "%s", r.reason)
	case r.over >= generation:
		return models.Errorf(models.CodeTransitionIllegal, "session %q was stopped in generation %d", r.sessionID, r.over)
	case r.running > generation:
		return models.Errorf(models.CodeTransitionIllegal, "session %q runs in the later generation %d", r.sessionID, r.running)
	}
	return nil
}

// owner refers to a record from what goes with it.
func (r record) owner() []meta.OwnerReference {
	return []meta.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: r.object.Name, UID: r.object.UID}}
}

func (d *Driver) recordName(sessionID string) string { return name("s", d.config.AgentID, sessionID) }

// read gives a session's record as it is now.
func (d *Driver) read(ctx context.Context, sessionID string) (record, error) {
	object, err := d.api.CoreV1().ConfigMaps(d.config.Namespace).Get(ctx, d.recordName(sessionID), meta.GetOptions{})
	if apierrors.IsNotFound(err) {
		return record{sessionID: sessionID}, nil
	}
	if err != nil {
		return record{}, refused("read a session's record", err)
	}
	return recordOf(object), nil
}

func recordOf(object *core.ConfigMap) record {
	r := record{sessionID: object.Annotations[labelSession], reason: object.Data[keyReason], object: object}
	r.running, _ = strconv.ParseInt(object.Data[keyRunning], 10, 64) // this driver has written both
	r.over, _ = strconv.ParseInt(object.Data[keyOver], 10, 64)
	return r
}

// note changes a session's record, which is made if there is none, unless change
// gives an error. It may be called again when somebody else was faster.
func (d *Driver) note(ctx context.Context, sessionID string, change func(*record) error) (record, error) {
	records := d.api.CoreV1().ConfigMaps(d.config.Namespace)
	for {
		was, err := d.read(ctx, sessionID)
		if err != nil {
			return record{}, err
		}
		now := was
		if err := change(&now); err != nil {
			return was, err
		}
		if was.object != nil && now == was {
			return was, nil
		}
		var written *core.ConfigMap
		if was.object == nil {
			now.object = &core.ConfigMap{ObjectMeta: meta.ObjectMeta{
				Name:        d.recordName(sessionID),
				Labels:      map[string]string{labelAgent: value(d.config.AgentID), labelSession: value(sessionID), labelKind: "session-record", labelPart: "streamspace"},
				Annotations: map[string]string{labelSession: sessionID, labelAgent: d.config.AgentID},
			}, Data: now.data()}
			written, err = records.Create(ctx, now.object, meta.CreateOptions{})
		} else {
			now.object = was.object.DeepCopy()
			now.object.Data = now.data()
			written, err = records.Update(ctx, now.object, meta.UpdateOptions{})
		}
		if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || was.object != nil && apierrors.IsNotFound(err) {
			continue // somebody else was faster
		}
		if err != nil {
			return record{}, refused("write a session's record", err)
		}
		now.object = written
		return now, nil
	}
}

func (r record) data() map[string]string {
	return map[string]string{keyRunning: strconv.FormatInt(r.running, 10), keyOver: strconv.FormatInt(r.over, 10), keyReason: r.reason,
		keyChanged: time.Now().UTC().Format(time.RFC3339)}
}

// sweeps is how often records are looked through in the time that each is kept.
const sweeps = 24

// forgetRecords removes the records of what has been over for long, until the
// driver is closed.
func (d *Driver) forgetRecords() {
	for tick := time.NewTicker(d.config.KeepRecords / sweeps); ; {
		select {
		case <-tick.C:
		case <-d.closing.Done():
			return
		}
		for _, object := range d.records.GetStore().List() {
			found := object.(*core.ConfigMap)
			if r := recordOf(found); r.running > r.over || !old(found, d.config.KeepRecords) {
				continue
			}
			if pods, _ := d.pods.GetIndexer().ByIndex(bySession, found.Labels[labelSession]); len(pods) > 0 {
				continue
			}
			// Unless somebody has changed it since.
			err := d.api.CoreV1().ConfigMaps(d.config.Namespace).Delete(d.closing, found.Name, meta.DeleteOptions{
				Preconditions: &meta.Preconditions{UID: &found.UID, ResourceVersion: &found.ResourceVersion}})
			if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && d.closing.Err() == nil {
				d.config.Logger.Warn("a session's record is removed later", "record", found.Name, "error", err)
			}
		}
	}
}

// old tells that a record was changed longer ago than that.
func old(record *core.ConfigMap, than time.Duration) bool {
	changed, err := time.Parse(time.RFC3339, record.Data[keyChanged])
	return err == nil && time.Since(changed) > than
}
