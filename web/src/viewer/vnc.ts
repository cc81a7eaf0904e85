import RFB from "@novnc/novnc";
import type { Display, DisplayOptions, Quality } from "./display";
import { modifiers } from "./keys";
import type { ScreenEnd } from "./link";

/** JPEG quality and compression effort on noVNC's scales of 0 to 9. */
const qualities: Record<Quality, { quality: number; compression: number }> = {
  sharp: { quality: 9, compression: 1 },
  balanced: { quality: 6, compression: 2 },
  light: { quality: 2, compression: 6 },
};

/** Shows a VNC session; its desktop takes the size of the target. */
export function openVnc(options: DisplayOptions): Display {
  const rfb = new RFB(options.target, options.address, { shared: true, wsProtocols: ["binary"] });
  rfb.resizeSession = true;
  rfb.scaleViewport = options.scaled;
  rfb.showDotCursor = true;
  rfb.background = "transparent";

  const setQuality = (name: Quality): void => {
    const { quality, compression } = qualities[name];
    rfb.qualityLevel = quality;
    rfb.compressionLevel = compression;
  };
  setQuality(options.quality);

  let open = true;
  let discarded = false;
  let picture: HTMLCanvasElement | undefined;
  const closed = new Promise<ScreenEnd>((resolve) => {
    let message: string | undefined;
    rfb.addEventListener("securityfailure", (event) => {
      message = event.detail.reason ?? "The session's screen refused the connection.";
    });
    rfb.addEventListener("credentialsrequired", () => {
      message = "The session's screen asks for a password, which StreamSpace sessions never do.";
      rfb.disconnect();
    });
    rfb.addEventListener("disconnect", () => {
      open = false;
      // noVNC takes its canvas off the page; the last picture is better than none.
      if (picture && !discarded) options.target.append(picture);
      resolve(message === undefined ? {} : { message });
    });
  });
  rfb.addEventListener("connect", () => {
    // Both screens are on the page while the last stream's picture is being replaced; noVNC appends its own.
    picture = options.target.querySelector<HTMLCanvasElement>(":scope > div:last-of-type > canvas") ?? undefined;
    options.onLive();
  });
  rfb.addEventListener("clipboard", (event) => options.onCopied(event.detail.text));

  return {
    closed,
    close() {
      if (open) rfb.disconnect();
    },
    discard() {
      discarded = true;
      picture?.remove();
    },
    focus: () => rfb.focus({ preventScroll: true }),
    releaseKeys() {
      for (const key of modifiers) rfb.sendKey(key.keysym, key.code, false);
    },
    paste: (text) => rfb.clipboardPasteFrom(text),
    selection: () => "",
    sendKeys(keys) {
      for (const key of keys) rfb.sendKey(key.keysym, key.code, true);
      for (const key of [...keys].reverse()) rfb.sendKey(key.keysym, key.code, false);
    },
    setScaled(scaled) {
      rfb.scaleViewport = scaled;
    },
    setQuality,
  };
}
