package kubernetes

import (
	"context"
	"fmt"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
)

// homeOf names the claim that is the persistent home of a user and template.
func (d *Driver) homeOf(spec driver.Spec) string {
	return name("home", d.config.AgentID, spec.User, spec.Template.Metadata.Name)
}

// haveHome makes the claim of a persistent home, if it is not there.
func (d *Driver) haveHome(ctx context.Context, spec driver.Spec) error {
	claims := d.api.CoreV1().PersistentVolumeClaims(d.config.Namespace)
	_, err := claims.Get(ctx, d.homeOf(spec), meta.GetOptions{})
	if err == nil || !apierrors.IsNotFound(err) {
		return refused("look at a home", err)
	}
	size := d.config.HomeSize
	if wishes := spec.Template.Spec.Kubernetes; wishes != nil && wishes.HomeSize != "" {
		size = wishes.HomeSize
	}
	quantity, err := resource.ParseQuantity(size)
	if err != nil {
		return models.Errorf(models.CodeTemplateInvalid, "the size of the home, %q, is no amount of bytes: %v", size, err)
	}
	claim := &core.PersistentVolumeClaim{
		ObjectMeta: meta.ObjectMeta{Name: d.homeOf(spec),
			Labels: map[string]string{labelAgent: value(d.config.AgentID), labelUser: value(spec.User), labelTemplate: value(spec.Template.Metadata.Name),
				labelKind: "home", labelPart: "streamspace"},
			Annotations: map[string]string{labelAgent: d.config.AgentID, labelUser: spec.User}},
		Spec: core.PersistentVolumeClaimSpec{
			AccessModes: []core.PersistentVolumeAccessMode{core.ReadWriteOnce},
			Resources:   core.VolumeResourceRequirements{Requests: core.ResourceList{core.ResourceStorage: quantity}},
		},
	}
	if d.config.StorageClass != "" {
		claim.Spec.StorageClassName = &d.config.StorageClass
	}
	if _, err = claims.Create(ctx, claim, meta.CreateOptions{}); apierrors.IsAlreadyExists(err) {
		return nil
	}
	return refused("make a home", err)
}

// ownsHome makes certain that no other session has the home of a pod that waits
// to be let run. Of two that wait at once each sees the other.
func (d *Driver) ownsHome(ctx context.Context, pod *core.Pod) error {
	home := pod.Labels[labelHome]
	if home == "" {
		return nil
	}
	others, err := d.api.CoreV1().Pods(d.config.Namespace).List(ctx, meta.ListOptions{LabelSelector: fmt.Sprintf("%s,%s=%s", d.mine(), labelHome, home)})
	if err != nil {
		return refused("list pods", err)
	}
	for i := range others.Items {
		if other := &others.Items[i]; other.Labels[labelSession] != pod.Labels[labelSession] && !ended(other) {
			return &models.Error{Code: models.CodeUnavailable, Retryable: true,
				Message: "the persistent home of this user and template is in use by session " + other.Annotations[labelSession] + "; stop that one first"}
		}
	}
	return nil
}
