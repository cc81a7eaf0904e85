package kube

import (
	"context"
	"fmt"
	"os"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// StorageClass is the cluster's default one: each claim gets a directory of the
// node.
const StorageClass = "directories"

// waitForNode returns once pods can run.
func (c *Cluster) waitForNode() error {
	return c.wait("the node is ready", func(ctx context.Context) error {
		node, err := c.Admin.CoreV1().Nodes().Get(ctx, nodeName, meta.GetOptions{})
		if err != nil {
			return err
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type == core.NodeReady && condition.Status == core.ConditionTrue && len(node.Spec.Taints) == 0 {
				_, err := c.Admin.CoreV1().ServiceAccounts("default").Get(ctx, "default", meta.GetOptions{})
				return err
			}
		}
		return fmt.Errorf("it is not: %v", node.Status.Conditions)
	})
}

// provideVolumes makes a volume for each claim, as a provisioner does.
func (c *Cluster) provideVolumes() error {
	ctx, cancel := context.WithCancel(context.Background())
	c.volumes = cancel
	policy, binding := core.PersistentVolumeReclaimRetain, storage.VolumeBindingImmediate
	_, err := c.Admin.StorageV1().StorageClasses().Create(ctx, &storage.StorageClass{
		ObjectMeta:  meta.ObjectMeta{Name: StorageClass, Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}},
		Provisioner: "kubernetes.io/no-provisioner", ReclaimPolicy: &policy, VolumeBindingMode: &binding,
	}, meta.CreateOptions{})
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(c.Admin, 0)
	claims := factory.Core().V1().PersistentVolumeClaims().Informer()
	_, err = claims.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(added any) {
		claim := added.(*core.PersistentVolumeClaim)
		if claim.Spec.StorageClassName != nil && *claim.Spec.StorageClassName == StorageClass && claim.Spec.VolumeName == "" {
			if err := c.provide(ctx, claim); err != nil && ctx.Err() == nil {
				_, _ = fmt.Fprintln(os.Stderr, "provide a volume:", err)
			}
		}
	}})
	if err != nil {
		return err
	}
	c.watching.Go(func() { claims.Run(ctx.Done()) })
	return nil
}

func (c *Cluster) provide(ctx context.Context, claim *core.PersistentVolumeClaim) error {
	name := "directory-" + string(claim.UID)
	dir := c.path("volumes/" + name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	_, err := c.Admin.CoreV1().PersistentVolumes().Create(ctx, Volume(name, dir, claim), meta.CreateOptions{})
	if errors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// Volume describes a directory of the node that a claim gets.
func Volume(name, dir string, claim *core.PersistentVolumeClaim) *core.PersistentVolume {
	return &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: name},
		Spec: core.PersistentVolumeSpec{
			Capacity:    core.ResourceList{core.ResourceStorage: resource.MustParse("1Ti")},
			AccessModes: claim.Spec.AccessModes, StorageClassName: *claim.Spec.StorageClassName,
			PersistentVolumeReclaimPolicy: core.PersistentVolumeReclaimRetain,
			PersistentVolumeSource:        core.PersistentVolumeSource{Local: &core.LocalVolumeSource{Path: dir}},
			ClaimRef:                      &core.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID},
			NodeAffinity: &core.VolumeNodeAffinity{Required: &core.NodeSelector{NodeSelectorTerms: []core.NodeSelectorTerm{{
				MatchExpressions: []core.NodeSelectorRequirement{{Key: "kubernetes.io/hostname", Operator: core.NodeSelectorOpIn, Values: []string{nodeName}}},
			}}}},
		},
	}
}
