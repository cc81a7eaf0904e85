package catalog_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/streamspace/streamspace/internal/catalog"
	"github.com/streamspace/streamspace/models"
)

// good is a template without a mistake.
const good = `apiVersion: streamspace.io/v1
kind: Template
metadata:
  name: editor
spec:
  displayName: Editor
  protocol: terminal
  platforms: [process]
  process:
    command: [vi]
`

// write makes a directory with files.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func named(name string) string { return strings.Replace(good, "editor", name, 1) }

func namesOf(templates []models.Template) []string {
	names := []string{}
	for _, template := range templates {
		names = append(names, template.Metadata.Name)
	}
	return names
}

func TestBuiltin(t *testing.T) {
	templates, err := catalog.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	protocols := map[string]models.Protocol{}
	for _, template := range templates {
		if template.Spec.Process == nil {
			continue
		}
		protocols[template.Metadata.Name] = template.Spec.Protocol
		for _, need := range template.Spec.Process.Needs {
			if !strings.HasPrefix(need.Install, "apt-get install ") {
				t.Errorf("%s does not say how to install %s", template.Metadata.Name, need.Command)
			}
		}
		if template.Spec.DefaultResources.CPU == "" || template.Spec.DefaultResources.Memory == "" {
			t.Errorf("%s has no limits", template.Metadata.Name)
		}
		// It is part of every start command.
		if encoded, err := json.Marshal(template); err != nil || len(encoded) > 8<<10 {
			t.Errorf("%s is %d bytes long, %v", template.Metadata.Name, len(encoded), err)
		}
	}
	want := map[string]models.Protocol{
		"desktop": models.ProtocolVNC, "browser": models.ProtocolVNC, "terminal": models.ProtocolTerminal,
	}
	if !reflect.DeepEqual(protocols, want) {
		t.Errorf("the built-in templates are %v, want %v", protocols, want)
	}
}

