package catalog_test

import (
	"strings"
	"testing"

	"github.com/streamspace/streamspace/internal/catalog"
)

// edit is good with one text in place of another; an empty old appends.
type edit struct{ old, new string }

func (e edit) apply(t *testing.T) string {
	t.Helper()
	if e.old == "" {
		return good + e.new
	}
	if !strings.Contains(good, e.old) {
		t.Fatalf("the good template has no %q", e.old)
	}
	return strings.Replace(good, e.old, e.new, 1)
}

// wrong is a template with a mistake, and what is said of it.
type wrong struct {
	edit edit
	want string
}

func mistakes() map[string]wrong {
	long := strings.Repeat("x", 101)
	return map[string]wrong{
		"no mapping":            {edit{good, "- one\n"}, "line 1: must have keys: apiVersion, kind, metadata, spec"},
		"unknown key":           {edit{"  displayName", "  dispalyName"}, "line 6: spec.dispalyName is unknown; allowed here are displayName, description, icon"},
		"unknown key on top":    {edit{"kind: T", "status: {}\nkind: T"}, "line 2: status is unknown; allowed here are apiVersion, kind, metadata, spec"},
		"key in a list":         {edit{"", "    needs: [{command: vi, package: vim}]\n"}, "line 11: spec.process.needs[0].package is unknown; allowed here are command, install"},
		"key twice":             {edit{"kind: Template\n", "kind: Template\nkind: Template\n"}, "line 3"},
		"list wanted":           {edit{"[vi]", "vi"}, "line 10: spec.process.command must be a list"},
		"mapping wanted":        {edit{"\n  name: editor", " editor"}, "line 3: metadata must have keys: name"},
		"scalar wanted":         {edit{"displayName: Editor", "displayName: [a]"}, "line 6: spec.displayName must be a single value"},
		"bool wanted":           {edit{"", "  persistentHome: yes\n"}, `line 11: spec.persistentHome must be true or false, not "yes"`},
		"number wanted":         {edit{"", "  vnc: {port: many}\n"}, `line 11: spec.vnc.port must be a whole number, not "many"`},
		"anchor":                {edit{"[vi]", "&x [vi]"}, "line 10: spec.process.command uses an anchor"},
		"alias":                 {edit{"[vi]", "[vi]\n  env: *x"}, "spec.env uses an anchor"},
		"tag":                   {edit{"[vi]", "[!!str vi]"}, "line 10: spec.process.command[0] uses a tag"},
		"tab":                   {edit{"  displayName", "\tdisplayName"}, "line 6: not YAML"},
		"version":               {edit{"io/v1", "io/v2"}, `line 1: apiVersion must be streamspace.io/v1, not "streamspace.io/v2"`},
		"no version":            {edit{"apiVersion: streamspace.io/v1\n", ""}, "apiVersion must be streamspace.io/v1"},
		"kind":                  {edit{"kind: Template", "kind: Session"}, `line 2: kind must be Template, not "Session"`},
		"no name":               {edit{"  name: editor", "  name:"}, `line 4: metadata.name must be lower case letters`},
		"name":                  {edit{"editor", "my_editor"}, `line 4: metadata.name must be lower case letters`},
		"name too long":         {edit{"editor", strings.Repeat("a", 64)}, `line 4: metadata.name must be lower case letters`},
		"dash first":            {edit{"editor", "-editor"}, `line 4: metadata.name must be lower case letters`},
		"no display name":       {edit{"  displayName: Editor\n", ""}, "line 5: spec.displayName is missing"},
		"long display name":     {edit{"Editor", long}, "line 6: spec.displayName must be one line of at most 100 characters"},
		"control character":     {edit{"Editor", `"a\eb"`}, "line 6: spec.displayName must be one line"},
		"long description":      {edit{"", "  description: " + strings.Repeat(long, 5) + "\n"}, "line 11: spec.description must be one line of at most 500"},
		"onLost":                {edit{"", "  onLost: weep\n"}, `line 11: spec.onLost must be one of restart, recreate, fail, not "weep"`},
		"icon":                  {edit{"", "  icon: cat\n"}, `line 11: spec.icon must be one of desktop, browser, terminal, app, not "cat"`},
		"no protocol":           {edit{"  protocol: terminal\n", ""}, "line 5: spec.protocol is missing; it is one of vnc, terminal, http"},
		"protocol":              {edit{"protocol: terminal", "protocol: rdp"}, `line 7: spec.protocol must be one of vnc, terminal, http, not "rdp"`},
		"vnc not enabled":       {edit{"protocol: terminal", "protocol: vnc"}, "line 5: spec.vnc.enabled must be true"},
		"vnc on a terminal":     {edit{"", "  vnc: {enabled: true}\n"}, "line 11: spec.vnc.enabled must not be true"},
		"vnc port":              {edit{"", "  vnc: {port: 65536}\n"}, "line 11: spec.vnc.port must be 1 to 65535"},
		"cpu":                   {edit{"", "  defaultResources: {cpu: lots}\n"}, `line 11: spec.defaultResources.cpu is wrong: cpu is "lots"`},
		"memory":                {edit{"", "  defaultResources: {memory: -1Gi}\n"}, `line 11: spec.defaultResources.memory is wrong: memory is "-1Gi"`},
		"idle timeout":          {edit{"", "  idleTimeout: soon\n"}, `line 11: spec.idleTimeout is wrong: it is "soon", which is not a duration such as 30m or 8h, of 1m to 8760h`},
		"short duration":        {edit{"", "  maxDuration: 59s\n"}, `line 11: spec.maxDuration is wrong: it is "59s"`},
		"long duration":         {edit{"", "  maxDuration: 8761h\n"}, `line 11: spec.maxDuration is wrong: it is "8761h"`},
		"negative duration":     {edit{"", "  maxDuration: -1h\n"}, `line 11: spec.maxDuration is wrong: it is "-1h"`},
		"at a limit":            {edit{"", "  onLimit: kill\n"}, `line 11: spec.onLimit must be one of stop, hibernate, not "kill"`},
		"no home to keep":       {edit{"", "  onLimit: hibernate\n"}, "line 11: spec.onLimit must not be hibernate unless spec.persistentHome is true"},
		"platform":              {edit{"[process]", "[process, podman]"}, `line 8: spec.platforms[1] must be one of process, docker, kubernetes, not "podman"`},
		"platform twice":        {edit{"[process]", "[process, process]"}, `line 8: spec.platforms[1] is "process" a second time`},
		"no process":            {edit{"  process:\n    command: [vi]\n", ""}, "line 5: spec.process is missing, as it can run on platform process"},
		"no image":              {edit{"[process]", "[kubernetes]"}, "line 5: spec.baseImage is missing, as it can run on platform kubernetes"},
		"no image anywhere":     {edit{"  platforms: [process]\n", ""}, "line 5: spec.baseImage is missing, as spec.platforms is empty"},
		"image with a space":    {edit{"", "  baseImage: an image\n"}, "line 11: spec.baseImage must be the name of an image"},
		"variable":              {edit{"", "  env: [{name: 1A, value: x}]\n"}, `line 11: spec.env[0].name must be letters, digits and underscores`},
		"variable twice":        {edit{"", "  env: [{name: A}, {name: A}]\n"}, `line 11: spec.env[1].name is "A" a second time`},
		"NUL in a variable":     {edit{"", `  env: [{name: A, value: "a\0"}]` + "\n"}, "line 11: spec.env[0].value must not hold the character NUL"},
		"port name":             {edit{"", "  ports: [{name: Web, containerPort: 1}]\n"}, "line 11: spec.ports[0].name must be lower case letters"},
		"port twice":            {edit{"", "  ports: [{name: a, containerPort: 1}, {name: a, containerPort: 2}]\n"}, `line 11: spec.ports[1].name is "a" a second time`},
		"port number":           {edit{"", "  ports: [{name: web, containerPort: 0}]\n"}, "line 11: spec.ports[0].containerPort must be 1 to 65535, not 0"},
		"port protocol":         {edit{"", "  ports: [{name: web, containerPort: 1, protocol: http}]\n"}, `line 11: spec.ports[0].protocol must be one of TCP, UDP, not "http"`},
		"container's home":      {edit{"", "  container: {home: home/me}\n"}, `line 11: spec.container.home must be the absolute path of a directory`},
		"shared memory":         {edit{"", "  container: {shmSize: much}\n"}, `line 11: spec.container.shmSize is wrong`},
		"pull policy":           {edit{"", "  container: {pullPolicy: maybe}\n"}, `line 11: spec.container.pullPolicy must be one of missing, always, never, not "maybe"`},
		"node selector":         {edit{"", "  kubernetes: {nodeSelector: {disk: a b}}\n"}, `line 11: spec.kubernetes.nodeSelector must be labels of nodes`},
		"node selector's key":   {edit{"", "  kubernetes: {nodeSelector: {\"a b\": c}}\n"}, `line 11: spec.kubernetes.nodeSelector must be labels of nodes`},
		"no nodes":              {edit{"", "  kubernetes: {nodeSelector: [ssd]}\n"}, `line 11: spec.kubernetes.nodeSelector must be keys with values`},
		"toleration's operator": {edit{"", "  kubernetes: {tolerations: [{key: a, operator: Never}]}\n"}, `line 11: spec.kubernetes.tolerations[0].operator must be one of Equal, Exists, not "Never"`},
		"toleration's effect":   {edit{"", "  kubernetes: {tolerations: [{key: a, effect: Evict}]}\n"}, `line 11: spec.kubernetes.tolerations[0].effect must be one of NoSchedule`},
		"toleration's key":      {edit{"", "  kubernetes: {tolerations: [{key: \"a b\"}]}\n"}, `line 11: spec.kubernetes.tolerations[0].key must be the key of a taint`},
		"toleration of what":    {edit{"", "  kubernetes: {tolerations: [{effect: NoExecute}]}\n"}, `line 11: spec.kubernetes.tolerations[0].key is missing`},
		"toleration's value":    {edit{"", "  kubernetes: {tolerations: [{key: a, operator: Exists, value: b}]}\n"}, `line 11: spec.kubernetes.tolerations[0].value must be`},
		"runtime class":         {edit{"", "  kubernetes: {runtimeClassName: g/visor}\n"}, `line 11: spec.kubernetes.runtimeClassName must be the name of a runtime class`},
		"pull secret":           {edit{"", "  kubernetes: {imagePullSecrets: [\"\"]}\n"}, `line 11: spec.kubernetes.imagePullSecrets[0] must be the name of a secret`},
		"GPU resource":          {edit{"", "  kubernetes: {gpuResource: gpu}\n"}, `line 11: spec.kubernetes.gpuResource must be like nvidia.com/gpu`},
		"home's size":           {edit{"", "  kubernetes: {homeSize: big}\n"}, `line 11: spec.kubernetes.homeSize is wrong`},
		"pod's user":            {edit{"", "  kubernetes: {runAsUser: -1}\n"}, `line 11: spec.kubernetes.runAsUser must be 1 to`},
		"two users":             {edit{"", "  kubernetes: {runAsUser: 5, runAsRoot: true}\n"}, `line 11: spec.kubernetes.runAsUser must be left out`},
		"NUL for a container":   {edit{"", `  container: {command: ["\0"]}` + "\n"}, "line 11: spec.container.command[0] must not hold the character NUL"},
		"empty command":         {edit{"[vi]", "[]"}, "line 10: spec.process.command must name a program"},
		"nameless command":      {edit{"[vi]", `["", vi]`}, "line 10: spec.process.command must name a program"},
		"NUL in an argument":    {edit{"[vi]", `[vi, "\0"]`}, "line 10: spec.process.command[1] must not hold the character NUL"},
		"geometry":              {edit{"", "    geometry: 1280\n"}, "line 11: spec.process.geometry is for screens"},
		"need with arguments":   {edit{"", "    needs: [{command: vi -R}]\n"}, "line 11: spec.process.needs[0].command must be the name of one command"},
		"need twice":            {edit{"", "    needs: [{command: vi}, {command: vi}]\n"}, `line 11: spec.process.needs[1].command is "vi" a second time`},
		"long install":          {edit{"", "    needs: [{command: vi, install: " + strings.Repeat(long, 5) + "}]\n"}, "line 11: spec.process.needs[0].install must be one line"},
	}
}

