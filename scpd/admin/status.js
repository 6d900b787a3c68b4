// Looks at the page again every two seconds, while somebody can see it, and changes only what has changed:
// focus, selection, scroll positions, opened details and whatever is being typed stay.
"use strict";

const PERIOD = 2000;
const PATIENCE = 10000;
let pending = 0;

function alike(one, other) {
  return one.nodeType === other.nodeType && one.nodeName === other.nodeName && (one.id || "") === (other.id || "");
}

function takeAttributes(shown, fresh) {
  for (const { name } of [...shown.attributes]) {
    // Whether details are open is the reader's choice.
    if (name !== "open" && !fresh.hasAttribute(name)) shown.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (shown.getAttribute(name) !== value) shown.setAttribute(name, value);
  }
}

function takeChildren(shown, fresh) {
  const kept = new Set([...fresh.children].map((child) => child.id).filter(Boolean));
  let place = shown.firstChild;
  for (const child of [...fresh.childNodes]) {
    // What is there no more goes first, so that nothing that stays has to be moved and would lose its focus.
    while (place && place.id && place.id !== child.id && !kept.has(place.id)) {
      const gone = place;
      place = place.nextSibling;
      gone.remove();
    }
    if (place && alike(place, child)) {
      take(place, child);
      place = place.nextSibling;
    } else {
      const known = child.id && [...shown.children].find((one) => one.id === child.id);
      if (known) take(known, child);
      shown.insertBefore(known || document.importNode(child, true), place);
    }
  }
  while (place) {
    const gone = place;
    place = place.nextSibling;
    gone.remove();
  }
}

function take(shown, fresh) {
  if (shown.nodeType === Node.TEXT_NODE) {
    if (shown.data !== fresh.data) shown.data = fresh.data;
    return;
  }
  if (shown.isEqualNode(fresh)) return;
  takeAttributes(shown, fresh);
  takeChildren(shown, fresh);
}

function refresh(text) {
  const fresh = new DOMParser().parseFromString(text, "text/html");
  for (const section of document.querySelectorAll("[data-live]")) {
    const other = fresh.getElementById(section.id);
    if (other) take(section, other);
  }
  document.title = fresh.title;
}

function say(text) {
  const stale = document.getElementById("stale");
  if (stale.textContent !== text) stale.textContent = text;
}

async function look() {
  try {
    const answer = await fetch("/", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (!answer.ok) throw new Error(String(answer.status));
    refresh(await answer.text());
    say("");
  } catch {
    say("scpd does not answer: these numbers are old.");
  }
  wait();
}

function wait() {
  clearTimeout(pending);
  if (!document.hidden) pending = setTimeout(look, PERIOD);
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(pending);
  if (!document.hidden) look();
});
wait();
