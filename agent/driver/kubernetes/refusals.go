package kubernetes

import (
	"errors"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/streamspace/streamspace/models"
)

// refused says why the API did not do something.
func refused(what string, err error) error {
	var told *models.Error
	if err == nil || errors.As(err, &told) {
		return err
	}
	refusal := &models.Error{Code: models.CodeUnavailable, Retryable: true, Err: err, Message: "the cluster could not " + what + ": " + words(err)}
	switch {
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota"):
		refusal.Code, refusal.Message = models.CodeQuotaExceeded, "the namespace has no room for the session: "+words(err)
	case apierrors.IsForbidden(err):
		refusal.Code, refusal.Retryable = models.CodeCommandFailed, false
	case apierrors.IsInvalid(err):
		refusal.Code, refusal.Retryable = models.CodeTemplateInvalid, false
	}
	return refusal
}

// words are what the API says, without what it was asked.
func words(err error) string {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return err.Error()
	}
	message := status.Status().Message
	for _, lead := range []string{" is forbidden: ", " is invalid: "} {
		if _, rest, found := strings.Cut(message, lead); found {
			return rest
		}
	}
	return message
}
