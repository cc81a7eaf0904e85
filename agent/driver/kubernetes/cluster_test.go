package kubernetes_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/streamspace/streamspace/test/kube"
	"github.com/streamspace/streamspace/test/program"
)

// The images of the tests besides: a VNC server that only greets, and one of
// pages.
const (
	screenImage = "streamspace.test/screen:1"
	pagesImage  = "streamspace.test/pages:1"
)

// TestMain stops the cluster that a test has started.
func TestMain(m *testing.M) {
	status := program.Main(m)
	if started, err := theCluster(); err == nil {
		if err := started.Stop(); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, "stop the cluster:", err)
			status = 1
		}
	}
	os.Exit(status)
}

// theCluster starts the cluster when it is first asked for.
var theCluster = sync.OnceValues(func() (_ *kube.Cluster, err error) {
	cluster, err := kube.Start()
	if err != nil {
		return nil, err
	}
	for image, source := range map[string]string{screenImage: "./testdata/rfb", pagesImage: "../../../test/webapp/serve"} {
		server, err := kube.Program(source)
		if err == nil {
			err = cluster.Import(kube.Image{Name: image, Files: map[string][]byte{"server": server}, Command: []string{"/server"}})
		}
		if err != nil {
			_ = cluster.Stop()
			return nil, err
		}
	}
	return cluster, nil
})

// place is a namespace that enforces the restricted standard, with an agent's
// rights in it and nothing more.
type place struct {
	*kube.Cluster
	namespace  string
	kubeconfig string
}

func newPlace(t *testing.T, name string) place {
	t.Helper()
	cluster := kube.Need(t, theCluster)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := cluster.Admin.CoreV1().Namespaces().Create(ctx, &core.Namespace{ObjectMeta: meta.ObjectMeta{
		Name: name, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// Kubernetes makes it a moment after the namespace, and refuses pods before.
	program.Eventually(t, "the namespace has its service account", time.Minute, func() error {
		_, err := cluster.Admin.CoreV1().ServiceAccounts(name).Get(ctx, "default", meta.GetOptions{})
		return err
	})
	manifest, err := os.Open("../../../deploy/kubernetes/agent-rbac.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = manifest.Close() }()
	documents := yaml.NewDocumentDecoder(manifest)
	defer func() { _ = documents.Close() }()
	account := ""
	for buffer := make([]byte, 64<<10); ; {
		n, err := documents.Read(buffer)
		if err != nil {
			break // there are no more
		}
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode(buffer[:n], nil, nil)
		if err == nil {
			err = apply(ctx, cluster, name, object)
		}
		if err != nil {
			t.Fatal(err)
		}
		if made, is := object.(*core.ServiceAccount); is {
			account = made.Name
		}
	}
	hours := int64(12 * 60 * 60)
	token, err := cluster.Admin.CoreV1().ServiceAccounts(name).CreateToken(ctx, account,
		&authentication.TokenRequest{Spec: authentication.TokenRequestSpec{ExpirationSeconds: &hours}}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, []byte(cluster.KubeconfigFor(token.Status.Token)), 0o600); err != nil {
		t.Fatal(err)
	}
	return place{Cluster: cluster, namespace: name, kubeconfig: kubeconfig}
}

func apply(ctx context.Context, cluster *kube.Cluster, namespace string, object runtime.Object) error {
	var err error
	switch object := object.(type) {
	case *core.ServiceAccount:
		_, err = cluster.Admin.CoreV1().ServiceAccounts(namespace).Create(ctx, object, meta.CreateOptions{})
	case *rbac.Role:
		_, err = cluster.Admin.RbacV1().Roles(namespace).Create(ctx, object, meta.CreateOptions{})
	case *rbac.RoleBinding:
		for i := range object.Subjects {
			object.Subjects[i].Namespace = namespace // as kubectl does
		}
		_, err = cluster.Admin.RbacV1().RoleBindings(namespace).Create(ctx, object, meta.CreateOptions{})
	default:
		err = fmt.Errorf("the manifest has a %T", object)
	}
	return err
}
