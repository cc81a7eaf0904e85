-- Templates that admins have applied through the API. They replace those of
-- their name in templates, which each control plane that starts writes anew.
ALTER TABLE templates ADD COLUMN source text NOT NULL DEFAULT 'built-in' CHECK (source IN ('built-in', 'file'));

CREATE TABLE applied_templates (
    name       text PRIMARY KEY,
    manifest   text NOT NULL,
    applied_by text NOT NULL,
    updated_at text NOT NULL
);

CREATE VIEW catalogue AS
    SELECT name, manifest, 'applied' AS source, applied_by, updated_at FROM applied_templates
    UNION ALL
    SELECT name, manifest, source, '' AS applied_by, updated_at FROM templates t
    WHERE NOT EXISTS (SELECT 1 FROM applied_templates a WHERE a.name = t.name);
