// Shortcuts click or focus what is already on the page: `data-key="g j"` on a link, button or field.
(() => {
  "use strict";
  const shown = (element) => Boolean(element?.checkVisibility());
  const all = (selector) => [...document.querySelectorAll(selector)].filter(shown);
  const row = () => document.activeElement?.closest("main tbody tr");
  const doors = () => all("main table.data tbody tr").map((line) => line.querySelector("a[href]")).filter(shown);
  const beside = (by) => {
    const rows = doors();
    const at = rows.findIndex((door) => door.closest("tr") === row());
    return rows[Math.min(Math.max(at + by, 0), rows.length - 1)];
  };
  const box = (line) => line?.querySelector("input[type=checkbox]");

  // What any page may have without saying so: key, name, the element it means, whether it is there.
  const HOUSE = [
    ["j", "Next row, then Enter opens it", () => beside(1), () => doors().length],
    ["k", "Previous row", () => beside(-1), () => doors().length],
    ["x", "Select the row", () => box(row()), () => doors().some((door) => box(door.closest("tr")))],
    ["e", "Filter", () => all("main form.filters :is(input:not([type=hidden]), select)")[0]],
    [".", "Copy the id", () => all("main [data-copy]")[0]],
    ["Escape", "Up", () => all("main .crumbs a").at(-1)],
  ].map(([key, name, find, there = find]) => ({ key, name, find, there }));
  const words = (text) => (text || "").replace(/\s+/g, " ").trim();
  const marked = () => all("[data-key]").map((element) => ({
    key: element.dataset.key,
    name: words(element.dataset.keyName) || words(element.textContent) || words(element.ariaLabel),
    find: () => element,
  }));
  const bound = () => {
    const own = marked();
    return own.concat(HOUSE.filter((each) => each.there() && own.every((mine) => mine.key !== each.key)));
  };

  const press = (element, event) => {
    event.preventDefault();
    const isRow = element.matches("main tbody a") && !element.dataset.key;
    if (isRow || element.matches("input:not([type=checkbox]), textarea, select")) element.focus();
    else element.click();
  };
  let prefix = "";
  let timer = 0;
  // Before others hear it, so that an open menu is still open and Escape closes it and no more.
  document.addEventListener("keydown", (event) => {
    const sends = event.key === "Enter" && (event.ctrlKey || event.metaKey);
    const sender = sends && event.target.closest?.("form")?.querySelector("[data-ctrl-enter]");
    if (sender) return press(sender, event);
    const typing = event.target.closest?.("input:not([type=checkbox]), textarea, select, [contenteditable]");
    const open = document.querySelector("dialog[open], details[open]:is(.menu, .ask)");
    if (event.ctrlKey || event.metaKey || event.altKey || typing || open) return undefined;
    const pressed = (prefix ? `${prefix} ` : "") + event.key;
    const keys = bound();
    clearTimeout(timer);
    prefix = keys.some(({ key }) => key.startsWith(`${pressed} `)) ? pressed : "";
    timer = setTimeout(() => (prefix = ""), 1500);
    const found = keys.find(({ key }) => key === pressed)?.find();
    return found ? press(found, event) : undefined;
  }, true);
  window.HoneKeys = { bound };
})();
