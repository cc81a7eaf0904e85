package services

import (
	"testing"
	"time"

	"github.com/streamspace/streamspace/models"
)

func TestOnlyWhatIsLikeARefusalIsRefusedAsWell(t *testing.T) {
	asked := time.Unix(1_700_000_000, 0)
	refused := refusals{}
	for _, test := range []struct {
		name   string
		change func(*placing)
		alike  bool
	}{
		{"the first", func(*placing) {}, false},
		{"the same", func(*placing) {}, true},
		{"another session", func(p *placing) { p.criteria.SessionID, p.criteria.UserID = "b", "ann" }, true},
		{"another wish", func(p *placing) { p.criteria.Preferences.Regions = []string{"eu"} }, true},
		{"another size", func(p *placing) { p.criteria.Reserve.CPU = 250 }, false},
		{"another label", func(p *placing) { p.criteria.Labels = nil }, false},
		{"another template", func(p *placing) { p.criteria.Template = "desk" }, false},
		{"failed elsewhere", func(p *placing) { p.criteria.Avoid = []string{"a"} }, false},
		{"asked later", func(p *placing) { p.asked = asked.Add(time.Second) }, false},
	} {
		one := &placing{asked: asked, criteria: SelectionCriteria{SessionID: "a",
			Labels: models.Selector{{Key: "gpu", Operator: models.LabelExists}}, Reserve: models.Amount{CPU: 500}}}
		test.change(one)
		kind, err := one.criteria.kind()
		if err != nil {
			t.Fatal(err)
		}
		if _, alike := refused.of(kind, one); alike != test.alike {
			t.Errorf("%s: %v", test.name, alike)
		}
		if len(refused) == 0 {
			refused[kind] = refusal{read: asked.Add(time.Millisecond)}
		}
	}
}
