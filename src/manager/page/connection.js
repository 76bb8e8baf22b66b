// Whether the manager answers, and the line that says so. What is shown stays while it is away, and goes on when it is back.
import { h } from "./dom.js";

const WAITS_MS = [300, 600, 1200, 2500, 5000];
const line = h("p", { class: "away", role: "status", hidden: true });
document.body.prepend(line);

function show(isAway) {
  line.hidden = !isAway;
  line.textContent = isAway
    ? "No manager answers; trying again. It ends when its last run has ended, and this page goes on when one is back."
    : "";
}

/** Waits, or less when `signal` is aborted. */
export function pause(ms, signal) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end, { once: true });
    if (signal.aborted) end();
  });
}

/** Does `ask` again for as long as nobody answers. Throws what an answer says, and what `ask` throws once `signal` is aborted. */
export async function patiently(ask, signal) {
  for (let tries = 0; ; tries += 1) {
    try {
      const answer = await ask();
      show(false);
      return answer;
    } catch (error) {
      // 503: it is stopping, or starting.
      const isAway = error.status === 0 || error.status === 503;
      if (!isAway) show(false);
      if (!isAway || signal.aborted) throw error;
      show(true);
      await pause(WAITS_MS[Math.min(tries, WAITS_MS.length - 1)] * (0.5 + Math.random()), signal);
    }
  }
}
