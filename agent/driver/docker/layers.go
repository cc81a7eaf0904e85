package docker

import (
	"fmt"

	"github.com/moby/moby/api/types/jsonstream"

	"github.com/streamspace/streamspace/models"
)

// maxLayers bounds the layers of an image that are looked at: engines take no
// image with more than about 127.
const maxLayers = 256

// layers are those of an image that is being pulled.
type layers struct {
	// named are they, by the engine's names for them.
	named map[string]*layer
	// percent is what was told last: what the sizes turn out to be takes nothing
	// back.
	percent int
}

// layer is how far one is: it is fetched, and then unpacked.
type layer struct {
	size, fetched, unpacked int64
	done                    bool
}

// hear takes what the engine says. The words are those of `docker pull`.
func (all *layers) hear(message jsonstream.Message) {
	one, known := all.named[message.ID]
	if !known {
		one = &layer{}
	}
	var at, of int64
	if message.Progress != nil {
		at, of = max(0, message.Progress.Current), max(0, message.Progress.Total)
	}
	switch message.Status {
	case "Pulling fs layer", "Waiting":
	case "Downloading":
		one.size, one.fetched = max(one.size, of), at
	case "Verifying Checksum", "Download complete":
		one.fetched = one.size
	case "Extracting":
		one.size = max(one.size, of)
		one.fetched, one.unpacked = one.size, at
	case "Pull complete", "Already exists":
		one.fetched, one.unpacked, one.done = one.size, one.size, true
	default:
		return // of the image, not of a layer
	}
	if known || len(all.named) < maxLayers {
		all.named[message.ID] = one
	}
}

// progress sums up. A layer whose size is not known yet counts like those whose
// is; half the work is fetching, and half unpacking.
func (all *layers) progress(image string) models.Progress {
	var size, fetched, unpacked int64
	var sized, unsized, done int
	for _, one := range all.named {
		switch {
		case one.size > 0:
			sized++
			size, fetched, unpacked = size+one.size, fetched+min(one.fetched, one.size), unpacked+min(one.unpacked, one.size)
		case !one.done:
			unsized++
		}
		if one.done {
			done++
		}
	}
	told := models.Progress{Message: "pulling image " + image}
	if len(all.named) == 0 {
		return told
	}
	told.Message += fmt.Sprintf(" (%d of %d layers", done, len(all.named))
	if size > 0 {
		told.Message += fmt.Sprintf(", %s of %s", megabytes(fetched), megabytes(size))
		whole := float64(size) * float64(sized+unsized) / float64(sized)
		all.percent = max(all.percent, int(100*(float64(fetched)+float64(unpacked))/(2*whole)))
		told.Percent = all.percent
	}
	told.Message += ")"
	return told
}

func megabytes(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }
