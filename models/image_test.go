package models_test

import (
	"testing"

	"github.com/streamspace/streamspace/models"
)

func TestImageName(t *testing.T) {
	for image, want := range map[string]string{
		"":                                  "",
		"busybox":                           "busybox",
		"busybox:latest":                    "busybox",
		"docker.io/library/busybox:latest":  "busybox",
		"index.docker.io/library/busybox:1": "busybox:1",
		"docker.io/team/desk":               "team/desk",
		"library/desk/deep":                 "library/desk/deep",
		"registry.example.org/library/desk": "registry.example.org/library/desk",
		"registry.example.org/desk:latest":  "registry.example.org/desk",
		"localhost:5000/desk":               "localhost:5000/desk",
		"desk@sha256:0123":                  "desk@sha256:0123",
	} {
		if got := models.ImageName(image); got != want {
			t.Errorf("of %q it is %q, not %q", image, got, want)
		}
	}
}
