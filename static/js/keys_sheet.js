// The help sheet lists exactly what keys.js would press on this page now.
(() => {
  "use strict";
  const [dialog, opener, list] = ["keys-dialog", "keys-open", "keys-list"].map((id) => document.getElementById(id));
  if (!opener || !window.HoneKeys) return;
  const fixed = list.children.length;
  const cap = (key) => Object.assign(document.createElement("kbd"), { textContent: key === "Escape" ? "Esc" : key });

  const show = () => {
    while (list.children.length > fixed) list.lastChild.remove();
    window.HoneKeys.bound().filter(({ key }) => key !== "?").forEach(({ key, name }) => {
      const [term, meaning] = [document.createElement("dt"), document.createElement("dd")];
      key.split(" ").forEach((part) => term.append(cap(part), " "));
      meaning.textContent = name;
      list.append(term, meaning);
    });
    dialog.showModal();
  };
  opener.hidden = false;
  opener.addEventListener("click", show);
})();
