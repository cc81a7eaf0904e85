/**
 * Makes a session id: the template's name for people, and 80 random bits so that
 * no two launches meet. It fits the API's `[a-z0-9][a-z0-9-]{0,62}`.
 */
export function newSessionId(template: string, random: string = randomHex()): string {
  const readable = template
    .toLowerCase()
    .replace(/[^a-z0-9-]+/g, "-")
    .slice(0, 32)
    .replace(/^-+|-+$/g, "");
  const suffix = random.toLowerCase().replace(/[^a-z0-9]/g, "").slice(0, 20);
  return readable === "" ? suffix : `${readable}-${suffix}`;
}

function randomHex(): string {
  // randomUUID exists in secure contexts only; version and variant digits are no loss.
  if (typeof crypto.randomUUID === "function") return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
