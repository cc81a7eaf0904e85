package docker

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"
)

const (
	// helperWithin bounds the time of a credential helper.
	helperWithin = 10 * time.Second
	// hub is the registry of images that name none, and hubKey what it is called
	// where credentials are kept.
	hub    = "docker.io"
	hubKey = "https://index.docker.io/v1/"
)

// helperNames are those of programs that can be meant.
var helperNames = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// access is what a registry is shown. It is made for one pull, from what the
// agent's machine has at that time, and leaves the agent for the engine alone.
type access registry.AuthConfig

// registryOf names the registry that an image is in.
func registryOf(image string) (string, error) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return "", err
	}
	return reference.Domain(named), nil
}

// configFile is Docker's own file of settings, which has credentials by registry.
type configFile struct {
	Auths             map[string]registry.AuthConfig `json:"auths"`
	CredentialHelpers map[string]string              `json:"credHelpers"`
	CredentialsStore  string                         `json:"credsStore"`
}

// configDir is where that file is: as configured, or as DOCKER_CONFIG says, or
// where Docker's client has it.
func (d *Driver) configDir() (string, error) {
	if d.config.ConfigDir != "" {
		return d.config.ConfigDir, nil
	}
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		return dir, nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".docker"), err
}

// credentials gives what is kept for the registry, which may be nothing. Errors
// tell nothing of what is in the file.
func (d *Driver) credentials(ctx context.Context, name string) (access, error) {
	dir, err := d.configDir()
	if err != nil {
		return access{}, nil // nobody's home has no credentials
	}
	path := filepath.Join(dir, "config.json")
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return access{}, nil
	}
	if err != nil {
		return access{}, err
	}
	var file configFile
	if err := json.Unmarshal(content, &file); err != nil {
		return access{}, fmt.Errorf("%s is not such a file as docker login writes", path)
	}
	server := name
	if name == hub {
		server = hubKey
	}
	for key, helper := range file.CredentialHelpers {
		if host(key) == host(server) {
			return askHelper(ctx, helper, key)
		}
	}
	if file.CredentialsStore != "" {
		return askHelper(ctx, file.CredentialsStore, server)
	}
	for key, kept := range file.Auths {
		if host(key) == host(server) {
			return fromFile(kept, key, path)
		}
	}
	return access{}, nil
}

// host is the part of a registry's address that tells it from others.
func host(address string) string {
	if _, rest, found := strings.Cut(address, "://"); found {
		address = rest
	}
	address, _, _ = strings.Cut(address, "/")
	return strings.ToLower(address)
}

func fromFile(kept registry.AuthConfig, key, path string) (access, error) {
	if kept.Auth != "" {
		plain, err := base64.StdEncoding.DecodeString(kept.Auth)
		name, password, found := strings.Cut(strings.TrimRight(string(plain), "\x00"), ":")
		if err != nil || !found {
			return access{}, fmt.Errorf("%s: what it has for %s is not a name and a password", path, key)
		}
		kept.Username, kept.Password, kept.Auth = name, password, ""
	}
	kept.ServerAddress = key
	return access(kept), nil
}

// askHelper has a program like docker-credential-pass give the credentials. One
// that has none says so by failing.
func askHelper(ctx context.Context, helper, server string) (access, error) {
	if !helperNames.MatchString(helper) {
		return access{}, errors.New("the credential helper's name is not one of a program")
	}
	ctx, cancel := context.WithTimeout(ctx, helperWithin)
	defer cancel()
	command := exec.CommandContext(ctx, "docker-credential-"+helper, "get")
	command.Stdin = strings.NewReader(server)
	command.WaitDelay = time.Second
	said, err := command.Output()
	if err != nil && bytes.Contains(said, []byte("credentials not found")) {
		return access{}, nil
	}
	if err != nil {
		return access{}, fmt.Errorf("docker-credential-%s: %w", helper, err)
	}
	var told struct{ Username, Secret string }
	if err := json.Unmarshal(said, &told); err != nil {
		return access{}, fmt.Errorf("docker-credential-%s does not answer in JSON", helper)
	}
	if told.Username == "<token>" {
		return access{IdentityToken: told.Secret, ServerAddress: server}, nil
	}
	return access{Username: told.Username, Password: told.Secret, ServerAddress: server}, nil
}

// header is how the engine takes it; empty for nothing.
func (a access) header() (string, error) {
	if a == (access{}) {
		return "", nil
	}
	return authconfig.Encode(registry.AuthConfig(a))
}

// conceal makes sure that an error gives no secret of it away.
func (a access) conceal(err error) error {
	words := err.Error()
	for _, secret := range []string{a.Password, a.IdentityToken, a.RegistryToken} {
		if secret != "" {
			words = strings.ReplaceAll(words, secret, "…")
		}
	}
	if words == err.Error() {
		return err
	}
	return errors.New(words)
}
