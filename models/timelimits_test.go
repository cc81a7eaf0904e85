package models_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/streamspace/streamspace/models"
)

func TestTimeLimitsAreReadAndWritten(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 0, "0": 0, "0s": 0, "1m": time.Minute, "90s": 90 * time.Second, "8h": 8 * time.Hour, "8760h": models.MaxTimeLimit} {
		if got, err := models.ParseTimeLimit("idleTimeout", text); got != want || err != nil {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"soon", "30", "59s", "-1h", "8760h1s", "1d", "NaN"} {
		_, err := models.ParseTimeLimit("idleTimeout", text)
		if models.CodeOf(err) != models.CodeInvalidRequest || !strings.Contains(err.Error(), `idleTimeout is "`+text+`"`) || !strings.Contains(err.Error(), "1m to 8760h") {
			t.Errorf("%q gives %v", text, err)
		}
	}
	for duration, want := range map[time.Duration]string{0: "0s", 10 * time.Minute: "10m", 10 * time.Hour: "10h", 90 * time.Minute: "1h30m",
		time.Hour + 5*time.Second: "1h0m5s", 20 * time.Second: "20s"} {
		if got := models.FormatDuration(duration); got != want {
			t.Errorf("%v is written %s", duration, got)
		}
	}
}

func TestALaunchOnlyShortensItsTemplatesLimits(t *testing.T) {
	for _, test := range []struct{ template, asked, want string }{
		{"", "", ""}, {"", "90m", "1h30m"}, {"", "0s", ""}, {"30m", "", "30m"}, {"30m", "30m", "30m"}, {"30m", "5m", "5m"},
		{"30m", "31m", "refused"}, {"30m", "0s", "refused"}, {"30m", "1s", "refused"}, {"", "x", "refused"},
	} {
		for _, field := range []string{"idleTimeout", "maxDuration"} {
			spec, idle, longest := models.TemplateSpec{IdleTimeout: test.template}, test.asked, ""
			if field == "maxDuration" {
				spec, idle, longest = models.TemplateSpec{MaxDuration: test.template}, "", test.asked
			}
			result, err := spec.Shortened(idle, longest)
			got := result.IdleTimeout + result.MaxDuration
			if err != nil {
				got = "refused"
				if models.CodeOf(err) != models.CodeInvalidRequest || !strings.Contains(err.Error(), field) {
					t.Errorf("%s: %v", field, err)
				}
			}
			if got != test.want {
				t.Errorf("%s %q of a template with %q becomes %q, want %q", field, test.asked, test.template, got, test.want)
			}
		}
	}
}

// A limit is reached at its time and not before, the longest duration comes
// first, and what is used later ends no sooner.
func TestLimitsAreReachedAtTheirTime(t *testing.T) {
	began := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	duration := rapid.Int64Range(0, int64(10*time.Hour))
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) time.Duration {
			return time.Duration(duration.Draw(t, name)).Truncate(time.Microsecond)
		}
		idle, longest, used, at := draw("idle"), draw("longest"), draw("used"), draw("at")
		limits := models.TemplateSpec{IdleTimeout: idle.String(), MaxDuration: longest.String()}.TimeLimits()
		if (limits.OnLimit == models.OnLimitStop) != (idle > 0 || longest > 0) {
			t.Fatalf("what becomes of it is %q", limits.OnLimit)
		}
		reached := func(used, at time.Duration) models.ErrorCode {
			expires, unused := limits.Ends(began, began.Add(used))
			return models.LimitReached(expires, unused, began.Add(at))
		}
		want := models.ErrorCode("")
		switch {
		case longest > 0 && at >= longest:
			want = models.CodeMaxDuration
		case idle > 0 && at-used >= idle:
			want = models.CodeIdleTimeout
		}
		if got := reached(used, at); got != want {
			t.Fatalf("at %v it is %q, want %q", at, got, want)
		}
		if want != "" && (!want.IsTimeLimit() || limits.Reason(want) == "") {
			t.Fatalf("%q has no reason", want)
		}
		if later := reached(used+draw("later"), at); want == "" && later != "" {
			t.Fatalf("used later it is %q", later)
		}
	})
}
