package server

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
)

// placementWeights reads how much each part of an agent's score counts.
func placementWeights(said map[string]string) (services.Weights, error) {
	weights, err := services.ParseWeights(said)
	var told *models.Error
	if errors.As(err, &told) {
		return weights, fmt.Errorf("--placement-weights: %s", told.Message)
	}
	return weights, err
}

// checkLabels checks those of an agent.
func checkLabels(all map[string]string) error {
	if err := models.ValidateLabels(all); err != nil {
		var told *models.Error
		if errors.As(err, &told) {
			return fmt.Errorf("--label: %s", told.Message)
		}
		return fmt.Errorf("--label: %w", err)
	}
	return nil
}

// checkAllocatable checks what an agent's sessions may have.
func checkAllocatable(all map[string]string) error {
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(all)) {
		var err error
		switch name {
		case "cpu":
			_, err = models.ParseCPU(all[name])
		case "memory":
			_, err = models.ParseMemory(all[name])
		case "gpus":
			if number, parseErr := strconv.Atoi(all[name]); parseErr != nil || number < 0 {
				err = fmt.Errorf("gpus is %q, which is not a number of GPUs", all[name])
			}
		default:
			err = fmt.Errorf("%q is not cpu, memory or gpus", name)
		}
		var told *models.Error
		if errors.As(err, &told) {
			err = errors.New(told.Message)
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("--allocatable: %w", err))
		}
	}
	return errors.Join(wrong...)
}
