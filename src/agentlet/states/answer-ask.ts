import type { Ask, Choice } from "../../protocol/agentlet-link.ts";
import { refused } from "./controls.ts";
import type { ActOutcome, Controls } from "./controls.ts";
import { keysOf } from "./keystrokes.ts";
import { isDialogOf, looksOf } from "./same-dialog.ts";

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
  const isOver = () => controls.standing.ask?.id !== ask.id;
  await controls.until(
    () => isOver() || controls.dialogOf(ask.id) !== null,
    controls.limits.dialogMs,
    50,
  );
  const dialog = controls.dialogOf(ask.id);
  if (isOver()) return refused(`Ask ${ask.id} is over`);
  if (dialog?.rule.keys === undefined)
    return refused(
      "The dialog is not on the screen, or no rule knows its keys; answer it with agentkube attach --write",
    );
  const { stranger, standing } = controls;
  if (stranger !== null)
    return refused(`Another program has the terminal (${stranger}), not the CLI`);
  if (judged !== null && looksOf(dialog) !== judged)
    return refused("The dialog is another one than the policy has judged");
  // A refusal does no harm in whatever dialog; a policy has judged the dialog itself.
  const isSafe = choice.kind === "deny" || judged !== null;
  if (!isSafe && !isDialogOf(standing.ask ?? ask, standing.channel, dialog))
    return refused(
      `The dialog on the screen shows something else than ask ${ask.id}; look at it and answer it with agentkube attach --write`,
    );
  const options = { ...ask, ...dialog.ask, options: dialog.ask?.options ?? ask.options };
  const keys = keysOf(choice, dialog.rule.keys, options);
  if (keys === null)
    return refused(`This dialog cannot be answered with ${wordOf(choice)}${optionsOf(ask)}`);
  const shown = controls.seen((standing) => standing.ask?.id !== ask.id);
  try {
    controls.answering(ask.id, dialog);
    controls.type(keys);
    if (!(await shown.within(controls.limits.answeredMs)))
      return {
        phase: "unconfirmed",
        message: `${wordOf(choice)} was typed, and the dialog still stands`,
      };
    const { state, channel } = shown.standing ?? controls.standing;
    return { phase: "done", message: `${wordOf(choice)}; then ${state}, seen by ${channel}` };
  } finally {
    shown.stop();
  }
}

/** A choice, as a person reads it. */
export function wordOf(choice: Choice): string {
  return choice.kind === "option" ? `option ${choice.key}` : choice.kind;
}

function optionsOf({ options }: Ask): string {
  return options.length === 0
    ? ""
    : `; its options are ${options.map(({ key }) => key).join(", ")}`;
}
