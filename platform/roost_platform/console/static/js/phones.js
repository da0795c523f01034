// The sandbox's phones: click a message to reply to it, select a passage to quote it.
"use strict";
(() => {
  const form = (phone) => phone.querySelector("[data-phone-form]");
  const clear = (target) => {
    for (const name of ["reply_to", "quote", "quote_position"]) target.elements[name].value = "";
    target.querySelector("[data-reply-bar]").hidden = true;
  };
  const replyTo = (message, quote, position) => {
    const target = form(message.closest(".phone"));
    target.elements.reply_to.value = message.dataset.id;
    target.elements.quote.value = quote;
    target.elements.quote_position.value = quote ? String(position) : "";
    target.querySelector("[data-reply-author]").textContent = quote ? `Quoting ${message.dataset.author}` : `Replying to ${message.dataset.author}`;
    target.querySelector("[data-reply-text]").textContent = quote || message.querySelector("[data-text]").textContent;
    target.querySelector("[data-reply-bar]").hidden = false;
  };
  // JavaScript strings count UTF-16 units, which is what Telegram counts too.
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
    if (!message || event.target.closest(".pm-buttons")) return;
    const passage = message.closest(".phone").dataset.kind === "telegram" ? selected(message) : null;
    replyTo(message, passage?.quote ?? "", passage?.position ?? 0);
    if (!passage) form(message.closest(".phone")).elements.text.focus();
  });
  for (const target of document.querySelectorAll("[data-phone-form]")) {
    target.addEventListener("roost:sent", () => clear(target));
  }
})();
