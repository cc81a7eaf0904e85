package models_test

import (
	"math"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/streamspace/streamspace/models"
)

func TestQuantities(t *testing.T) {
	for _, test := range []struct {
		quantity  string
		milli     int64
		bytes     int64
		milliOnly bool // as bytes it is not meant
	}{
		{quantity: "1", milli: 1000, bytes: 1},
		{quantity: "500m", milli: 500, milliOnly: true},
		{quantity: "0.1", milli: 100, milliOnly: true},
		{quantity: "2.5", milli: 2500, bytes: 3},
		{quantity: "1e3", milli: 1_000_000, bytes: 1000},
		{quantity: "512Mi", milli: 512 << 20 * 1000, bytes: 512 << 20},
		{quantity: "1Ki", milli: 1 << 10 * 1000, bytes: 1 << 10},
		{quantity: "2Gi", milli: 2 << 30 * 1000, bytes: 2 << 30},
		{quantity: "1.5Gi", milli: 3 << 29 * 1000, bytes: 3 << 29},
		{quantity: "1Ti", milli: 1 << 40 * 1000, bytes: 1 << 40},
		{quantity: "1k", milli: 1_000_000, bytes: 1000},
		{quantity: "1M", milli: 1_000_000_000, bytes: 1_000_000},
		{quantity: "1G", milli: 1_000_000_000_000, bytes: 1_000_000_000},
		{quantity: "1T", milli: 1_000_000_000_000_000, bytes: 1_000_000_000_000},
	} {
		if milli, err := models.ParseCPU(test.quantity); err != nil || milli != test.milli {
			t.Errorf("ParseCPU(%q) = %d, %v, want %d", test.quantity, milli, err, test.milli)
		}
		if bytes, err := models.ParseMemory(test.quantity); !test.milliOnly && (err != nil || bytes != test.bytes) {
			t.Errorf("ParseMemory(%q) = %d, %v, want %d", test.quantity, bytes, err, test.bytes)
		}
	}
}

func TestNoQuantities(t *testing.T) {
	for _, quantity := range []string{
		"", " ", "0", "-1", "-500m", "m", "Gi", "one", "1 Gi", "1gi", "1GB", "1Mi ", "1Ei", "NaN", "Inf", "-Inf", "1e400", "9e18", "0x", "1,5", "1m5",
	} {
		for what, parse := range map[string]func(string) (int64, error){"cpu": models.ParseCPU, "memory": models.ParseMemory} {
			if what == "memory" && quantity == "9e18" {
				continue // that many bytes fit
			}
			value, err := parse(quantity)
			if models.CodeOf(err) != models.CodeInvalidRequest || !strings.Contains(err.Error(), what+" is "+strconv.Quote(quantity)) {
				t.Errorf("%s %q is %d, %v", what, quantity, value, err)
			}
		}
	}
}

// Whatever the text, it is refused or gives something positive, and a larger
// number of the same unit never gives less.
func TestQuantitiesAreInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		suffix := rapid.SampledFrom([]string{"", "m", "k", "M", "G", "Ki", "Mi", "Gi"}).Draw(t, "suffix")
		small := rapid.Float64Range(1e-6, 1e6).Draw(t, "small")
		large := rapid.Float64Range(small, 1e6).Draw(t, "large")
		write := func(number float64) string { return strconv.FormatFloat(number, 'f', -1, 64) + suffix }
		for _, parse := range []func(string) (int64, error){models.ParseCPU, models.ParseMemory} {
			less, err := parse(write(small))
			if err != nil || less < 1 {
				t.Fatalf("%s is %d, %v", write(small), less, err)
			}
			more, err := parse(write(large))
			if err != nil || more < less || more == math.MaxInt64 {
				t.Fatalf("%s is %d, %v, and %s is %d", write(large), more, err, write(small), less)
			}
		}
	})
}

func FuzzQuantity(f *testing.F) {
	for _, seed := range []string{"1", "500m", "1Gi", "", "-1", "1e308", "NaN", "0x1p-2"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, quantity string) {
		for _, parse := range []func(string) (int64, error){models.ParseCPU, models.ParseMemory} {
			if value, err := parse(quantity); (err == nil) != (value > 0) {
				t.Fatalf("%q is %d, %v", quantity, value, err)
			}
		}
	})
}

func TestResources(t *testing.T) {
	for _, test := range []struct {
		resources models.Resources
		wrong     string
	}{
		{models.Resources{}, ""},
		{models.Resources{CPU: "1"}, ""},
		{models.Resources{Memory: "1Gi"}, ""},
		{models.Resources{CPU: "a lot", Memory: "1Gi"}, "cpu"},
		{models.Resources{CPU: "1", Memory: "a lot"}, "memory"},
	} {
		err := test.resources.Validate()
		if (err == nil) != (test.wrong == "") || err != nil && !strings.Contains(err.Error(), test.wrong) {
			t.Errorf("%+v: %v", test.resources, err)
		}
	}
	defaults := models.Resources{CPU: "1", Memory: "1Gi"}
	if got := (models.Resources{CPU: "2"}).Or(defaults); got != (models.Resources{CPU: "2", Memory: "1Gi"}) {
		t.Errorf("Or gives %+v", got)
	}
	if got := (models.Resources{Memory: "2Gi"}).Or(defaults); got != (models.Resources{CPU: "1", Memory: "2Gi"}) {
		t.Errorf("Or gives %+v", got)
	}
}
