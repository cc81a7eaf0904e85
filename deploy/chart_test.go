package deploy_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint/rules"
	"helm.sh/helm/v3/pkg/lint/support"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	rbac "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
)

const chartDir = "helm/streamspace"

// namespace is where the chart is installed, as a release called demo.
const namespace = "streamspace"

// values are of the chart, as a user's file has them.
type values map[string]any

// withAgent is the least that an agent needs.
func withAgent() values {
	return values{"agent": map[string]any{"enabled": true, "keySecret": map[string]any{"name": "agent-key"}}}
}

// withPostgres has the database elsewhere.
func withPostgres(replicas int) values {
	return values{"server": map[string]any{"replicas": replicas, "database": map[string]any{"existingSecret": "database"}}}
}

// render gives the chart's manifests, by their file.
func render(of values) (map[string]string, error) {
	chart, err := loader.Load(chartDir)
	if err != nil {
		return nil, err
	}
	given, err := chartutil.ToRenderValues(chart, chartutil.Values(of),
		chartutil.ReleaseOptions{Name: "demo", Namespace: namespace, Revision: 1, IsInstall: true}, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	return engine.Render(chart, given)
}

// objects are the chart's, read strictly: a field that Kubernetes does not know
// is a mistake.
func objects(t *testing.T, of values) []runtime.Object {
	t.Helper()
	files, err := render(of)
	if err != nil {
		t.Fatal(err)
	}
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	var all []runtime.Object
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
			if err != nil {
				t.Fatal(err)
			}
			if strings.TrimSpace(string(document)) == "" {
				continue
			}
			object, _, err := decoder.Decode(document, nil, nil)
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, document)
			}
			all = append(all, object)
		}
	}
	return all
}

// find gives the objects of a kind.
func find[T runtime.Object](all []runtime.Object) (found []T) {
	for _, object := range all {
		if one, is := object.(T); is {
			found = append(found, one)
		}
	}
	return found
}

func kindsOf(all []runtime.Object) map[string]int {
	counts := map[string]int{}
	for _, object := range all {
		kind := object.GetObjectKind().GroupVersionKind()
		counts[schema.GroupKind{Group: kind.Group, Kind: kind.Kind}.Kind]++
	}
	return counts
}

func TestTheChartIsWellFormed(t *testing.T) {
	linter := support.Linter{ChartDir: chartDir}
	rules.Chartfile(&linter)
	rules.ValuesWithOverrides(&linter, nil)
	rules.TemplatesWithSkipSchemaValidation(&linter, nil, namespace, nil, false)
	for _, message := range linter.Messages {
		if message.Severity > support.InfoSev {
			t.Error(message)
		}
	}
}

func TestWhatTheChartHas(t *testing.T) {
	for name, test := range map[string]struct {
		of   values
		want map[string]int
	}{
		"as it comes": {nil, map[string]int{"ServiceAccount": 1, "Service": 1, "PersistentVolumeClaim": 1, "Deployment": 1, "PodDisruptionBudget": 1, "NetworkPolicy": 1}},
		"with an agent": {withAgent(), map[string]int{"ServiceAccount": 2, "Service": 1, "PersistentVolumeClaim": 1, "Deployment": 2,
			"PodDisruptionBudget": 2, "NetworkPolicy": 3, "Role": 1, "RoleBinding": 1}},
		"with PostgreSQL": {withPostgres(3), map[string]int{"ServiceAccount": 1, "Service": 1, "Deployment": 1, "PodDisruptionBudget": 1, "NetworkPolicy": 1}},
		"with an ingress and templates": {values{"server": map[string]any{"publicUrl": "https://streamspace.example.org", "sessionHostPattern": "*.sessions.example.org",
			"ingress": map[string]any{"enabled": true, "tlsSecret": "tls"}, "templates": map[string]any{"a.yaml": "kind: Template"}}},
			map[string]int{"ServiceAccount": 1, "Service": 1, "PersistentVolumeClaim": 1, "Deployment": 1, "PodDisruptionBudget": 1, "NetworkPolicy": 1, "Ingress": 1, "ConfigMap": 1}},
	} {
		all := objects(t, test.of)
		if got := kindsOf(all); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: there are %v, want %v", name, got, test.want)
		}
		for _, ingress := range find[*networking.Ingress](all) {
			if hosts := ingress.Spec.TLS[0].Hosts; !slices.Equal(hosts, []string{"streamspace.example.org", "*.sessions.example.org"}) || len(ingress.Spec.Rules) != 2 {
				t.Errorf("%s: the hosts are %v", name, hosts)
			}
		}
	}
}

