// An upload with progress and a place to drop the file. Without this script the form is sent plainly.
(() => {
  "use strict";
  const MB = 1e6;
  const wire = () => {
    const form = document.querySelector("form[data-upload]");
    if (!form) return;
    const field = form.querySelector("input[type=file]");
    const drop = form.querySelector("[data-drop]");
    form.querySelector("[data-drop-hint]").hidden = false;
    const over = (on) => (event) => {
      event.preventDefault();
      drop.classList.toggle("over", on);
    };
    drop.addEventListener("dragover", over(true));
    drop.addEventListener("dragleave", over(false));
    drop.addEventListener("drop", (event) => {
      over(false)(event);
      if (event.dataTransfer.files.length) field.files = event.dataTransfer.files;
    });
    form.addEventListener("submit", (event) => {
      if (!field.files.length) return;
      event.preventDefault();
      send(form);
    });
  };
  const send = (form) => {
    const box = form.querySelector("[data-progress]"), bar = box.querySelector("progress");
    const text = box.querySelector("[data-progress-text]");
    const button = form.querySelector("button[type=submit]");
    const request = new XMLHttpRequest(), started = performance.now();
    box.hidden = false;
    button.disabled = true;
    request.upload.addEventListener("progress", (event) => {
      const rate = event.loaded / MB / ((performance.now() - started) / 1000);
      bar.value = event.loaded / event.total;
      text.textContent = `${(event.loaded / MB).toFixed(1)} of ${(event.total / MB).toFixed(1)} MB, ${rate.toFixed(1)} MB/s`;
    });
    request.upload.addEventListener("load", () => (text.textContent = "Checking the rows…"));
    request.addEventListener("error", () => {
      text.textContent = "The connection broke. Nothing was stored; send it again.";
      button.disabled = false;
    });
    request.addEventListener("load", () => show(request));
    request.open("POST", form.getAttribute("action") || location.href);
    request.send(new FormData(form));
  };
  // The answer is a whole page: the report of problems, or the stored dataset.
  const show = (request) => {
    const page = new DOMParser().parseFromString(request.responseText, "text/html");
    document.title = page.title;
    document.querySelector("main").replaceWith(document.adoptNode(page.querySelector("main")));
    if (request.responseURL !== location.href) history.pushState(null, "", request.responseURL);
    document.getElementById("errors")?.focus();
    wire();
  };
  addEventListener("popstate", () => location.reload());
  wire();
})();