func TestMistakesAreTold(t *testing.T) {
	for name, test := range mistakes() {
		t.Run(name, func(t *testing.T) {
			templates, problems := catalog.Load(write(t, map[string]string{"t.yaml": test.edit.apply(t)}))
			if len(templates) != 0 || len(problems) != 1 {
				t.Fatalf("Load gives %v, %v", templates, problems)
			}
			if !strings.Contains(problems[0].Error(), "t.yaml: ") || !strings.Contains(problems[0].Error(), test.want) {
				t.Errorf("it says %q\nwant    %q", problems[0], test.want)
			}
			if strings.Contains(problems[0].Error(), ";") != strings.Contains(test.want, ";") && strings.Contains(problems[0].Error(), "; line") {
				t.Errorf("one mistake is told as several: %q", problems[0])
			}
		})
	}
}

// mistakesInPages are values of spec.http, and what is said of them.
func mistakesInPages() map[string]string {
	return map[string]string{
		"{}":                                "",
		"":                                  "line 12: spec.http is missing, as spec.protocol is http",
		"{port: 70000}":                     "line 12: spec.http.port must be 1 to 65535, not 70000",
		"{port: -1}":                        "line 12: spec.http.port must be 1 to 65535, not -1",
		"{path: lab}":                       `line 12: spec.http.path must be a path that begins with one /`,
		"{path: //evil.example}":            `line 12: spec.http.path must be a path that begins with one /`,
		`{healthPath: "/a\\b"}`:             `line 12: spec.http.healthPath must be a path that begins with one /`,
		"{healthPath: http://a/}":           `line 12: spec.http.healthPath must be a path that begins with one /`,
		"{username: me}":                    "line 12: spec.http must have both username and password, or neither",
		"{password: x}":                     "line 12: spec.http must have both username and password, or neither",
		`{username: "a:b", password: x}`:    "line 12: spec.http.username must not hold a colon",
		`{username: me, password: "a\nb"}`:  "line 12: spec.http.password must be one line",
		"{username: me, password: $(NONE)}": "line 12: spec.http.password stands for the variable NONE, which spec.env does not have",
		"{username: me, password: $(ONE)}":  "",
		"{prefixEnv: 1A}":                   "line 12: spec.http.prefixEnv must be letters, digits and underscores",
		"{prefixEnv: ONE}":                  `line 12: spec.http.prefixEnv is "ONE", which spec.env sets already`,
	}
}