// Every container keeps to the restricted standard of pod security, and secrets
// are in no manifest.
func TestPodsAreRestricted(t *testing.T) {
	all := append(objects(t, withAgent()), objects(t, withPostgres(2))...)
	deployments := find[*apps.Deployment](all)
	if len(deployments) != 3 {
		t.Fatalf("there are %d deployments", len(deployments))
	}
	for _, one := range deployments {
		spec := one.Spec.Template.Spec
		if pod := spec.SecurityContext; !*pod.RunAsNonRoot || *pod.RunAsUser == 0 || pod.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault {
			t.Errorf("%s: %+v", one.Name, pod)
		}
		for _, container := range spec.Containers {
			if c := container.SecurityContext; *c.AllowPrivilegeEscalation || !*c.ReadOnlyRootFilesystem || !slices.Equal(c.Capabilities.Drop, []core.Capability{"ALL"}) || len(c.Capabilities.Add) > 0 {
				t.Errorf("%s: %+v", one.Name, c)
			}
			for _, variable := range container.Env {
				if strings.Contains(variable.Value, "postgres://") {
					t.Errorf("%s has the database's password in a variable", one.Name)
				}
			}
		}
		for key, value := range one.Spec.Selector.MatchLabels {
			if one.Spec.Template.Labels[key] != value {
				t.Errorf("%s does not select its own pods", one.Name)
			}
		}
	}
}

func TestTheServersPods(t *testing.T) {
	for _, one := range find[*apps.Deployment](objects(t, withPostgres(3))) {
		container := one.Spec.Template.Spec.Containers[0]
		if *one.Spec.Replicas != 3 || one.Spec.Strategy.Type != apps.RollingUpdateDeploymentStrategyType {
			t.Errorf("the deployment is %+v", one.Spec)
		}
		for name, probe := range map[string]*core.Probe{"/readyz": container.ReadinessProbe, "/healthz": container.LivenessProbe} {
			if probe == nil || probe.HTTPGet.Path != name {
				t.Errorf("the probe of %s is %+v", name, probe)
			}
		}
		if container.StartupProbe == nil || container.StartupProbe.HTTPGet.Path != "/readyz" {
			t.Errorf("the startup probe is %+v", container.StartupProbe)
		}
		from := ""
		for _, variable := range container.Env {
			if variable.Name == "STREAMSPACE_DATABASE" {
				from = variable.ValueFrom.SecretKeyRef.Name
			}
		}
		if from != "database" {
			t.Errorf("the database's URL is from %q", from)
		}
	}
	for _, one := range find[*apps.Deployment](objects(t, nil)) {
		if one.Spec.Strategy.Type != apps.RecreateDeploymentStrategyType {
			t.Error("two pods would have one SQLite file")
		}
	}
	for _, budget := range find[*policy.PodDisruptionBudget](objects(t, withAgent())) {
		if budget.Spec.MaxUnavailable.IntValue() != 1 {
			t.Errorf("the budget of %s is %+v", budget.Name, budget.Spec)
		}
	}
}

