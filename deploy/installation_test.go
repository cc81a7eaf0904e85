package deploy_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/remotecommand"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/streamspace/streamspace/test/kube"
)

// installation is the chart in a real cluster.
type installation struct {
	t       *testing.T
	cluster *kube.Cluster
	access  *rest.Config
	mapper  *restmapper.DeferredDiscoveryRESTMapper
	objects dynamic.Interface
	said    *warnings
}

// warnings are what the API server says besides, such as what breaks a standard
// of pod security.
type warnings struct {
	mu  sync.Mutex
	all []string
}

// HandleWarningHeader implements rest.WarningHandler.
func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, text)
}

func newInstallation(t *testing.T, cluster *kube.Cluster) *installation {
	t.Helper()
	said := &warnings{}
	access := rest.CopyConfig(cluster.AdminConfig)
	access.WarningHandler = said
	objects, err := dynamic.NewForConfig(access)
	if err != nil {
		t.Fatal(err)
	}
	return &installation{t: t, cluster: cluster, access: access, objects: objects, said: said,
		mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(cluster.Admin.Discovery()))}
}

// each calls a function for each object of the chart.
func (i *installation) each(of values, do func(dynamic.ResourceInterface, *unstructured.Unstructured) error) error {
	files, err := render(of)
	if err != nil {
		return err
	}
	for name, content := range files {
		if !strings.HasSuffix(name, ".yaml") {
			continue
		}
		documents := yaml.NewYAMLReader(bufio.NewReader(strings.NewReader(content)))
		for {
			document, err := documents.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			object := &unstructured.Unstructured{}
			if err == nil {
				err = sigsyaml.Unmarshal(document, &object.Object)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if len(object.Object) == 0 {
				continue
			}
			kind := object.GroupVersionKind()
			mapping, err := i.mapper.RESTMapping(kind.GroupKind(), kind.Version)
			if err != nil {
				return err
			}
			where := object.GetNamespace()
			if where == "" {
				where = namespace
			}
			if err := do(i.objects.Resource(mapping.Resource).Namespace(where), object); err != nil {
				return fmt.Errorf("%s %s: %w", kind.Kind, object.GetName(), err)
			}
		}
	}
	return nil
}

// apply has the API server take the chart's objects, without a warning, and keep
// them unless it is a dry run.
func (i *installation) apply(of values, dryRun bool) error {
	options := meta.PatchOptions{FieldManager: "streamspace-test", FieldValidation: meta.FieldValidationStrict}
	if dryRun {
		options.DryRun = []string{meta.DryRunAll}
	}
	err := i.each(of, func(resource dynamic.ResourceInterface, object *unstructured.Unstructured) error {
		body, err := object.MarshalJSON()
		if err != nil {
			return err
		}
		_, err = resource.Patch(i.t.Context(), object.GetName(), types.ApplyPatchType, body, options)
		return err
	})
	i.said.mu.Lock()
	defer i.said.mu.Unlock()
	if err == nil && len(i.said.all) > 0 {
		err = fmt.Errorf("the API server warns: %v", i.said.all)
	}
	return err
}

// remove deletes the chart's objects.
func (i *installation) remove(of values) error {
	return i.each(of, func(resource dynamic.ResourceInterface, object *unstructured.Unstructured) error {
		return resource.Delete(i.t.Context(), object.GetName(), meta.DeleteOptions{})
	})
}

// streamspace runs the command line in the server's pod, as `kubectl exec` does.
func (i *installation) streamspace(arguments ...string) (string, error) {
	pods, err := i.cluster.Admin.CoreV1().Pods(namespace).List(i.t.Context(), meta.ListOptions{LabelSelector: "app.kubernetes.io/component=server"})
	if err != nil || len(pods.Items) != 1 {
		return "", fmt.Errorf("there is not one pod of the server: %d, %w", len(pods.Items), err)
	}
	request := i.cluster.Admin.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pods.Items[0].Name).SubResource("exec").
		VersionedParams(&core.PodExecOptions{Container: "server", Command: append([]string{"/streamspace"}, arguments...), Stdout: true, Stderr: true}, scheme.ParameterCodec)
	executor, err := remotecommand.NewSPDYExecutor(i.access, "POST", request.URL())
	if err != nil {
		return "", err
	}
	var said, errs bytes.Buffer
	if err := executor.StreamWithContext(i.t.Context(), remotecommand.StreamOptions{Stdout: &said, Stderr: &errs}); err != nil {
		return "", fmt.Errorf("streamspace %s: %w: %s", strings.Join(arguments, " "), err, errs.String())
	}
	return strings.TrimSpace(said.String()), nil
}

// available waits for all pods of a deployment.
func (i *installation) available(name string, replicas int32) {
	i.t.Helper()
	eventually(i.t, name+" is available", func() error {
		deployment, err := i.cluster.Admin.AppsV1().Deployments(namespace).Get(i.t.Context(), name, meta.GetOptions{})
		if err != nil {
			return err
		}
		if status := deployment.Status; status.AvailableReplicas != replicas || status.UpdatedReplicas != replicas || status.ObservedGeneration != deployment.Generation {
			return fmt.Errorf("it is %+v; its pods: %s", status, i.describe())
		}
		return nil
	})
}

// describe tells of the chart's pods, with the ends of their logs.
func (i *installation) describe() string {
	var told strings.Builder
	pods, err := i.cluster.Admin.CoreV1().Pods(namespace).List(i.t.Context(), meta.ListOptions{})
	if err != nil {
		return err.Error()
	}
	lines := int64(20)
	for _, pod := range pods.Items {
		log, _ := i.cluster.Admin.CoreV1().Pods(namespace).GetLogs(pod.Name, &core.PodLogOptions{TailLines: &lines}).DoRaw(i.t.Context())
		_, _ = fmt.Fprintf(&told, "%s: %+v\n%s\n", pod.Name, pod.Status, log)
	}
	return told.String()
}

// sessions gives the pods of sessions.
func (i *installation) sessions(ctx context.Context) []core.Pod {
	i.t.Helper()
	list, err := i.cluster.Admin.CoreV1().Pods(sessionsNamespace).List(ctx, meta.ListOptions{LabelSelector: "streamspace.io/session"})
	if err != nil {
		i.t.Fatal(err)
	}
	return list.Items
}
