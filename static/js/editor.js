// Plain text areas for source get line numbers and a Tab key; Esc gives Tab back to the page.
(() => {
  "use strict";
  const INDENT = "    ";
  const enhance = (area) => {
    const frame = Object.assign(document.createElement("div"), { className: "editor" });
    const gutter = Object.assign(document.createElement("pre"), { className: "gutter" });
    gutter.setAttribute("aria-hidden", "true");
    area.replaceWith(frame);
    frame.append(gutter, area);
    let lines = 0;
    const number = () => {
      const now = area.value.split("\n").length;
      if (now !== lines) gutter.textContent = Array.from({ length: now }, (_, i) => i + 1).join("\n");
      lines = now;
      gutter.scrollTop = area.scrollTop;
    };
    let released = false;
    area.addEventListener("input", number);
    area.addEventListener("scroll", number);
    area.addEventListener("focus", () => (released = false));
    area.addEventListener("keydown", (event) => {
      if (event.key === "Escape") released = true;
      if (event.key !== "Tab" || event.shiftKey || released) return;
      event.preventDefault();
      area.setRangeText(INDENT, area.selectionStart, area.selectionEnd, "end");
      number();
    });
    number();
  };
  document.querySelectorAll("textarea[data-editor]").forEach(enhance);
})();
