// SPDX-License-Identifier: Apache-2.0
"use strict";
// The controls of the live page: one for each parameter that may change while the node works.

const $ = (id) => document.getElementById(id);
const SEND_MS = 100; // a slider that is dragged sets the parameter no more often
const HELD_MS = 600; // after it was touched, a control does not follow the node's echo
const OPEN_GROUPS = ["What may be believed", "For costmaps: points/marking and points/clearing"];

const controls = new Map();

function makeControls(news) {
  $("settings-note").textContent = news.readOnly ? "read-only" : "take effect with the next frame";
  $("groups").textContent = "";
  controls.clear();
  const groups = new Map();
  for (const one of news.controls) {
    if (!groups.has(one.group)) {
      const group = document.createElement("details");
      group.open = OPEN_GROUPS.includes(one.group);
      group.innerHTML = "<summary></summary>";
      group.firstChild.textContent = one.group;
      groups.set(one.group, group);
    }
    const control = makeControl(one);
    controls.set(one.name, control);
    groups.get(one.group).append(control.element);
  }
  const isOpen = (group) => Number(OPEN_GROUPS.includes(group[0]));
  $("groups").append(...[...groups].sort((a, b) => isOpen(b) - isOpen(a)).map((group) => group[1]));
}

function makeControl(one) {
  const element = document.createElement("div");
  element.className = "control";
  element.innerHTML = '<div class="row"><label></label><button class="default" type="button" hidden>default</button></div><p></p><p class="problem" hidden></p>';
  const row = element.firstChild;
  const [label, reset] = row.children;
  const problem = element.querySelector(".problem");
  label.textContent = one.name;
  label.htmlFor = `set-${one.name}`;
  element.querySelector("p").textContent = one.description;
  const inputs = [];
  let value = one.default;
  let known = one.default; // what the node last said
  let touched = 0;
  let timer = null;

  const send = (next) => {
    touched = performance.now();
    value = next;
    display();
    if (timer === null)
      timer = setTimeout(() => {
        timer = null;
        ask({ kind: "set", name: one.name, value });
      }, SEND_MS);
  };
  const add = (tag, attributes) => {
    const input = Object.assign(document.createElement(tag), attributes);
    inputs.push(input);
    return input;
  };
  let display;
  if (one.kind === "bool") {
    const box = add("input", { type: "checkbox", id: label.htmlFor });
    box.onchange = () => send(box.checked);
    row.append(box);
    display = () => (box.checked = value);
  } else if (one.choices) {
    const choice = add("select", { id: label.htmlFor });
    choice.append(...one.choices.map((text) => new Option(text)));
    choice.onchange = () => send(choice.value);
    row.append(choice);
    display = () => (choice.value = value);
  } else {
    const isWhole = one.kind === "int";
    const span = one.high - one.low;
    // Long ranges are finer at their low end, where the useful values are.
    const power = span > 20 && one.low >= 0 ? 3 : 1;
    const field = add("input", { type: "number", id: label.htmlFor, min: one.low, max: one.high, step: isWhole ? 1 : "any" });
    const slider = add("input", { type: "range", min: 0, max: 1000, step: 1, ariaLabel: one.name });
    const tidy = (next) => (isWhole ? Math.round(next) : Number(next.toPrecision(3)));
    slider.oninput = () => send(tidy(one.low + span * (slider.value / 1000) ** power));
    field.onchange = () => {
      const next = Number(field.value);
      if (field.value === "" || Number.isNaN(next)) display();
      else send(Math.min(Math.max(isWhole ? Math.round(next) : next, one.low), one.high));
    };
    const unit = document.createElement("span");
    unit.className = "unit";
    unit.textContent = { degrees: "°" }[one.unit] || one.unit;
    row.append(field, unit);
    row.after(slider);
    display = () => {
      field.value = Number(value.toPrecision(6));
      slider.value = 1000 * ((value - one.low) / span) ** (1 / power);
    };
  }
  const show = display;
  display = () => {
    show();
    const isChanged = value !== one.default;
    reset.hidden = !isChanged || hello.readOnly;
    element.classList.toggle("changed", isChanged);
  };
  reset.title = `back to ${one.default}`;
  reset.onclick = () => send(one.default);
  display();
  return {
    element,
    known: () => known,
    yaml: () => (value === one.default ? null : `    ${one.name}: ${yamlValue(one, value)}`),
    enable: (isEnabled) => inputs.concat(reset).forEach((input) => (input.disabled = !isEnabled)),
    follow: (next) => {
      known = next;
      if (performance.now() - touched < HELD_MS) return;
      value = next;
      problem.hidden = true;
      display();
    },
    refused: (text) => {
      problem.hidden = !text;
      problem.textContent = text;
      if (!text) return;
      value = known;
      display();
    },
  };
}

function yamlValue(one, value) {
  if (typeof value === "string") return `"${value}"`;
  return one.kind === "float" && Number.isInteger(value) ? value.toFixed(1) : String(value);
}

function follow(values) {
  for (const [name, value] of Object.entries(values)) controls.get(name)?.follow(value);
}

function answer(name, problem) {
  controls.get(name)?.refused(problem);
}

$("copy").onclick = async () => {
  const lines = [...controls.values()].map((one) => one.yaml()).filter(Boolean);
  const text = `/**:\n  ros__parameters:${lines.length ? `\n${lines.join("\n")}` : " {}"}\n`;
  try {
    await navigator.clipboard.writeText(text);
    $("copy").textContent = "Copied";
  } catch {
    prompt("Parameters that differ from the defaults:", text); // no clipboard without https
  }
  setTimeout(() => ($("copy").textContent = "Copy as YAML"), 1500);
};
