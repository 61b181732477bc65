// Filters of the claims and the samples. Without a script everything is shown.
"use strict";

for (const bar of document.querySelectorAll("[data-filters]")) {
  const items = [...document.querySelectorAll(`[data-item="${bar.dataset.filters}"]`)];
  const texts = new Map(items.map((item) => [item, item.textContent.toLowerCase()]));
  const inputs = [...bar.querySelectorAll("[data-filter]")];
  const count = bar.querySelector("[data-count]");

  const fits = (item, input) =>
    !input.value || (input.dataset.filter === "text"
      ? texts.get(item).includes(input.value.toLowerCase())
      : item.dataset[input.dataset.filter] === input.value);

  const show = () => {
    let shown = 0;
    for (const item of items) {
      item.hidden = !inputs.every((input) => fits(item, input));
      shown += !item.hidden;
    }
    for (const group of document.querySelectorAll("[data-group]")) {
      group.hidden = [...group.querySelectorAll("[data-item]")].every((item) => item.hidden);
    }
    count.textContent = `${shown} of ${items.length}`;
  };

  bar.addEventListener("input", show);
  bar.hidden = items.length === 0;
  show();
}
