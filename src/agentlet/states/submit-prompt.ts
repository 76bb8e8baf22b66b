import { refused } from "./controls.ts";
import type { ActOutcome, Controls } from "./controls.ts";
import { isInComposer, typingOf } from "./keystrokes.ts";
import type { Seen } from "./seen.ts";
import type { Standing } from "./state-judge.ts";

/** Types a clean prompt into an idle CLI and presses Enter until something shows that it was taken. */
export async function submitPrompt(controls: Controls, text: string): Promise<ActOutcome> {
  // A hook may say idle before the composer is drawn. One that no rule knows is not waited for without end.
  if (controls.rules !== null)
    await controls.until(
      () => controls.onScreen()?.state === "idle",
      controls.limits.composerMs,
      25,
    );
  const problem = notReady(controls);
  if (problem !== null) return refused(problem);
  const typing = typingOf(text, controls.view.takesPaste === true);
  if (typing === null)
    return refused(
      "This CLI does not mark pastes now, and would take each line for a prompt; give one line",
    );
  if (!controls.type(typing)) return refused("The program does not read its input");
  await controls.sleep(controls.rules?.enterAfterMs ?? 100);
  // What came up meanwhile must not get this prompt's Enter: a dialog, or a turn of which a slow channel still tells.
  const isIdle = () => mayEnter(controls);
  if (!(await controls.until(isIdle, controls.limits.answeredMs, 25)))
    return unconfirmed(
      `${whatCameUp(controls)} before Enter was pressed; the text may stand in its composer`,
    );
  const shown = controls.seen((standing) => standing.state !== "idle");
  try {
    await pressEnter(controls, shown, text);
    return await proofOf(controls, shown, text);
  } finally {
    shown.stop();
  }
}

const unconfirmed = (message: string): ActOutcome => ({ phase: "unconfirmed", message });

/** Why the CLI takes no prompt in this state. */
export function notIdle({ state }: Standing): string {
  return state === "unknown"
    ? "Nothing says that the CLI waits for a prompt; type in its terminal: agentkube attach RUN --write"
    : `The CLI is ${state} and takes no prompt; wait until it is idle`;
}

/** A hook's word is not enough while a dialog is there to see, which Enter would approve, or another program, which would get it. */
function mayEnter({ standing, dialogOnScreen, stranger }: Controls): boolean {
  return standing.state === "idle" && dialogOnScreen === null && stranger === null;
}

function whatCameUp({ standing, dialogOnScreen, stranger }: Controls): string {
  return stranger === null
    ? `the CLI became ${dialogOnScreen?.state ?? standing.state}`
    : `another program took the terminal (${stranger})`;
}

/** Again while the text still stands in the composer; the text never. */
async function pressEnter(controls: Controls, shown: Seen, text: string): Promise<void> {
  const { enters: most, confirmMs } = controls.limits;
  for (let enters = 1; ; enters++) {
    // A dialog that came up meanwhile must not be answered by this Enter.
    if (!mayEnter(controls)) return;
    controls.type("\r");
    if (await shown.within(confirmMs)) return;
    if (enters === most || !isInComposer(controls.view, text)) return;
  }
}

/** What showed that a prompt was taken: a structured channel, else the screen, else the composer that is empty again. */
async function proofOf(controls: Controls, shown: Seen, text: string): Promise<ActOutcome> {
  // A CLI that has taken the text out of its composer may be slow to say so.
  if (shown.standing === null && !isInComposer(controls.view, text))
    await shown.within(controls.limits.answeredMs);
  const first = shown.standing;
  if (first === null) {
    if (isInComposer(controls.view, text))
      return unconfirmed("the text stands in the composer and Enter was not taken");
    controls.composer.sent();
    return unconfirmed(
      "the composer is empty again, and nothing else has shown that the prompt was taken",
    );
  }
  const surer = isStructured(first) ? null : await structuredProof(controls);
  const { channel, evidence } = surer ?? first;
  return { phase: "done", message: `confirmed by ${channel}: ${evidence}` };
}

async function structuredProof(controls: Controls): Promise<Standing | null> {
  if (!controls.states.hasStructured) return null;
  const seen = controls.seen(isStructured);
  try {
    await seen.within(controls.limits.structuredMs);
    return seen.standing;
  } finally {
    seen.stop();
  }
}

/** Why nothing may be typed now; null when it may. */
function notReady(controls: Controls): string | null {
  const { standing, stranger, composer } = controls;
  if (standing.state !== "idle") return notIdle(standing);
  const shown = controls.onScreen();
  if (shown !== null && shown.state !== "idle")
    return `By its screen the CLI is ${shown.state} (${shown.rule.name}) and takes no prompt, whatever else is said of it; wait until it is idle`;
  if (stranger !== null) return `Another program has the terminal (${stranger}), not the CLI`;
  if (composer.holdsUnsent)
    return "The composer holds text that was not sent; send or clear it first";
  return null;
}

function isStructured({ channel }: Standing): boolean {
  return channel !== "title" && channel !== "screen" && channel !== "output";
}
