import type { Ask, Choice } from "../../protocol/agentlet-link.ts";
import { refused } from "./controls.ts";
import type { ActOutcome, Controls } from "./controls.ts";
import { keysOf } from "./keystrokes.ts";
import type { ScreenMatch } from "./match-screen.ts";
import { isDialogOf, looksOf, saysNothing } from "./same-dialog.ts";
import type { Seen } from "./seen.ts";

/**
 * Types the keys of a choice, once the dialog of this ask is on the screen and only while it is. `judged`: the looks of the dialog
 * that a policy has judged, the only one that gets its answer.
 */
export async function answerAsk(
  controls: Controls,
  ask: Ask,
  choice: Choice,
  judged: string | null = null,
): Promise<ActOutcome> {
  // A refusal does no harm in whatever dialog; a policy has judged the dialog itself.
  const isSafe = choice.kind === "deny" || judged !== null;
  const dialog = await standingDialog(controls, ask, isSafe);
  if (isOver(controls, ask)) return refused(overOf(ask, controls.standing.ask));
  if (dialog?.keys === undefined)
    return refused(
      "The dialog is not on the screen, or no rule knows its keys; answer it with agentkube attach --write",
    );
  const { stranger, standing } = controls;
  if (stranger !== null)
    return refused(`Another program has the terminal (${stranger}), not the CLI`);
  if (judged !== null && looksOf(dialog) !== judged)
    return refused("The dialog is another one than the policy has judged");
  if (!isSafe && !isDialogOf(standing.ask ?? ask, standing.channel, dialog))
    return refused(
      `The dialog on the screen shows something else than ask ${ask.id}; look at it and answer it with agentkube attach --write`,
    );
  const options = { ...ask, ...dialog.ask, options: dialog.ask?.options ?? ask.options };
  const keys = keysOf(choice, dialog.keys, options);
  if (keys === null)
    return refused(`This dialog cannot be answered with ${wordOf(choice)}${optionsOf(ask)}`);
  // What said nothing is named by its own dialog: a new ask, and no sign that this one was answered.
  const isBlind = saysNothing(ask.kind, standing.ask ?? ask);
  const shown = controls.seen((now) => (isBlind ? now.ask === null : now.ask?.id !== ask.id));
  try {
    const presses = await press(controls, ask, dialog, keys, shown);
    if (!(await shown.within(controls.limits.answeredMs)))
      return {
        phase: "unconfirmed",
        message: `${wordOf(choice)} was typed${presses === 1 ? "" : ` ${presses} times`}, and the dialog still stands`,
      };
    const { state, channel } = shown.standing ?? controls.standing;
    return { phase: "done", message: `${wordOf(choice)}; then ${state}, seen by ${channel}` };
  } finally {
    shown.stop();
  }
}

const isOver = ({ standing }: Controls, ask: Ask): boolean => standing.ask?.id !== ask.id;

/** Why an ask is not answered any more. */
export function overOf(ask: Pick<Ask, "id">, now: Ask | null): string {
  return `Ask ${ask.id} is over${now === null ? "" : `; what is asked now is ask ${now.id}`}`;
}

/** The dialog of this ask, once it has stood still for a moment; null when it does not come. */
async function standingDialog(
  controls: Controls,
  ask: Ask,
  isSafe: boolean,
): Promise<ScreenMatch | null> {
  let looks = "";
  let sinceMs = 0;
  const stands = (): boolean => {
    const dialog = controls.dialogOf(ask.id);
    const now = dialog === null ? "" : looksOf(dialog);
    if (now !== looks) [looks, sinceMs] = [now, controls.now];
    if (dialog === null || controls.now - sinceMs < controls.limits.dialogRestsMs) return false;
    if (isSafe) return true;
    // An ask that said nothing is about to be over: the dialog makes a new one.
    const isNamed = dialog.ask !== undefined && !saysNothing(ask.kind, dialog.ask);
    return !isNamed || !saysNothing(ask.kind, controls.standing.ask ?? ask);
  };
  await controls.until(() => isOver(controls, ask) || stands(), controls.limits.dialogMs, 50);
  return controls.dialogOf(ask.id);
}

/**
 * Presses the keys of an answer; a single one again when it was read and nothing at all has come of it: no row of the screen, no mark and no
 * state has changed, and nothing was reported. Another dialog with the same words would have changed one of them. How often it was pressed.
 */
async function press(
  controls: Controls,
  ask: Ask,
  dialog: ScreenMatch,
  keys: string,
  shown: Seen,
): Promise<number> {
  const { presses: most, pressAgainMs, answeredMs } = controls.limits;
  // The keys too: a mark may be moved by the mouse, and be shown by its colour alone.
  const looks = () =>
    `${controls.view.rows.join("\n")}${JSON.stringify(controls.onScreen()?.keys)}`;
  const before = looks();
  const { reports } = controls.states;
  const isUntouched = () => controls.states.reports === reports && looks() === before;
  for (let presses = 1; ; presses++) {
    controls.answering(ask.id, dialog);
    controls.type(keys);
    if (keys.length > 1 || presses === most) return presses;
    const hasCome = () => shown.standing !== null || !isUntouched();
    // What the program has not read yet is not lost: a second one would go wherever the first has led.
    await controls.until(() => hasCome() || controls.hasReadInput, answeredMs, 50);
    if (!controls.hasReadInput || (await controls.until(hasCome, pressAgainMs, 50))) return presses;
  }
}

/** A choice, as a person reads it. */
function wordOf(choice: Choice): string {
  return choice.kind === "option" ? `option ${choice.key}` : choice.kind;
}

function optionsOf({ options }: Ask): string {
  return options.length === 0
    ? ""
    : `; its options are ${options.map(({ key }) => key).join(", ")}`;
}
