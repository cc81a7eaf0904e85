import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { Template } from "../api/types";
import type { Console } from "../store/console";
import { useStore } from "../store/store";
import { Icon, templateIcon } from "../ui/icons";
import { LaunchDialog } from "./LaunchDialog";

interface GalleryProps {
  model: Console;
  launch(template: string, name?: string): void;
}

export function Gallery({ model, launch }: GalleryProps): JSX.Element {
  const templates = useStore(model.store, (state) => state.templates);
  const [naming, setNaming] = useState<Template>();
  const able = templates?.filter((template) => template.available) ?? [];
  const unable = templates?.filter((template) => !template.available) ?? [];
  return (
    <section aria-labelledby="gallery-heading" class="section">
      <h2 id="gallery-heading">Launch a session</h2>
      {templates === undefined && <GallerySkeleton />}
      {templates?.length === 0 && (
        <p class="empty">
          There are no templates. Add one as a YAML file to the <code>templates</code> folder of the server's data directory.
        </p>
      )}
      {able.length > 0 && <Cards templates={able} launch={launch} name={setNaming} />}
      {unable.length > 0 && (
        // What can be launched is not to be looked for among what cannot.
        <details class="unable" open={able.length === 0} data-testid="unavailable-templates">
          <summary>{unable.length === 1 ? "1 template that nothing here can run now" : `${unable.length} templates that nothing here can run now`}</summary>
          <Cards templates={unable} launch={launch} name={setNaming} />
        </details>
      )}
      {naming && (
        <LaunchDialog
          template={naming}
          onDone={() => setNaming(undefined)}
          launch={(name) => {
            setNaming(undefined);
            launch(naming.name, name);
          }}
        />
      )}
    </section>
  );
}

interface CardsProps {
  templates: readonly Template[];
  launch(template: string): void;
  name(template: Template): void;
}

function Cards({ templates, launch, name }: CardsProps): JSX.Element {
  return (
    <ul class="gallery" role="list">
      {templates.map((template) => (
        <TemplateCard key={template.name} template={template} launch={launch} name={() => name(template)} />
      ))}
    </ul>
  );
}

interface TemplateCardProps {
  template: Template;
  launch(template: string): void;
  /** Asks for a name first. */
  name(): void;
}

function TemplateCard({ template, launch, name }: TemplateCardProps): JSX.Element {
  const heading = `template-${template.name}`;
  const why = `${heading}-why`;
  const { available } = template;
  return (
    <li class={`card template ${available ? "" : "unavailable"}`} data-testid={heading}>
      <div class="template-head">
        <span class={`tile tile-${templateIcon(template.icon)}`}>
          <Icon name={templateIcon(template.icon)} size={26} />
        </span>
        <h3 id={heading}>{template.displayName}</h3>
      </div>
      {template.description && <p class="template-text">{template.description}</p>}
      {!available && <Unavailable id={why} template={template} />}
      <div class="template-actions">
        <button
          type="button"
          class="button primary"
          data-testid={`template-${template.name}-launch`}
          aria-labelledby={`${heading}-action ${heading}`}
          aria-describedby={available ? undefined : why}
          disabled={!available}
          onClick={() => launch(template.name)}
        >
          <span id={`${heading}-action`}>Launch</span>
        </button>
        <button
          type="button"
          class="button quiet"
          data-testid={`template-${template.name}-name`}
          aria-label={`Launch ${template.displayName} with a name of its own`}
          disabled={!available}
          onClick={name}
        >
          With a name…
        </button>
      </div>
    </li>
  );
}

function Unavailable({ id, template }: { id: string; template: Template }): JSX.Element {
  const missing = template.missing ?? [];
  return (
    <div id={id} class="missing" data-testid={`template-${template.name}-missing`}>
      <p>
        <Icon name="alert" size={16} /> {template.reason ?? "It cannot run anywhere at the moment."}
      </p>
      {missing.length > 0 && (
        <ul>
          {missing.map((need) => (
            <li key={need.command}>
              <code>{need.command}</code> is missing. Install: <code class="install">{need.install}</code>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

function GallerySkeleton(): JSX.Element {
  return (
    <div class="gallery" role="status" aria-label="Loading templates">
      {[1, 2, 3].map((card) => (
        <div key={card} class="card template skeleton" />
      ))}
    </div>
  );
}
