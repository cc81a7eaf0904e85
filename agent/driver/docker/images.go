package docker

import (
	"context"
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
	if policy != models.PullAlways {
		_, err := d.engine.ImageInspect(ctx, image)
		if err == nil || !missing(err) {
			return unreachable("look at an image", err)
		}
		if policy == models.PullNever {
			return models.Errorf(models.CodeImageMissing, "the image %q is not on this machine, and the template says that it is not pulled", image)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, d.config.PullWithin)
	defer cancel()
	d.config.Logger.Info("an image is pulled", "image", image, "session", spec.SessionID)
	pulling, err := d.engine.ImagePull(ctx, image, client.ImagePullOptions{})
	if err == nil {
		err = pulling.Wait(ctx)
		_ = pulling.Close()
	}
	return pullError(image, err)
}

// pullError says why an image could not be pulled: some causes lie in what was
// asked for, and pass nowhere.
func pullError(image string, err error) error {
	if err == nil {
		return nil
	}
	words := strings.ToLower(err.Error())
	for _, cause := range []struct {
		words []string
		code  models.ErrorCode
	}{
		{[]string{"denied", "unauthorized", "no basic auth credentials"}, models.CodeImageDenied},
		{[]string{"not found", "manifest unknown", "does not exist", "invalid reference format"}, models.CodeImageMissing},
	} {
		for _, word := range cause.words {
			if strings.Contains(words, word) {
				return &models.Error{Code: cause.code, Err: err, Message: "the image " + image + " cannot be pulled: " + plain(err)}
			}
		}
	}
	return unreachable("pull the image "+image, err)
}