// withPages is a template that serves pages.
func withPages(pages string) string {
	return strings.Replace(good, "terminal", "http", 1) + "  env: [{name: ONE, value: x}]\n  http: " + pages + "\n"
}

func TestMistakesInPages(t *testing.T) {
	for pages, want := range mistakesInPages() {
		text := withPages(pages)
		templates, problems := catalog.Load(write(t, map[string]string{"t.yaml": text}))
		switch {
		case want == "" && (len(problems) > 0 || len(templates) != 1):
			t.Errorf("%s: %v", pages, problems)
		case want != "" && (len(problems) != 1 || !strings.Contains(problems[0].Error(), want)):
			t.Errorf("%s: %v, want %q", pages, problems, want)
		}
	}
	for _, wrong := range []string{
		strings.Replace(good, "[process]", "[docker]\n  baseImage: pages:1", 1) + "  http: {}\n",
		strings.Replace(strings.Replace(good, "terminal", "http", 1), "[process]", "[docker]\n  baseImage: pages:1", 1) + "  http: {}\n",
		strings.Replace(good, "terminal", "http", 1) + "  http: {}\n  vnc: {enabled: true}\n",
	} {
		if templates, problems := catalog.Load(write(t, map[string]string{"t.yaml": wrong})); len(templates) != 0 || len(problems) != 1 {
			t.Errorf("%s\nis read as %v, %v", wrong, templates, problems)
		}
	}
}

