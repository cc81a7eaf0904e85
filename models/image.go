package models

import "strings"

// ImageName is the shortest of an image's names that mean the same: without the
// registry and the tag that are meant when none is named. Of "docker.io/library/busybox:latest"
// it is "busybox". It changes no case and checks nothing.
func ImageName(image string) string {
	for _, hub := range []string{"docker.io/", "index.docker.io/"} {
		if rest, found := strings.CutPrefix(image, hub); found {
			image = rest
			break
		}
	}
	if rest, found := strings.CutPrefix(image, "library/"); found && !strings.Contains(rest, "/") {
		image = rest
	}
	return strings.TrimSuffix(image, ":latest")
}
