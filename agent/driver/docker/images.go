package docker

import (
	"context"
	"errors"
	"strings"

	"github.com/moby/moby/client"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
)

// haveImage sees that the engine has the template's image, by its pull policy.
func (d *Driver) haveImage(ctx context.Context, spec driver.Spec) error {
	image, policy := spec.Template.Spec.BaseImage, models.PullMissing
	if box := spec.Template.Spec.Container; box != nil && box.PullPolicy != "" {
		policy = box.PullPolicy
	}
	registry, err := registryOf(image)
	if err != nil {
		return models.Errorf(models.CodeTemplateInvalid, "%q is no name of an image: %v", image, err)
	}
	if policy != models.PullAlways {
		_, err := d.engine.ImageInspect(ctx, image)
		if err == nil || !missing(err) {
			return unreachable("look at an image", err)
		}
		if policy == models.PullNever {
			return models.Errorf(models.CodeImageMissing, "the image %q is not on this machine, and the template says that it is not pulled", image)
		}
	}
	within, cancel := context.WithTimeout(ctx, d.config.PullWithin)
	defer cancel()
	d.config.Logger.Info("an image is pulled", "image", image, "session", spec.SessionID)
	err = d.pull(within, spec, image, registry)
	spec.Tell(models.Progress{})
	if err != nil && within.Err() != nil && ctx.Err() == nil {
		return &models.Error{Code: models.CodeRegistryUnreachable, Retryable: true, Err: err,
			Message: "the image " + image + " was not pulled within " + d.config.PullWithin.String()}
	}
	return err
}

// pull has the engine pull an image, and tells how far that is.
func (d *Driver) pull(ctx context.Context, spec driver.Spec, image, registry string) error {
	access, err := d.credentials(ctx, registry)
	if err != nil {
		d.config.Logger.Warn("the credentials for a registry cannot be had, and its image is pulled without", "registry", registry, "error", err)
	}
	header, err := access.header()
	if err != nil {
		return err
	}
	spec.Tell(models.Progress{Message: "pulling image " + image})
	pulling, err := d.engine.ImagePull(ctx, image, client.ImagePullOptions{RegistryAuth: header})
	if err != nil {
		return pullError(image, registry, access.conceal(err))
	}
	defer func() { _ = pulling.Close() }()
	layers := layers{named: map[string]*layer{}}
	for message, err := range pulling.JSONMessages(ctx) {
		if err == nil && message.Error != nil {
			err = message.Error
		}
		if err != nil {
			return pullError(image, registry, access.conceal(err))
		}
		layers.hear(message)
		spec.Tell(layers.progress(image))
	}
	return nil
}

// pullError says in plain words why an image could not be pulled. The engine
// gives no codes, so its words are gone by.
func pullError(image, registry string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	words := strings.ToLower(err.Error())
	for _, cause := range []struct {
		words     []string
		code      models.ErrorCode
		message   string
		retryable bool
	}{
		{[]string{"no space left", "disk quota exceeded"}, models.CodeDiskFull,
			"the disk of the agent's machine is full, so the image " + image + " cannot be pulled", true},
		{[]string{"no matching manifest", "cannot be used on this platform", "does not match the specified platform", "does not provide the specified platform"},
			models.CodeImagePlatform, "the image " + image + " is not made for the agent's kind of machine", false},
		{[]string{"denied", "unauthorized", "no basic auth credentials", "authentication required", "401", "403 forbidden"}, models.CodeImageDenied,
			"the registry " + registry + " does not give the agent the image " + image + ": there is none, or the agent needs (other) credentials", false},
		{[]string{"not found", "manifest unknown", "does not exist", "name unknown"}, models.CodeImageMissing,
			"there is no image " + image + " in the registry " + registry, false},
		{[]string{"dial tcp", "no such host", "connection refused", "connection reset", "timeout", "deadline exceeded", "x509", "tls:", "request canceled",
			"server gave http response", "eof", "unexpected status", "received unexpected http status", "toomanyrequests"}, models.CodeRegistryUnreachable,
			"the registry " + registry + " cannot be reached, or does not work, so the image " + image + " is not pulled: " + plain(err), true},
	} {
		for _, word := range cause.words {
			if strings.Contains(words, word) {
				return &models.Error{Code: cause.code, Err: err, Message: cause.message, Retryable: cause.retryable}
			}
		}
	}
	return unreachable("pull the image "+image, err)
}