func TestGeometry(t *testing.T) {
	screen := strings.Replace(good, "terminal", "vnc", 1) + "    geometry: SIZE\n  vnc: {enabled: true}\n"
	for size, want := range map[string]string{
		"1280x800":     "",
		"200x200":      "",
		"8192x8192":    "",
		"7680x4320":    "",
		"199x800":      "sides of 200 to 8192",
		"1280x8193":    "sides of 200 to 8192",
		"99999x99999":  "sides of 200 to 8192",
		"1280":         "must be like 1280x800",
		"1280X800":     "must be like 1280x800",
		"1280x800x24":  "must be like 1280x800",
		"123456x800":   "must be like 1280x800",
		"-1280x800":    "must be like 1280x800",
		"1280 x 800":   "must be like 1280x800",
		`"1280x800\n"`: "must be like 1280x800",
	} {
		_, problems := catalog.Load(write(t, map[string]string{"t.yaml": strings.Replace(screen, "SIZE", size, 1)}))
		switch {
		case want == "" && len(problems) > 0:
			t.Errorf("%s: %v", size, problems)
		case want != "" && (len(problems) != 1 || !strings.Contains(problems[0].Error(), "line 11: spec.process.geometry ") || !strings.Contains(problems[0].Error(), want)):
			t.Errorf("%s: %v, want %q", size, problems, want)
		}
	}
}

