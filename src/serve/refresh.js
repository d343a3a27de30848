// Fetches the page again while it is looked at, and puts the new main part in the place of the old one where it has changed.
"use strict";

(() => {
  const every = 15000;
  let timer = 0;
  let isUnderWay = false;

  const mainOf = (page) => page.querySelector("main");

  const refresh = async () => {
    if (isUnderWay || document.hidden) return;
    isUnderWay = true;
    try {
      const answer = await fetch(location.href, { cache: "no-store", credentials: "same-origin" });
      const text = await answer.text();
      const page = new DOMParser().parseFromString(text, "text/html");
      const [before, after] = [mainOf(document), mainOf(page)];
      const isLoggedOut = answer.status === 401;
      if (isLoggedOut) {
        location.reload();
      } else if (before && after && before.innerHTML !== after.innerHTML && !isRead(before)) {
        replace(before, after);
      }
      document.documentElement.classList.remove("away");
    } catch {
      document.documentElement.classList.add("away");
    } finally {
      isUnderWay = false;
    }
  };

  // What somebody has selected stays.
  const isRead = (main) => {
    const selection = document.getSelection();
    return selection && !selection.isCollapsed && main.contains(selection.anchorNode);
  };

  const replace = (before, after) => {
    const open = new Set([...before.querySelectorAll("details[open][id]")].map((part) => part.id));
    const focused = before.contains(document.activeElement) ? document.activeElement : null;
    const path = focused && [...before.querySelectorAll("a, button, summary, [tabindex]")].indexOf(focused);
    const scrolled = [...before.querySelectorAll(".scroll")].map((box) => box.scrollLeft);
    before.innerHTML = after.innerHTML;
    before.querySelectorAll("details[id]").forEach((part) => {
      if (open.has(part.id)) part.open = true;
    });
    before.querySelectorAll(".scroll").forEach((box, at) => {
      box.scrollLeft = scrolled[at] ?? 0;
    });
    if (focused) {
      before.querySelectorAll("a, button, summary, [tabindex]")[path]?.focus({ preventScroll: true });
    }
  };

  const start = () => {
    clearInterval(timer);
    if (!document.hidden) timer = setInterval(refresh, every);
  };

  document.addEventListener("visibilitychange", () => {
    start();
    refresh();
  });
  start();
})();