// The agent may do in its sessions' namespace what it needs, and nothing in any
// other, nor in the cluster as a whole.
func TestTheAgentsRights(t *testing.T) {
	of := withAgent()
	of["agent"].(map[string]any)["sessionsNamespace"] = "sessions"
	all := objects(t, of)
	roles, bindings := find[*rbac.Role](all), find[*rbac.RoleBinding](all)
	if len(roles) != 1 || len(bindings) != 1 || roles[0].Namespace != "sessions" || bindings[0].Namespace != "sessions" || bindings[0].RoleRef.Name != roles[0].Name {
		t.Fatalf("the roles are %+v, the bindings %+v", roles, bindings)
	}
	accounts := find[*core.ServiceAccount](all)
	subject := bindings[0].Subjects[0]
	if !slices.ContainsFunc(accounts, func(account *core.ServiceAccount) bool { return account.Name == subject.Name }) || subject.Namespace != namespace {
		t.Errorf("the rights are those of %+v", subject)
	}
	if len(find[*rbac.ClusterRole](all))+len(find[*rbac.ClusterRoleBinding](all)) > 0 {
		t.Error("the agent has rights in the cluster as a whole")
	}
	for _, rule := range roles[0].Rules {
		if slices.Contains(rule.Verbs, "*") || slices.Contains(rule.Resources, "*") || slices.Contains(rule.Resources, "secrets") {
			t.Errorf("the agent may do %+v", rule)
		}
	}
	for _, one := range find[*apps.Deployment](all) {
		if arguments := one.Spec.Template.Spec.Containers[0].Args; arguments[0] == "agent" {
			for _, want := range []string{"--platform=kubernetes", "--namespace=sessions", "--server=http://demo-streamspace.streamspace.svc:80", "--id=kubernetes", "--replica=$(POD_NAME)"} {
				if !slices.Contains(arguments, want) {
					t.Errorf("the agent's arguments are %v, without %s", arguments, want)
				}
			}
		}
	}
	for _, one := range find[*networking.NetworkPolicy](all) {
		if strings.HasSuffix(one.Name, "-sessions") && (one.Namespace != "sessions" || one.Spec.PodSelector.MatchExpressions[0].Key != "streamspace.io/session" || len(one.Spec.Ingress) != 1) {
			t.Errorf("the sessions' policy is %+v", one.Spec)
		}
	}
}

// What cannot work is refused, with what to do.
func TestValuesAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		of   values
		want string
	}{
		"replicas of SQLite":         {values{"server": map[string]any{"replicas": 2}}, "needs PostgreSQL"},
		"no replica":                 {values{"server": map[string]any{"replicas": 0}}, "replicas"},
		"an agent without a key":     {values{"agent": map[string]any{"enabled": true}}, "agent.keySecret.name is missing"},
		"a value that is not known":  {values{"server": map[string]any{"replica": 2}}, "replica"},
		"no address":                 {values{"server": map[string]any{"publicUrl": "streamspace.example.org"}}, "publicUrl"},
		"an ingress for nobody":      {values{"server": map[string]any{"ingress": map[string]any{"enabled": true}}}, "needs server.publicUrl"},
		"a template that is no file": {values{"server": map[string]any{"templates": map[string]any{"a": "x"}}}, "ya?ml"},
	} {
		if _, err := render(test.of); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

// The chart's rights are those that the Kubernetes driver's tests run with.
func TestTheChartHasTheTestedRights(t *testing.T) {
	manifest, err := os.ReadFile("kubernetes/agent-rbac.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var tested []*rbac.Role
	documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(manifest)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		object, _, err := serializer.NewCodecFactory(scheme.Scheme).UniversalDeserializer().Decode(document, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if role, is := object.(*rbac.Role); is {
			tested = append(tested, role)
		}
	}
	roles := find[*rbac.Role](objects(t, withAgent()))
	if len(tested) != 1 || len(roles) != 1 || !reflect.DeepEqual(roles[0].Rules, tested[0].Rules) {
		t.Errorf("the chart's rules are %+v, and those of kubernetes/agent-rbac.yaml %+v", roles, tested)
	}
}
