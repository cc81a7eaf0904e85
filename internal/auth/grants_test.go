package auth_test

import (
	"strings"
	"testing"
	"time"

	"github.com/streamspace/streamspace/internal/auth"
	"github.com/streamspace/streamspace/models"
)

func TestLoginLinkSignsInOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		link, expires, err := w.NewLoginLink(t.Context(), w.ann.ID)
		must(t, err)
		if !expires.Equal(noon.Add(15 * time.Minute)) {
			t.Errorf("the link expires at %v", expires)
		}
		cookie, until, err := w.RedeemLogin(t.Context(), link)
		must(t, err)
		if !until.Equal(noon.Add(30 * 24 * time.Hour)) {
			t.Errorf("the sign-in ends at %v", until)
		}
		token, err := w.Check(t.Context(), models.TokenConsole, cookie)
		must(t, err)
		if token.UserID != w.ann.ID {
			t.Errorf("signed in as %q", token.UserID)
		}
		_, _, err = w.RedeemLogin(t.Context(), link)
		refused(t, err, models.CodeLinkInvalid)
		_, err = w.Check(t.Context(), models.TokenAPI, link)
		refused(t, err, models.CodeUnauthenticated)

		w.at(30*24*time.Hour - time.Microsecond)
		_, err = w.Check(t.Context(), models.TokenConsole, cookie)
		must(t, err)
		w.at(30 * 24 * time.Hour)
		_, err = w.Check(t.Context(), models.TokenConsole, cookie)
		refused(t, err, models.CodeUnauthenticated)
	})
}

func TestLoginLinkOfManyBrowsersSignsOneIn(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		link, _, err := w.NewLoginLink(t.Context(), w.ann.ID)
		must(t, err)
		codes := together(8, func() error {
			_, _, err := w.RedeemLogin(t.Context(), link)
			return err
		})
		if codes[""] != 1 || codes[models.CodeLinkInvalid] != 7 {
			t.Errorf("the outcomes are %v", codes)
		}
		if sessions := w.count(`SELECT count(*) FROM api_tokens WHERE kind = 'console'`); sessions != 1 {
			t.Errorf("%d sign-ins came of it", sessions)
		}
	})
}

func TestLoginLinkExpires(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		link, _, err := w.NewLoginLink(t.Context(), w.ann.ID)
		must(t, err)
		w.at(auth.DefaultLoginLife)
		_, _, err = w.RedeemLogin(t.Context(), link)
		refused(t, err, models.CodeLinkInvalid)
		w.at(auth.DefaultLoginLife - time.Microsecond)
		_, _, err = w.RedeemLogin(t.Context(), link)
		must(t, err) // being refused did not use it up
	})
}

func TestLoginLinkRefusesEverythingElse(t *testing.T) {
	w := sqlite(t)
	for _, wrong := range []string{"", "hello", "ssl_", "ssl_" + strings.Repeat("x", 43), w.issue(w.grant(models.TokenAPI)),
		w.issue(w.grant(models.TokenConsole))} {
		_, _, err := w.RedeemLogin(t.Context(), wrong)
		refused(t, err, models.CodeLinkInvalid)
		if !strings.Contains(err.Error(), "login link") || !strings.Contains(err.Error(), "streamspace") {
			t.Errorf("%q is refused with %v, which does not say how to get a link", wrong, err)
		}
	}
}

func TestTicketOpensOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		session := models.Session{ID: "desk", Generation: 3}
		secret, expires, err := w.NewTicket(t.Context(), session, w.ann, true)
		must(t, err)
		if !strings.HasPrefix(secret, "sst_") || len(secret) != 47 {
			t.Errorf("the secret is %q", secret)
		}
		if !expires.Equal(noon.Add(60 * time.Second)) {
			t.Errorf("the ticket expires at %v", expires)
		}
		w.at(60*time.Second - time.Microsecond)
		ticket, err := w.RedeemTicket(t.Context(), secret)
		must(t, err)
		want := models.Ticket{Hash: auth.Hash(secret), SessionID: "desk", Generation: 3, UserID: w.ann.ID,
			ExpiresAt: expires, CreatedAt: noon, ReportsInput: true}
		if ticket != want {
			t.Errorf("redeemed %+v, want %+v", ticket, want)
		}
		_, err = w.RedeemTicket(t.Context(), secret)
		refused(t, err, models.CodeTicketUsed)
		w.at(2 * time.Minute)
		_, err = w.RedeemTicket(t.Context(), secret)
		refused(t, err, models.CodeTicketUsed) // that it was used says more than its age
	})
}

func TestTicketExpires(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		secret, _, err := w.NewTicket(t.Context(), models.Session{ID: "desk", Generation: 1}, w.ann, false)
		must(t, err)
		w.at(auth.DefaultTicketLife)
		_, err = w.RedeemTicket(t.Context(), secret)
		refused(t, err, models.CodeTicketExpired)
		w.at(auth.DefaultTicketLife - time.Microsecond)
		_, err = w.RedeemTicket(t.Context(), secret)
		must(t, err)
	})
}

func TestTicketOfManyViewersOpensOne(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		secret, _, err := w.NewTicket(t.Context(), models.Session{ID: "desk", Generation: 1}, w.ann, false)
		must(t, err)
		codes := together(8, func() error {
			_, err := w.RedeemTicket(t.Context(), secret)
			return err
		})
		if codes[""] != 1 || codes[models.CodeTicketUsed] != 7 {
			t.Errorf("the outcomes are %v", codes)
		}
	})
}

func TestTicketRefusesEverythingElse(t *testing.T) {
	w := sqlite(t)
	for _, wrong := range []string{"", "hello", "sst_", "sst_" + strings.Repeat("x", 43), w.issue(w.grant(models.TokenAPI))} {
		ticket, err := w.RedeemTicket(t.Context(), wrong)
		refused(t, err, models.CodeTicketInvalid)
		if ticket != (models.Ticket{}) {
			t.Errorf("%q gives %+v beside the error", wrong, ticket)
		}
	}
}

func TestLivesCanBeChosen(t *testing.T) {
	w := sqlite(t)
	a := auth.New(w.database, auth.Options{Now: w.clock, TicketLife: time.Second, LoginLife: time.Minute, ConsoleLife: time.Hour})
	_, ticket, err := a.NewTicket(t.Context(), models.Session{ID: "desk", Generation: 1}, w.ann, false)
	must(t, err)
	link, login, err := a.NewLoginLink(t.Context(), w.ann.ID)
	must(t, err)
	_, console, err := a.RedeemLogin(t.Context(), link)
	must(t, err)
	for name, lives := range map[string][2]time.Time{
		"ticket": {ticket, noon.Add(time.Second)}, "login": {login, noon.Add(time.Minute)}, "console": {console, noon.Add(time.Hour)},
	} {
		if !lives[0].Equal(lives[1]) {
			t.Errorf("the %s ends at %v, want %v", name, lives[0], lives[1])
		}
	}
}
