// The sandbox's phones: click a message to reply to it, select a passage to quote it, attach files.
"use strict";
(() => {
  const form = (phone) => phone.querySelector("[data-phone-form]");
  const clear = (target) => {
    for (const name of ["reply_to", "quote", "quote_position", "message_id", "file_name", "file_type", "file_data"]) target.elements[name].value = "";
    target.querySelector("[data-reply-bar]").hidden = true;
    target.elements.text.required = true;
  };
  const bar = (target, title, text) => {
    target.querySelector("[data-reply-author]").textContent = title;
    target.querySelector("[data-reply-text]").textContent = text;
    target.querySelector("[data-reply-bar]").hidden = false;
  };
  const edit = (message) => {
    const target = form(message.closest(".phone"));
    clear(target);
    target.elements.message_id.value = message.dataset.id;
    target.elements.text.value = message.querySelector("[data-text]").textContent;
    bar(target, "Editing", target.elements.text.value);
    target.elements.text.focus();
  };
  const attach = (input) => {
    const [file] = input.files;
    if (!file) return;
    const target = input.form;
    if (file.size > 600000) return bar(target, "Too big", `${file.name} has more than 600 KB`);
    const reader = new FileReader();
    reader.addEventListener("load", () => {
      target.elements.file_name.value = file.name;
      target.elements.file_type.value = file.type;
      target.elements.file_data.value = reader.result.split(",", 2)[1];
      target.elements.text.required = false;
      bar(target, "Attached", file.name);
    });
    reader.readAsDataURL(file);
    input.value = "";
  };
  const replyTo = (message, quote, position) => {
    const target = form(message.closest(".phone"));
    target.elements.reply_to.value = message.dataset.id;
    target.elements.quote.value = quote;
    target.elements.quote_position.value = quote ? String(position) : "";
    const title = quote ? `Quoting ${message.dataset.author}` : `Replying to ${message.dataset.author}`;
    bar(target, title, quote || message.querySelector("[data-text]").textContent);
  };
  // JavaScript strings count UTF-16 units, as quotes do.
  const selected = (message) => {
    const text = message.querySelector("[data-text]");
    const selection = getSelection();
    if (!selection || selection.isCollapsed || !selection.rangeCount) return null;
    const range = selection.getRangeAt(0);
    if (!text.contains(range.startContainer) || !text.contains(range.endContainer)) return null;
    const before = document.createRange();
    before.setStart(text, 0);
    before.setEnd(range.startContainer, range.startOffset);
    return { quote: range.toString(), position: before.toString().length };
  };
  document.addEventListener("click", (event) => {
    const close = event.target.closest("[data-reply-close]");
    if (close) return clear(close.form);
    const message = event.target.closest(".pm[data-id]");
    if (!message || event.target.closest(".pm-buttons, .pm-react")) return;
    if (event.target.closest("[data-edit]")) return edit(message);
    const passage = "quotes" in message.closest(".phone").dataset ? selected(message) : null;
    replyTo(message, passage?.quote ?? "", passage?.position ?? 0);
    if (!passage) form(message.closest(".phone")).elements.text.focus();
  });
  for (const target of document.querySelectorAll("[data-phone-form]")) {
    target.querySelector("[data-file]").addEventListener("change", (event) => attach(event.target));
    target.addEventListener("roost:sent", () => clear(target));
  }
})();
