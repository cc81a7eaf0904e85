package docker

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
)

// refOf reads which runtime labels are of.
func refOf(labels map[string]string) driver.Ref {
	generation, _ := strconv.ParseInt(labels[labelGeneration], 10, 64) // this driver has written it
	return driver.Ref{SessionID: labels[labelSession], Generation: generation}
}

func limitsOf(label string) (limits models.TimeLimits) {
	_ = json.Unmarshal([]byte(label), &limits) // likewise
	return limits
}

// missing tells that what was asked for is not there.
func missing(err error) bool { return err != nil && errdefs.IsNotFound(err) }

// unreachable makes an error of the engine one that passes, as most do: it is
// being started, or its disk is full.
func unreachable(what string, err error) error {
	var told *models.Error
	if err == nil || errors.As(err, &told) {
		return err
	}
	return &models.Error{Code: models.CodeUnavailable, Retryable: true, Err: err,
		Message: "the Docker engine could not " + what + ": " + plain(err)}
}

// plain is the engine's own words, without the client's.
func plain(err error) string {
	return strings.TrimPrefix(err.Error(), "Error response from daemon: ")
}
