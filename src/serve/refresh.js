// Fetches the page again while it is looked at, and puts its new parts in the place of the old ones where they have changed.
"use strict";

(() => {
  let timer = 0;
  let isUnderWay = false;

  const mainOf = (page) => page.querySelector("main");

  // In milliseconds: what is being read is there soon.
  const pause = () => ("awaited" in mainOf(document).dataset ? 1000 : 15000);

  const refresh = async () => {
    if (isUnderWay || document.hidden) return;
    isUnderWay = true;
    try {
      const answer = await fetch(location.href, { cache: "no-store", credentials: "same-origin" });
      const text = await answer.text();
      const page = new DOMParser().parseFromString(text, "text/html");
      const [before, after] = [mainOf(document), mainOf(page)];
      const [listed, listedNow] = [document, page].map((one) => one.querySelector("nav"));
      const isLoggedOut = answer.status === 401;
      if (isLoggedOut) {
        location.reload();
      } else if (before && after) {
        document.title = page.title;
        if (listed && listedNow && listed.innerHTML !== listedNow.innerHTML) listed.innerHTML = listedNow.innerHTML;
        if (before.innerHTML !== after.innerHTML && !isRead(before)) replace(before, after);
        before.toggleAttribute("data-awaited", "awaited" in after.dataset);
      }
      document.documentElement.classList.remove("away");
    } catch {
      document.documentElement.classList.add("away");
    } finally {
      isUnderWay = false;
      start();
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
    clearTimeout(timer);
    if (!document.hidden) timer = setTimeout(refresh, pause());
  };

  document.addEventListener("visibilitychange", () => {
    start();
    refresh();
  });
  start();
})();
