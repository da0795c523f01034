// What HTML alone can't do: relative times, toasts, following a transcript, colours, copying, the setup token.
"use strict";
(() => {
  const say = (text, bad) => {
    const box = document.getElementById("toasts");
    if (!box || !text) return;
    const line = document.createElement("div");
    line.className = "toast-line";
    if (bad) line.dataset.bad = "";
    text.split("`").forEach((piece, at) => {
      const part = document.createElement(at % 2 ? "code" : "span");
      part.textContent = piece;
      line.append(part);
    });
    box.append(line);
    setTimeout(() => line.remove(), bad ? 8000 : 4000);
  };

  // Times: "3 min ago", a running clock, a phone's hour; all from the server's instants.
  const ago = (seconds) => {
    if (seconds < 5) return "now";
    if (seconds < 60) return `${Math.floor(seconds)} s ago`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
    if (seconds < 7 * 86400) return `${Math.floor(seconds / 86400)} d ago`;
    return null;
  };
  // An instant that is to come; what should have happened by now is due now, never "ago".
  const until = (seconds) => {
    if (seconds < 1) return "now";
    if (seconds < 60) return `in ${Math.ceil(seconds)} s`;
    if (seconds < 3600) return `in ${Math.ceil(seconds / 60)} min`;
    if (seconds < 2 * 86400) return `in ${Math.ceil(seconds / 3600)} h`;
    return `in ${Math.round(seconds / 86400)} d`;
  };
  const tell = (root) => {
    const now = Date.now() / 1000;
    for (const time of root.querySelectorAll("time[data-ago]")) {
      const at = new Date(time.dateTime);
      const text = ago(now - at / 1000) ?? at.toLocaleDateString(undefined, { day: "numeric", month: "short" });
      if (time.textContent !== text) time.textContent = text;
      time.title = at.toLocaleString();
    }
    for (const time of root.querySelectorAll("time[data-due]")) {
      const at = new Date(time.dateTime);
      const text = until(at / 1000 - now);
      if (time.textContent !== text) time.textContent = text;
      time.title = at.toLocaleString();
    }
    for (const time of root.querySelectorAll("time[data-clock]")) {
      const text = new Date(time.dateTime).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });
      if (time.textContent !== text) time.textContent = text;
    }
    for (const running of root.querySelectorAll("[data-since]")) {
      const seconds = Math.max(0, now - Number(running.dataset.since));
      running.textContent = seconds < 60 ? `${Math.floor(seconds)} s` : `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
    }
  };
  setInterval(() => tell(document), 1000);
  tell(document);

  // A log stays at its end unless its reader scrolled up.
  const logs = () => document.querySelectorAll("[data-follow]");
  const atEnd = (log) => log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  const toEnd = (log) => { log.scrollTop = log.scrollHeight; };
  logs().forEach(toEnd);
  addEventListener("load", () => logs().forEach(toEnd));
  let following = [];
  document.addEventListener("htmx:sse:before:message", () => { following = [...logs()].filter(atEnd); });
  document.addEventListener("htmx:sse:after:message", () => { tell(document); following.forEach(toEnd); });

  // Whether the page lives.
  const mark = document.getElementById("live-mark");
  const lives = (yes) => {
    if (!mark) return;
    mark.hidden = false;
    mark.toggleAttribute("data-lost", !yes);
    mark.lastElementChild.textContent = yes ? "Live" : "Reconnecting";
  };
  document.addEventListener("htmx:sse:after:connection", () => lives(true));
  document.addEventListener("htmx:sse:error", () => lives(false));

  // Answers to actions: a toast from the header; a form that worked is emptied.
  document.addEventListener("htmx:after:request", (event) => {
    const context = event.detail.ctx;
    const response = context?.response;
    if (!response || response.raw?.headers.get("content-type")?.includes("event-stream")) return;
    const text = response.raw?.headers.get("x-roost-toast");
    say(text ? decodeURIComponent(text) : response.status >= 400 ? "That did not work." : "", response.status >= 400);
    const form = context.sourceElement;
    if (response.status < 400 && form instanceof HTMLFormElement && form.hasAttribute("data-reset")) {
      form.reset();
      form.dispatchEvent(new CustomEvent("roost:sent"));
      form.querySelector("textarea")?.focus();
      logs().forEach(toEnd);
    }
  });
  document.addEventListener("htmx:error", () => say("The server did not answer.", true));

  document.addEventListener("keydown", (event) => {
    const area = event.target;
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    if (!(area instanceof HTMLTextAreaElement) || !area.form?.hasAttribute("data-enter-sends")) return;
    event.preventDefault();
    area.form.requestSubmit();
  });
  document.addEventListener("change", (event) => {
    const form = event.target.closest?.("[data-auto-submit]");
    if (form && event.target instanceof HTMLSelectElement) form.requestSubmit();
  });
  document.addEventListener("submit", (event) => {
    const question = event.target.dataset.confirm;
    if (question && !confirm(question)) event.preventDefault();
  });
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-copy]");
    if (!button) return;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      say("Copied.");
    } catch {
      say("The browser did not allow copying; select the text instead.", true);
    }
  });

  // Colours change at once; the cookie makes the next page come right from the server. theme.js chose the first ones.
  const themeForm = document.querySelector("[data-theme-form]");
  const offer = () => {
    if (!themeForm) return;
    const other = document.documentElement.classList.contains("dark") ? "light" : "dark";
    themeForm.elements.theme.value = other;
    themeForm.querySelector("button").setAttribute("aria-label", `Switch to ${other} colours`);
  };
  offer();
  addEventListener("roost:theme", offer);
  themeForm?.addEventListener("submit", (event) => {
    event.preventDefault();
    const chosen = themeForm.elements.theme.value;
    document.documentElement.className = chosen;
    document.querySelector("meta[name=color-scheme]").content = chosen;
    fetch("/theme", { method: "POST", body: new URLSearchParams({ theme: chosen }), headers: { accept: "*/*" } });
    dispatchEvent(new CustomEvent("roost:theme"));
  });

  // The setup token is in the fragment, which browsers never send: put it into the form and out of the address.
  // A link pasted into a tab that shows this page already changes the fragment only.
  const setup = document.querySelector("[data-setup-form]");
  const takeToken = () => {
    const token = new URLSearchParams(location.hash.slice(1)).get("token") ?? sessionStorage.getItem("setup") ?? "";
    setup.elements.token.value = token;
    if (token) sessionStorage.setItem("setup", token);
    history.replaceState(null, "", location.pathname);
    document.getElementById("no-token").hidden = Boolean(token);
  };
  if (setup) {
    takeToken();
    addEventListener("hashchange", () => { if (location.hash) takeToken(); });
  }
})();
