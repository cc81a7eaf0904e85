package docker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCredentialsAreThoseOfTheRegistry(t *testing.T) {
	dir := t.TempDir()
	helpers := t.TempDir()
	t.Setenv("PATH", helpers+":"+os.Getenv("PATH"))
	write := func(path, content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(helpers, "docker-credential-keys"), "#!/bin/sh\nread -r server || :\necho \"{\\\"Username\\\":\\\"kim\\\",\\\"Secret\\\":\\\"for $server\\\"}\"\n")
	write(filepath.Join(helpers, "docker-credential-tokens"), "#!/bin/sh\necho '{\"Username\":\"<token>\",\"Secret\":\"a token\"}'\n")
	write(filepath.Join(helpers, "docker-credential-none"), "#!/bin/sh\necho 'credentials not found in native keychain'; exit 1\n")
	// YW5uOnB3OjE= is ann:pw:1.
	write(filepath.Join(dir, "config.json"), `{
		"auths": {"https://index.docker.io/v1/": {"auth": "YW5uOnB3OjE="}, "registry.example.org": {"username": "bob", "password": "pw2"},
			"broken.example.org": {"auth": "!"}, "https://old.example.org/v2/": {"identitytoken": "t"}},
		"credHelpers": {"keys.example.org:5000": "keys", "tokens.example.org": "tokens", "none.example.org": "none", "bad.example.org": "../sh"}}`)
	d := &Driver{config: Config{ConfigDir: dir}}
	for image, want := range map[string]string{
		"busybox":                           "ann pw:1 ",
		"docker.io/team/desk:1":             "ann pw:1 ",
		"registry.example.org/team/desk":    "bob pw2 ",
		"old.example.org/desk":              "  t",
		"keys.example.org:5000/desk":        "kim for keys.example.org:5000 ",
		"tokens.example.org/desk":           "  a token",
		"none.example.org/desk":             "  ",
		"elsewhere.example.org/desk":        "  ",
		"registry.example.org:444/desk":     "  ",
		"registry.example.org.evil.io/desk": "  ",
		"broken.example.org/desk":           "an error",
		"bad.example.org/desk":              "an error",
	} {
		registry, err := registryOf(image)
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.credentials(t.Context(), registry)
		said := fmt.Sprint(got.Username, " ", got.Password, " ", got.IdentityToken)
		if err != nil {
			said = "an error"
		}
		if said != want {
			t.Errorf("for %s they are %q, not %q (%v)", image, said, want, err)
		}
	}
	// A store is asked for whatever has no helper of its own.
	write(filepath.Join(dir, "config.json"), `{"credsStore": "keys"}`)
	if got, err := d.credentials(t.Context(), hub); err != nil || got.Password != "for "+hubKey {
		t.Errorf("the store gives %v, %v", got, err)
	}
	write(filepath.Join(dir, "config.json"), `{"auths": "pw3"`)
	if _, err := d.credentials(t.Context(), hub); err == nil || strings.Contains(err.Error(), "pw3") {
		t.Errorf("the error is %v", err)
	}
	d.config.ConfigDir = t.TempDir()
	if got, err := d.credentials(t.Context(), hub); err != nil || got != (access{}) {
		t.Errorf("without a file they are %v, %v", got, err)
	}
	t.Setenv("DOCKER_CONFIG", dir)
	if d.config.ConfigDir = ""; errors.Is(func() error { _, err := d.credentials(t.Context(), hub); return err }(), nil) {
		t.Error("DOCKER_CONFIG is not looked at")
	}
}

func TestSecretsAreNotInErrors(t *testing.T) {
	shown := access{Username: "ann", Password: "pw:1", IdentityToken: "t-1"}
	if got := shown.conceal(errors.New("GET pw:1 of ann with t-1")).Error(); got != "GET … of ann with …" {
		t.Errorf("the error is %q", got)
	}
}

func TestPullErrorsHaveCodes(t *testing.T) {
	for words, want := range map[string]string{
		"failed to register layer: write /x: no space left on device":                                   "disk_full",
		"pull access denied for x, repository does not exist or may require 'docker login': denied: no": "image_denied",
		"manifest for x:1 not found: manifest unknown: manifest unknown":                                "image_missing",
		"no matching manifest for linux/amd64 in the manifest list entries":                             "image_platform",
		`Get "https://r.example.org/v2/": dial tcp: lookup r.example.org on 1.1.1.1:53: no such host`:   "registry_unreachable",
		`Get "https://r.example.org/v2/": x509: certificate signed by unknown authority`:                "registry_unreachable",
		"toomanyrequests: You have reached your pull rate limit":                                        "registry_unreachable",
		"something that nobody has thought of":                                                          "unavailable",
		"image operating system \"windows\" cannot be used on this platform":                            "image_platform",
		"Head \"https://r.example.org/v2/x/manifests/1\": no basic auth credentials":                    "image_denied",
	} {
		if got := pullError("x:1", "r.example.org", errors.New(words)).Error(); !strings.HasPrefix(got, want+": ") {
			t.Errorf("%q gives %q, not %s", words, got, want)
		}
	}
}
