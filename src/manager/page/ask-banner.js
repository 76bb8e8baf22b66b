// What the agent asks of a person, with its answers. The words are the CLI's own: shown, never believed.
import { post } from "./api.js";
import { h } from "./dom.js";

export function openAskBanner(run) {
  const element = h("section", { class: "ask", "aria-label": "The agent asks", hidden: true });
  let shown = null;
  let isOver = false;
  const hide = () => {
    shown = null;
    element.hidden = true;
    element.replaceChildren();
  };
  return {
    element,
    hear(event) {
      if (event.type !== "state" || isOver) return;
      const { ask } = event;
      if (ask === undefined) return hide();
      // The same ask may be told again with more: its text and options come with the dialog, its first word with a hook or a title.
      const told = JSON.stringify(ask);
      if (shown === told) return;
      shown = told;
      element.hidden = false;
      element.replaceChildren(...drawAsk(run, ask));
    },
    show(info) {
      isOver = info.end !== null;
      if (isOver) hide();
    },
  };
}

function drawAsk(run, ask) {
  const result = h("p", { class: "quiet", role: "status" });
  const buttons = h("p", { class: "answers" });
  const answer = async (choice) => {
    for (const button of buttons.children) button.disabled = true;
    result.textContent = "Answering…";
    try {
      const { phase, message } = await post(`/v1/runs/${run}/answer`, { ask: ask.id, choice });
      result.textContent = `${phase}: ${message}`;
    } catch (error) {
      result.textContent = error.message;
      for (const button of buttons.children) button.disabled = false;
    }
  };
  const choices =
    ask.kind === "permission"
      ? [
          ["Allow once", { kind: "allow" }, "good"],
          ["Deny", { kind: "deny" }, "danger"],
        ]
      : ask.options.map(({ key, label }) => [label, { kind: "option", key }, ""]);
  buttons.append(
    ...choices.map(([name, choice, tone]) =>
      h("button", { type: "button", class: tone, onclick: () => void answer(choice) }, name),
    ),
  );
  return [
    h(
      "h2",
      {},
      ask.kind === "permission" ? "The agent asks for permission" : "The agent has a question",
      ask.tool !== null && h("code", {}, ask.tool),
    ),
    ask.text !== "" && h("p", {}, ask.text),
    ask.detail !== "" && h("pre", { tabindex: 0 }, ask.detail),
    buttons,
    result,
  ].filter(Boolean);
}