// One problem tells of all mistakes of a template, in the order of its lines,
// up to a limit.
func TestManyMistakes(t *testing.T) {
	text := strings.Replace(strings.Replace(good, "editor", "Editor", 1), "[vi]", "[]", 1)
	_, problems := catalog.Load(write(t, map[string]string{"t.yaml": text}))
	if len(problems) != 1 {
		t.Fatal(problems)
	}
	said := problems[0].Error()
	if first, second := strings.Index(said, "line 4: metadata.name"), strings.Index(said, "line 10: spec.process.command"); first < 0 || second < first {
		t.Errorf("it says %q", said)
	}
	var variables strings.Builder
	for range 30 {
		variables.WriteString("    - {nam: a}\n")
	}
	_, problems = catalog.Load(write(t, map[string]string{"t.yaml": good + "  env:\n" + variables.String()}))
	if len(problems) != 1 || !strings.HasSuffix(problems[0].Error(), "; and 20 more") {
		t.Errorf("it says %v", problems)
	}
}

// Whatever a file holds, reading it ends and says something.
func FuzzLoad(f *testing.F) {
	for _, seed := range []string{
		good, "", "---", "kind: [", "a: &a [*a]", "<<: *x", "? a\n: b", "- |\n  x", "spec: !!set {a}", "\xff", "a: b: c", "{", "%YAML 1.2\n---\nkind: x",
		"metadata: {name: x}\nmetadata: {name: y}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, content string) {
		templates, problems := catalog.Load(write(t, map[string]string{"t.yaml": content}))
		if len(templates) == 0 && len(problems) == 0 {
			t.Error("there is neither a template nor a problem")
		}
	})
}
