// A file is sent in parts, with progress; what broke off goes on where it stopped, after a reload too.
// Without this script the form is sent plainly.
(() => {
  "use strict";
  const MB = 1e6, PART = 8 * 1024 * 1024, TRIES = 5;
  const form = document.querySelector("form[data-upload]");
  if (!form) return;
  const field = form.querySelector("input[type=file]"), drop = form.querySelector("[data-drop]");
  const box = form.querySelector("[data-progress]"), bar = box.querySelector("progress");
  const text = box.querySelector("[data-progress-text]"), stop = box.querySelector("[data-stop]");
  const button = form.querySelector("button[type=submit]");
  const token = form.querySelector("[name=csrfmiddlewaretoken]").value;
  const uploads = form.dataset.upload, intakes = form.dataset.intake;
  let aborting = null, current = null;

  class Refused extends Error {}
  const ask = async (address, body) => {
    const headers = { "X-CSRFToken": token };
    const plain = body && !(body instanceof FormData);
    if (plain) headers["Content-Type"] = "application/json";
    const answer = await fetch(address, {
      method: body ? "POST" : "GET", headers, redirect: "error", signal: aborting.signal,
      body: plain ? JSON.stringify(body) : body,
    });
    if (answer.ok) return answer.json();
    if (answer.status === 507) throw new Refused("The disk is full, so the file was not kept. Ask the operator to free some space, then upload it again.");
    if (answer.status === 403) throw new Refused("You may not upload here, or your session has ended. Reload the page.");
    const error = (await answer.json().catch(() => ({}))).error;
    if (answer.status < 500) throw new Refused(error ? error.message : `The server answered ${answer.status}.`);
    throw new Error(`The server answered ${answer.status}.`);
  };
  const again = async (work, wait) => {
    for (let tried = 1; ; tried += 1) {
      try {
        return await work();
      } catch (error) {
        if (error instanceof Refused || error.name === "AbortError" || tried >= TRIES) throw error;
        wait();
        await new Promise((on) => setTimeout(on, 500 * 2 ** tried));
      }
    }
  };
  const hash = async (part) => {
    if (!crypto.subtle) return "";
    const found = await crypto.subtle.digest("SHA-256", await part.arrayBuffer());
    return [...new Uint8Array(found)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  };
  const keyOf = (file) => `upload:${file.name}:${file.size}:${file.lastModified}`;
  // An upload of the same file that is still open, with the parts that have arrived.
  const opened = async (file) => {
    const known = localStorage.getItem(keyOf(file));
    if (known) {
      const found = await ask(`${uploads}${known}/`).catch((error) => { if (error instanceof Refused) return null; throw error; });
      if (found && found.status === "pending" && found.bytes === file.size) return found;
    }
    const made = await ask(uploads, { filename: file.name, bytes: file.size, mime_type: file.type, purpose: "fine-tune" });
    localStorage.setItem(keyOf(file), made.id);
    return { ...made, parts: [] };
  };
  const sendAll = async (file) => {
    const upload = await again(() => opened(file), () => say("The connection broke. Trying again…"));
    current = upload.id;
    const arrived = new Map(upload.parts.map((part) => [part.sha256, part.id]));
    const ids = [], started = performance.now();
    let sent = 0;
    for (let at = 0; at < file.size; at += PART) {
      const part = file.slice(at, at + PART), sha256 = await hash(part);
      let id = sha256 && arrived.get(sha256);
      if (!id) {
        const body = new FormData();
        body.append("data", part, file.name);
        if (sha256) body.append("sha256", sha256);
        id = (await again(() => ask(`${uploads}${upload.id}/parts/`, body), () => say("The connection broke. Trying again…"))).id;
        arrived.set(sha256, id);
        sent += part.size;
      }
      ids.push(id);
      progress(Math.min(at + PART, file.size), file.size, sent, (performance.now() - started) / 1000);
    }
    await again(() => ask(`${uploads}${upload.id}/complete/`, { part_ids: ids }), () => say("The connection broke. Trying again…"));
    localStorage.removeItem(keyOf(file));
    current = null;
    return upload.id;
  };
  const say = (words) => (text.textContent = words);
  const progress = (done, size, sent, seconds) => {
    const rate = sent / seconds, left = rate ? (size - done) / rate : 0;
    bar.value = done / size;
    const time = left >= 1 ? `, about ${left < 90 ? `${Math.ceil(left)} s` : `${Math.ceil(left / 60)} min`} left` : "";
    say(`${(done / MB).toFixed(1)} of ${(size / MB).toFixed(1)} MB, ${(rate / MB).toFixed(1)} MB/s${time}`);
  };
  const send = async () => {
    const file = field.files[0];
    aborting = new AbortController();
    box.hidden = false;
    bar.value = 0;
    button.disabled = true;
    stop.hidden = false;
    say("Sending…");
    try {
      const id = await sendAll(file);
      say("Checking the rows…");
      stop.hidden = true;
      const name = form.elements.name;
      const body = form.dataset.dataset ? { upload_id: id, dataset_id: form.dataset.dataset } : { upload_id: id, name: name.value };
      location.assign((await ask(intakes, body)).location);
    } catch (error) {
      const broke = "The connection broke. What has arrived is kept for an hour: press the button to go on.";
      say(error.name === "AbortError" ? "Stopped. Nothing was stored." : error instanceof Refused ? error.message : broke);
      text.classList.toggle("problem", error.name !== "AbortError");
      button.disabled = false;
      stop.hidden = true;
    }
  };
  const choose = () => {
    text.classList.remove("problem");
    box.hidden = true;
  };

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
    choose();
  });
  field.addEventListener("change", choose);
  form.addEventListener("submit", (event) => {
    // An empty file has no parts: the plain form says so.
    if (!field.files.length || !field.files[0].size) return;
    event.preventDefault();
    text.classList.remove("problem");
    send();
  });
  stop.addEventListener("click", () => {
    const id = current, file = field.files[0];
    aborting.abort();
    if (!id) return;
    localStorage.removeItem(keyOf(file));
    fetch(`${uploads}${id}/cancel/`, { method: "POST", headers: { "X-CSRFToken": token } });
  });
})();