// Templates of images say all that an agent has to know of each.
func TestBuiltinImages(t *testing.T) {
	templates, err := catalog.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, template := range templates {
		name, spec := template.Metadata.Name, template.Spec
		if spec.Process != nil {
			continue
		}
		names[name] = true
		if !reflect.DeepEqual(spec.Platforms, []string{models.PlatformDocker, models.PlatformKubernetes}) {
			t.Errorf("%s runs on %v", name, spec.Platforms)
		}
		registry, _, _ := strings.Cut(spec.BaseImage, "/")
		if tag := spec.BaseImage[strings.LastIndex(spec.BaseImage, "/"):]; !strings.Contains(registry, ".") || !strings.Contains(tag, ":") {
			t.Errorf("%s has the image %s; name its registry and a tag", name, spec.BaseImage)
		}
		port := spec.VNC.Port
		if spec.HTTP != nil {
			port = spec.HTTP.Port
			if spec.HTTP.TLS != (port == 6901) || (spec.HTTP.Password == "") == spec.HTTP.TLS {
				t.Errorf("%s serves on %d as %+v", name, port, spec.HTTP)
			}
		}
		if port == 0 || spec.Container == nil || spec.Container.Home == "" || spec.Container.ShmSize == "" {
			t.Errorf("%s lacks a port, a home or the size of its shared memory: %+v", name, spec)
		}
		if spec.DefaultResources.CPU == "" || spec.DefaultResources.Memory == "" || spec.Icon == "" || spec.Description == "" {
			t.Errorf("%s has no limits, icon or description", name)
		}
		for _, variable := range spec.Env {
			if variable.Name == "PUID" && (spec.Container.Home != "/config" || spec.Kubernetes == nil || !spec.Kubernetes.RunAsRoot) {
				t.Errorf("images of LinuxServer keep homes in /config, and begin as root; %s is %+v", name, spec)
			}
		}
	}
	for _, name := range []string{"webtop", "firefox", "chromium", "kasm-desktop", "kasm-firefox", "kasm-chrome", "code-server", "code-server-linuxserver", "jupyter", "vnc-desktop"} {
		if !names[name] {
			t.Errorf("there is no template %s", name)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := write(t, map[string]string{
		"a.yaml":        good,
		"b.yml":         "# two in one file, and nothing between them\n" + named("one") + "---\n---\n" + named("two"),
		"wrong.yaml":    named("right") + "--- # and now\nkind: [",
		"half.yaml":     named("three") + "---\n" + named("Four"),
		"empty.yaml":    "# later\n",
		"notes.txt":     "not a template",
		".hidden.yaml":  named("hidden"),
		"z-second.yaml": "---\n" + good,
	})
	if err := os.Mkdir(filepath.Join(dir, "folder.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "large.yaml"), make([]byte, 256<<10+1), 0o600); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(t.TempDir(), "target")
	if err := os.WriteFile(target, []byte(named("linked")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, filepath.Join(dir, "link.yaml")); err != nil {
		t.Fatal(err)
	}

	templates, problems := catalog.Load(dir)
	if got, want := namesOf(templates), []string{"editor", "one", "two", "three", "linked", "right"}; !reflect.DeepEqual(got, want) {
		t.Errorf("the templates are %v, want %v", got, want)
	}
	for _, want := range []string{
		filepath.Join(dir, "empty.yaml") + " holds no template",
		filepath.Join(dir, "folder.yaml") + " is not a file",
		filepath.Join(dir, "half.yaml") + ": template Four: line 15: metadata.name must be",
		filepath.Join(dir, "large.yaml") + " has more than 256 KiB",
		filepath.Join(dir, "wrong.yaml") + ": line 12: not YAML",
		filepath.Join(dir, "z-second.yaml") + `:2: there is a template "editor" in ` + filepath.Join(dir, "a.yaml") + ":1 already",
	} {
		if count := mention(problems, want); count != 1 {
			t.Errorf("%d problems say %q", count, want)
		}
	}
	if len(problems) != 6 {
		t.Errorf("there are %d problems: %v", len(problems), problems)
	}
}

func mention(problems []error, text string) int {
	count := 0
	for _, problem := range problems {
		if strings.HasPrefix(problem.Error(), text) {
			count++
		}
	}
	return count
}

func TestLoadWithoutADirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "absent")
	templates, problems := catalog.Load(dir)
	if len(templates) != 0 || len(problems) != 1 || !strings.Contains(problems[0].Error(), dir) {
		t.Errorf("Load gives %v, %v", templates, problems)
	}
}

// whole has every field.
const whole = `
apiVersion: "streamspace.io/v1"
kind: 'Template'
metadata: {name: whole}
spec:
  displayName: >-
    Everything
    there is
  description: It's all here
  icon: app
  protocol: vnc
  platforms:
    - process
    - docker
  baseImage: registry.example.org/whole:1
  defaultResources: {cpu: 2, memory: 512Mi, gpus: 1}
  ports:
    - {name: web, containerPort: 8080, protocol: TCP}
  env:
    - {name: ONE, value: 1}
    - name: YES
      value: true
    - {name: NOTHING, value: }
    - {name: RATIO, value: 1.50}
  vnc: {enabled: true, port: 5900, protocol: rfb}
  persistentHome: true
  idleTimeout: 30m
  maxDuration: 8h
  onLimit: hibernate
  onLost: recreate
  container:
    command: [desk, --full]
    home: /config
    shmSize: 1Gi
    readOnlyRoot: true
    pullPolicy: always
  kubernetes:
    nodeSelector: {disk: ssd}
    tolerations: [{key: gpu, operator: Equal, value: "yes", effect: NoSchedule}]
    runtimeClassName: gvisor
    imagePullSecrets: [registry]
    gpuResource: amd.com/gpu
    homeSize: 20Gi
    runAsUser: 1001
  process:
    geometry: 1024x768
    needs:
      - {command: xterm, install: apt-get install xterm}
    command:
      - sh
      - -c
      - |
        echo one
        echo two
`

// A key of every field is read, whichever way YAML lets one write it.
func TestEveryFieldIsRead(t *testing.T) {
	dir := write(t, map[string]string{"whole.yaml": whole})
	templates, problems := catalog.Load(dir)
	if len(problems) != 0 || len(templates) != 1 {
		t.Fatalf("Load gives %v, %v", templates, problems)
	}
	want := models.Template{
		APIVersion: "streamspace.io/v1", Kind: "Template", Metadata: models.TemplateMetadata{Name: "whole"},
		Spec: models.TemplateSpec{
			DisplayName: "Everything there is", Description: "It's all here", Icon: "app", Protocol: models.ProtocolVNC,
			Platforms: []string{"process", "docker"}, BaseImage: "registry.example.org/whole:1",
			DefaultResources: models.Resources{CPU: "2", Memory: "512Mi", GPUs: 1},
			Ports:            []models.Port{{Name: "web", ContainerPort: 8080, Protocol: "TCP"}},
			Env:              []models.EnvVar{{Name: "ONE", Value: "1"}, {Name: "YES", Value: "true"}, {Name: "NOTHING"}, {Name: "RATIO", Value: "1.50"}},
			VNC:              models.VNC{Enabled: true, Port: 5900, Protocol: "rfb"}, PersistentHome: true,
			IdleTimeout: "30m", MaxDuration: "8h", OnLimit: models.OnLimitHibernate, OnLost: models.OnLostRecreate,
			Container: &models.ContainerSpec{Command: []string{"desk", "--full"}, Home: "/config", ShmSize: "1Gi", ReadOnlyRoot: true, PullPolicy: models.PullAlways},
			Kubernetes: &models.KubernetesSpec{NodeSelector: map[string]string{"disk": "ssd"},
				Tolerations:      []models.Toleration{{Key: "gpu", Operator: "Equal", Value: "yes", Effect: "NoSchedule"}},
				RuntimeClassName: "gvisor", ImagePullSecrets: []string{"registry"}, GPUResource: "amd.com/gpu", HomeSize: "20Gi", RunAsUser: 1001},
			Process: &models.ProcessSpec{
				Geometry: "1024x768", Command: []string{"sh", "-c", "echo one\necho two\n"},
				Needs: []models.Need{
					{Command: "xterm", Install: "apt-get install xterm"},
					{Command: "Xvnc", Install: "apt-get install tigervnc-standalone-server"}, // by itself
				},
			},
		},
	}
	if !reflect.DeepEqual(templates[0], want) {
		t.Errorf("read    %+v\nwritten %+v", templates[0], want)
	}
	templates[0].Spec.Kubernetes.RunAsRoot = readRoot(t) // which nothing with a user of its own has
	templates[0].Spec.HTTP = readHTTP(t)                 // which no template with a screen has
	if empty := emptyFields(reflect.ValueOf(templates[0]), ""); len(empty) > 0 {
		t.Errorf("this test leaves out %v", empty)
	}
}

// readRoot reads a template whose pods begin as root.
func readRoot(t *testing.T) bool {
	t.Helper()
	templates, problems := catalog.Load(write(t, map[string]string{"root.yaml": good + "  kubernetes: {runAsRoot: true}\n"}))
	if len(problems) != 0 || len(templates) != 1 {
		t.Fatalf("Load gives %v, %v", templates, problems)
	}
	return templates[0].Spec.Kubernetes.RunAsRoot
}

// readHTTP reads a template that serves pages, with a key of every field of that.
func readHTTP(t *testing.T) *models.HTTP {
	t.Helper()
	dir := write(t, map[string]string{"pages.yaml": strings.Replace(good, "terminal", "http", 1) + `
  env: [{name: USERNAME, value: kasm_user}, {name: VNC_PW, value: secret}]
  http: {port: 6901, tls: true, path: /lab?reset, healthPath: /health, username: $(USERNAME), password: "$(VNC_PW)!", prefixEnv: SUBFOLDER}
`})
	templates, problems := catalog.Load(dir)
	if len(problems) != 0 || len(templates) != 1 {
		t.Fatalf("Load gives %v, %v", templates, problems)
	}
	want := models.HTTP{Port: 6901, TLS: true, Path: "/lab?reset", HealthPath: "/health", Username: "$(USERNAME)", Password: "$(VNC_PW)!", PrefixEnv: "SUBFOLDER"}
	if got := templates[0].Spec.HTTP; *got != want {
		t.Errorf("read    %+v\nwritten %+v", *got, want)
	}
	return templates[0].Spec.HTTP
}

// emptyFields names the fields without a value, so that a new field cannot be
// forgotten above.
func emptyFields(value reflect.Value, path string) []string {
	switch value.Kind() {
	case reflect.Pointer:
		return emptyFields(value.Elem(), path)
	case reflect.Struct:
		var empty []string
		for i := range value.NumField() {
			empty = append(empty, emptyFields(value.Field(i), path+"."+value.Type().Field(i).Name)...)
		}
		return empty
	case reflect.Map:
		if value.Len() == 0 {
			return []string{path}
		}
		return nil
	case reflect.Slice:
		if value.Len() == 0 {
			return []string{path}
		}
		return emptyFields(value.Index(0), path)
	}
	if value.IsZero() {
		return []string{path}
	}
	return nil
}

// docs/templates.md tells of each field.
func TestTemplatesPageHasTheFields(t *testing.T) {
	page, err := os.ReadFile("../../docs/templates.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range fieldsOf(reflect.TypeFor[models.Template]()) {
		if !strings.Contains(string(page), "`"+field+"`") && !strings.Contains(string(page), "."+field+"`") {
			t.Errorf("docs/templates.md does not tell of %s", field)
		}
	}
}

// fieldsOf names the fields that hold values, those inside of others too.
func fieldsOf(kind reflect.Type) []string {
	var fields []string
	for i := range kind.NumField() {
		inner := kind.Field(i).Type
		if inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct {
			fields = append(fields, fieldsOf(inner)...)
			continue
		}
		fields = append(fields, kind.Field(i).Tag.Get("yaml"))
	}
	return fields
}
