package db_test

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

func TestUsers(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		users := make([]models.User, 8)
		for _, err := range together(len(users), func(i int) (err error) {
			users[i], err = w.EnsureUser(t.Context(), "bob", models.RoleAdmin, noon)
			return err
		}) {
			must(t, err)
		}
		if len(slices.Compact(users)) != 1 || users[0].Name != "bob" || users[0].Role != models.RoleAdmin || users[0].CreatedAt != noon || users[0].ID == w.user.ID {
			t.Fatalf("the users are %+v", users)
		}
		again, err := w.EnsureUser(t.Context(), "bob", models.RoleUser, after(time.Hour))
		must(t, err)
		read, err := w.User(t.Context(), users[0].ID)
		must(t, err)
		if again != users[0] || read != users[0] {
			t.Fatalf("ensured again as %+v, read as %+v", again, read)
		}
		_, err = w.User(t.Context(), "nobody")
		refused(t, err, models.CodeUnauthenticated)
	})
}

func TestTokens(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		until := after(time.Hour)
		api := models.Token{Hash: "h1", Kind: models.TokenAPI, UserID: w.user.ID, Label: "admin", CreatedAt: noon}
		console := models.Token{Hash: "h2", Kind: models.TokenConsole, UserID: w.user.ID, CreatedAt: noon, ExpiresAt: &until}
		key := models.Token{Hash: "h3", Kind: models.TokenAgent, AgentID: "a", Label: "a", CreatedAt: noon}
		for _, token := range []models.Token{api, console, key} {
			must(t, w.CreateToken(ctx, token))
			read, err := w.TokenByHash(ctx, token.Kind, token.Hash, noon)
			must(t, err)
			if !reflect.DeepEqual(read, token) {
				t.Fatalf("stored %+v, read %+v", token, read)
			}
		}
		if err := w.CreateToken(ctx, api); err == nil {
			t.Fatal("one hash was stored twice")
		}
		unknown := func(kind, hash string, now time.Time) {
			t.Helper()
			_, err := w.TokenByHash(ctx, kind, hash, now)
			refused(t, err, models.CodeUnauthenticated)
		}
		unknown(models.TokenAPI, "h2", noon)
		unknown(models.TokenAgent, "nobody", noon)
		unknown(models.TokenConsole, "h2", until)
		if _, err := w.TokenByHash(ctx, models.TokenConsole, "h2", until.Add(-time.Microsecond)); err != nil {
			t.Fatal(err)
		}
		must(t, w.DeleteToken(ctx, models.TokenAPI, "h3")) // of another kind: stays
		must(t, w.DeleteToken(ctx, models.TokenConsole, "h2"))
		must(t, w.DeleteToken(ctx, models.TokenConsole, "h2"))
		unknown(models.TokenConsole, "h2", noon)
		must(t, w.DeleteTokens(ctx, models.TokenAgent, "admin"))
		if _, err := w.TokenByHash(ctx, models.TokenAPI, "h1", noon); err != nil {
			t.Fatal(err)
		}
		must(t, w.DeleteTokens(ctx, models.TokenAgent, "a"))
		unknown(models.TokenAgent, "h3", noon)
	})
}

func TestALoginLinkOpensOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		until := after(time.Hour)
		for _, hash := range []string{"l1", "l2"} {
			must(t, w.CreateToken(ctx, models.Token{Hash: hash, Kind: models.TokenLogin, UserID: w.user.ID, CreatedAt: noon, ExpiresAt: &until}))
		}
		must(t, w.CreateToken(ctx, models.Token{Hash: "api", Kind: models.TokenAPI, UserID: w.user.ID, CreatedAt: noon, ExpiresAt: &until}))
		for _, hash := range []string{"nobody", "api"} {
			_, err := w.RedeemLogin(ctx, hash, noon)
			refused(t, err, models.CodeLinkInvalid)
		}
		_, err := w.RedeemLogin(ctx, "l2", until)
		refused(t, err, models.CodeLinkInvalid)
		users := make([]models.User, 32)
		counts := codes(together(len(users), func(i int) (err error) {
			users[i], err = w.RedeemLogin(ctx, "l1", noon)
			return err
		}))
		if counts[""] != 1 || counts[models.CodeLinkInvalid] != 31 || !slices.Contains(users, w.user) {
			t.Fatalf("outcomes are %v", counts)
		}
	})
}

func TestATicketOpensOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		ticket := models.Ticket{SessionID: "s", Generation: 3, UserID: w.user.ID, CreatedAt: noon, ExpiresAt: after(time.Minute), ReportsInput: true}
		for _, hash := range []string{"t1", "t2"} {
			ticket.Hash = hash
			must(t, w.CreateTicket(ctx, ticket))
		}
		redeem := func(hash string, now time.Time, code models.ErrorCode) {
			t.Helper()
			got, err := w.RedeemTicket(ctx, hash, now)
			refused(t, err, code)
			if got != (models.Ticket{}) {
				t.Fatalf("a refused ticket is given: %+v", got)
			}
		}
		redeem("nobody", noon, models.CodeTicketInvalid)
		redeem("t2", after(time.Minute), models.CodeTicketExpired)
		tickets := make([]models.Ticket, 32)
		counts := codes(together(len(tickets), func(i int) (err error) {
			tickets[i], err = w.RedeemTicket(ctx, "t1", after(59*time.Second))
			return err
		}))
		ticket.Hash = "t1"
		if counts[""] != 1 || counts[models.CodeTicketUsed] != 31 || !slices.Contains(tickets, ticket) {
			t.Fatalf("outcomes are %v", counts)
		}
		redeem("t1", after(time.Hour), models.CodeTicketUsed) // being used is said even after it expired
	})
}

