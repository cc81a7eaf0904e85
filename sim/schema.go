package sim

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

// triggers let the database keep its own history, in the same transactions as
// what happened: each row of a command, a session, an agent's epoch or its
// service as it was written, with the row before. The product knows nothing of it.
const triggers = `
CREATE TABLE sim_history (
	n integer PRIMARY KEY AUTOINCREMENT, at integer NOT NULL, replica integer NOT NULL, kind text NOT NULL, created integer NOT NULL,
	id text NOT NULL, session text NOT NULL, agent_was text NOT NULL, agent text NOT NULL, action text NOT NULL,
	generation integer NOT NULL, seq integer NOT NULL,
	was text NOT NULL, became text NOT NULL, reason text NOT NULL, code text NOT NULL, superseded integer NOT NULL,
	sent_was integer NOT NULL, sent_became integer NOT NULL, epoch integer NOT NULL, agent_row text NOT NULL, deadline text NOT NULL);
CREATE TRIGGER sim_command_created AFTER INSERT ON agent_commands BEGIN
	INSERT INTO sim_history VALUES (NULL, sim_at(), sim_by(), 'command', 1, NEW.command_id, coalesce(NEW.session_id, ''), '', NEW.agent_id,
		NEW.action, NEW.generation, NEW.seq, '', NEW.status, '', '', 0, 0, 0, 0, '', coalesce(NEW.deadline_at, ''));
END;
CREATE TRIGGER sim_command_written AFTER UPDATE ON agent_commands BEGIN
	INSERT INTO sim_history VALUES (NULL, sim_at(), sim_by(), 'command', 0, NEW.command_id, coalesce(NEW.session_id, ''), '', NEW.agent_id,
		NEW.action, NEW.generation, NEW.seq, OLD.status, NEW.status, coalesce(NEW.error_message, ''), '',
		coalesce(NEW.result LIKE '%superseded%', 0), OLD.sent_epoch, NEW.sent_epoch,
		coalesce((SELECT epoch FROM agents WHERE id = NEW.agent_id), 0), '', coalesce(NEW.deadline_at, ''));
END;
CREATE TRIGGER sim_session_created AFTER INSERT ON sessions BEGIN
	INSERT INTO sim_history VALUES (NULL, sim_at(), sim_by(), 'session', 1, NEW.id, NEW.id, '', coalesce(NEW.agent_id, ''),
		'', NEW.generation, 0, '', NEW.state, '', '', 0, 0, 0, 0,
		coalesce((SELECT AROW FROM agents a WHERE a.id = NEW.agent_id), ''), '');
END;
CREATE TRIGGER sim_session_written AFTER UPDATE ON sessions BEGIN
	INSERT INTO sim_history VALUES (NULL, sim_at(), sim_by(), 'session', 0,
		NEW.id, NEW.id, coalesce(OLD.agent_id, ''), coalesce(NEW.agent_id, ''),
		'', NEW.generation, 0, OLD.state, NEW.state, coalesce(NEW.reason, ''), coalesce(NEW.reason_code, ''), 0, 0, 0, 0,
		coalesce((SELECT AROW FROM agents a WHERE a.id = NEW.agent_id), ''), '');
END;
CREATE TRIGGER sim_agent_connected AFTER UPDATE OF epoch ON agents BEGIN
	INSERT INTO sim_history VALUES (NULL, sim_at(), sim_by(), 'epoch', 0, NEW.id, '', '', NEW.id,
		'', 0, 0, '', '', '', '', 0, OLD.epoch, NEW.epoch, NEW.epoch, '', '');
END;
CREATE TRIGGER sim_agent_created AFTER INSERT ON agents BEGIN
	INSERT INTO sim_history VALUES (NULL, sim_at(), sim_by(), 'agent', 1, NEW.id, '', '', NEW.id,
		'', 0, 0, '', NEWROW, '', '', 0, 0, 0, 0, '', '');
END;
CREATE TRIGGER sim_agent_written AFTER UPDATE ON agents WHEN OLDROW <> NEWROW BEGIN
	INSERT INTO sim_history VALUES (NULL, sim_at(), sim_by(), 'agent', 0, NEW.id, '', '', NEW.id,
		'', 0, 0, OLDROW, NEWROW, '', '', 0, 0, 0, 0, '', '');
END;`

// agentJSON is what the history keeps of an agent's row; see agentRow.
const agentJSON = `json_object('status', ROW.status, 'cordoned', ROW.cordoned, 'deadline', coalesce(ROW.drain_deadline, ''),
	'by', coalesce(ROW.drained_by, ''), 'capacity', json(ROW.capacity), 'labels', json(ROW.labels), 'region', ROW.region)`

// Prepare makes the database that every world begins with: the product's
// schema, one user, three templates, and the triggers. dir is for its files.
func Prepare(ctx context.Context, dir string) (schema []byte, err error) {
	path := filepath.Join(dir, "schema")
	database, err := db.Open(ctx, path, db.Options{})
	if err != nil {
		return nil, err
	}
	if err = fill(ctx, database); err == nil {
		_, err = database.DB().ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	}
	if closing := database.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return nil, fmt.Errorf("prepare the schema: %w", err)
	}
	return os.ReadFile(path)
}

func fill(ctx context.Context, database *db.Database) error {
	if err := database.Migrate(ctx); err != nil {
		return err
	}
	begin := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // when every bubble begins
	var templates []models.Template
	for _, name := range []string{templateName, homeTemplate, roamingTemplate} {
		spec := models.TemplateSpec{DisplayName: "Desk", VNC: models.VNC{Enabled: true}, PersistentHome: name == homeTemplate}
		if name == roamingTemplate {
			spec.OnLost = models.OnLostRecreate
		}
		templates = append(templates, models.Template{Metadata: models.TemplateMetadata{Name: name}, Spec: spec})
	}
	if err := database.SaveTemplates(ctx, nil, templates, begin); err != nil {
		return err
	}
	handle := database.DB()
	if _, err := handle.ExecContext(ctx, `INSERT INTO users (id, name, role, created_at) VALUES (?, ?, 'user', '2000-01-01')`,
		ownerID, ownerName); err != nil {
		return err
	}
	row := func(of string) string { return strings.ReplaceAll(agentJSON, "ROW", of) }
	_, err := handle.ExecContext(ctx, strings.NewReplacer("AROW", row("a"), "OLDROW", row("OLD"), "NEWROW", row("NEW")).Replace(triggers))
	return err
}

// openReader opens the file for questions that no fault keeps from an answer.
func openReader(path string) (*sql.DB, error) {
	handle, err := sql.Open("sqlite3", "file:"+path+fileOptions)
	if err != nil {
		return nil, err
	}
	handle.SetMaxOpenConns(1)
	return handle, nil
}