func TestOldTicketsAreForgotten(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for i := range 30 {
			created := after(time.Duration(i) * time.Second)
			must(t, w.CreateTicket(t.Context(), models.Ticket{Hash: fmt.Sprint(i), SessionID: "s", CreatedAt: created, ExpiresAt: created.Add(time.Minute)}))
		}
		if kept := w.count("SELECT count(*) FROM tickets"); kept != 30 {
			t.Fatalf("%d of 30 new tickets are kept", kept)
		}
		for i := range 5 {
			created := after(time.Hour)
			must(t, w.CreateTicket(t.Context(), models.Ticket{Hash: fmt.Sprint("new", i), SessionID: "s", CreatedAt: created, ExpiresAt: created.Add(time.Minute)}))
		}
		if kept := w.count("SELECT count(*) FROM tickets"); kept != 5 {
			t.Fatalf("%d tickets are kept, want the 5 new ones", kept)
		}
	})
}

func TestExpiredTokensAreForgotten(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		create := func(kind, hash string, created time.Time, life time.Duration) error {
			token := models.Token{Hash: hash, Kind: kind, UserID: w.user.ID, CreatedAt: created}
			if until := created.Add(life); life > 0 {
				token.ExpiresAt = &until
			}
			return w.CreateToken(ctx, token)
		}
		must(t, create(models.TokenAPI, "ever", noon, 0))
		must(t, create(models.TokenConsole, "lasting", noon, 48*time.Hour))
		for i := range 40 {
			must(t, create(models.TokenLogin, fmt.Sprint("link", i), after(time.Duration(i)*time.Second), time.Minute))
			must(t, create(models.TokenConsole, fmt.Sprint("console", i), after(time.Duration(i)*time.Second), time.Hour))
			if i%2 == 0 {
				_, err := w.RedeemLogin(ctx, fmt.Sprint("link", i), after(time.Duration(i)*time.Second))
				must(t, err)
			}
		}
		if kept := w.count("SELECT count(*) FROM api_tokens"); kept != 82 {
			t.Fatalf("%d of 82 tokens are kept", kept)
		}
		must(t, create(models.TokenLogin, "next", after(30*time.Minute), time.Minute))
		if kept := w.count("SELECT count(*) FROM api_tokens WHERE kind = 'login'"); kept != 31 {
			t.Fatalf("%d login links are kept, want 30 of the old ones and the new one", kept)
		}
		for _, err := range together(12, func(i int) error {
			return create(models.TokenLogin, fmt.Sprint("new", i), after(24*time.Hour), time.Minute)
		}) {
			must(t, err)
		}
		must(t, create(models.TokenAgent, "key", after(24*time.Hour), 0))
		if kept := w.count("SELECT count(*) FROM api_tokens"); kept != 15 {
			t.Fatalf("%d tokens are kept, want the 15 that can be used", kept)
		}
		for kind, hash := range map[string]string{models.TokenAPI: "ever", models.TokenConsole: "lasting", models.TokenLogin: "new7", models.TokenAgent: "key"} {
			_, err := w.TokenByHash(ctx, kind, hash, after(24*time.Hour))
			must(t, err)
		}
	})
}

func template(name, display string) models.Template {
	return models.Template{APIVersion: "v1", Kind: "Template", Metadata: models.TemplateMetadata{Name: name},
		Spec: models.TemplateSpec{DisplayName: display, Protocol: models.ProtocolVNC, Platforms: []string{"process"},
			DefaultResources: models.Resources{CPU: "500m", Memory: "1Gi"}, Env: []models.EnvVar{{Name: "A", Value: "<b>&"}},
			VNC: models.VNC{Enabled: true, Port: 5900}, Process: &models.ProcessSpec{Command: []string{"icewm"},
				Needs: []models.Need{{Command: "Xvnc", Install: "apt-get install tigervnc-standalone-server"}}}}}
}

func TestTemplates(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		names := func() (names []string) {
			for _, one := range pages(t, 2, func(page db.Page) ([]models.CatalogueEntry, string, error) { return w.Templates(ctx, page) }) {
				names = append(names, one.Metadata.Name)
			}
			return names
		}
		equal(t, "no templates", names(), nil)
		must(t, w.SaveTemplates(ctx, nil, []models.Template{template("c", "C"), template("a", "A"), template("b", "B")}, noon))
		equal(t, "names", names(), []string{"a", "b", "c"})
		must(t, w.SaveTemplates(ctx, nil, []models.Template{template("d", "D"), template("a", "new A")}, noon))
		equal(t, "names", names(), []string{"a", "d"})
		read, err := w.Template(ctx, "a")
		must(t, err)
		if !reflect.DeepEqual(read, template("a", "new A")) {
			t.Fatalf("read %+v", read)
		}
		_, err = w.Template(ctx, "b")
		refused(t, err, models.CodeTemplateUnknown)
		if err := w.SaveTemplates(ctx, nil, []models.Template{template("e", "E"), template("e", "E")}, noon); err == nil {
			t.Fatal("one name was saved twice")
		}
		equal(t, "names after a failure", names(), []string{"a", "d"})
		badPages(t, func(ctx context.Context, page db.Page) ([]models.CatalogueEntry, string, error) {
			return w.Templates(ctx, page)
		})

		for _, err := range together(8, func(i int) error {
			return w.SaveTemplates(ctx, nil, []models.Template{template("x", "X"), template(fmt.Sprint("y", i%2), "Y"), template("z", "Z")}, noon)
		}) {
			must(t, err)
		}
		if saved := names(); len(saved) != 3 || saved[0] != "x" || saved[2] != "z" {
			t.Fatalf("saved by several at once: %v", saved)
		}
	})
}
