"use strict";

const $ = (id) => document.getElementById(id);
const text = (value, digits) =>
  value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

const clock = (seconds) => {
  const whole = Math.max(0, Math.round(seconds));
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return parts.map((part) => String(part).padStart(2, "0")).join(":");
};

let ended = null;
let held = false;

// ---- State: messages from the server

const tell = (name, value, unit = "") => {
  let row = $("figures").querySelector(`[data-name="${name}"]`);
  if (!row) {
    row = document.createElement("div");
    row.dataset.name = name;
    row.append(document.createElement("dt"), document.createElement("dd"));
    row.firstChild.textContent = name;
    $("figures").append(row);
  }
  const small = document.createElement("span");
  small.className = "unit";
  small.textContent = unit;
  row.lastChild.replaceChildren(value, ...(unit ? [small] : []));
};

const meter = (box, name, share, value) => {
  let row = box.querySelector(`[data-name="${name}"]`);
  if (!row) {
    row = document.createElement("div");
    row.className = "meter";
    row.dataset.name = name;
    const [label, bar, figure] = ["span", "span", "span"].map((tag) => document.createElement(tag));
    label.textContent = name;
    bar.className = "bar";
    bar.append(document.createElement("span"));
    figure.className = "value";
    row.append(label, bar, figure);
    box.append(row);
  }
  row.querySelector(".bar > span").style.width = `${Math.min(100, 100 * share)}%`;
  row.querySelector(".value").textContent = value;
};

const status = (state, words) => {
  if ($("status").dataset.state !== state) $("status").textContent = words;
  $("status").dataset.state = state;
};

const show = (state) => {
  document.title = `${state.title}: postfilter preview`;
  $("title").textContent = state.title;
  $("subtitle").textContent = state.subtitle;
  if (state.done !== undefined) {
    tell("frames", text(state.done, 0), state.total >= state.done ? `of ${text(state.total, 0)}` : "");
    if (state.total) $("progress").value = Math.min(1, state.done / state.total);
    else if (state.ended) $("progress").value = 1;
    else $("progress").removeAttribute("value");
  }
  if (state.fps !== undefined) tell("speed", text(state.fps, 1), "fps");
  if (state.speed !== undefined) tell("real time", text(state.speed, 2), "×");
  if (state.total && state.fps > 0) tell("time left", state.ended ? "none" : clock((state.total - state.done) / state.fps));
  if (state.delta_psnr_db !== undefined) {
    tell("ΔPSNR", (state.delta_psnr_db > 0 ? "+" : "") + text(state.delta_psnr_db, 3).replace("-", "−"), "dB");
  }
  if (state.reused_percent !== undefined) tell("tiles reused", text(state.reused_percent, 1), "%");
  if (state.skipped_percent !== undefined) tell("tiles skipped", text(state.skipped_percent, 1), "%");
  if (state.guard !== undefined) tell("guard", text(state.guard, 0), state.guard === 1 ? "frame" : "frames");
  if (state.rung) tell("rung", state.rung);
  if (state.missed !== undefined) tell("late", text(state.missed, 0), state.missed === 1 ? "frame" : "frames");
  const stages = Object.entries(state.stages_ms ?? {});
  const longest = Math.max(...stages.map(([, ms]) => ms), 1e-9);
  for (const [name, ms] of stages) meter($("stages"), name, ms / longest, `${text(ms, 1)} ms`);
  for (const [name, [waiting, room]] of Object.entries(state.queues ?? {})) {
    meter($("queues"), name, waiting / room, `${waiting} of ${room}`);
  }
  if (state.ended) status(state.ended, state.ended);
  else status("running", "running");
};

const events = new EventSource("state");
events.onmessage = (event) => {
  const state = JSON.parse(event.data);
  ended = state.ended;
  show(state);
  if (ended) events.close();
};
events.onerror = () => status("lost", "no connection; the job may have ended");

// ---- Pictures: one holds a frame before and after, so the two always belong together

const paint = (bitmap, pair) => {
  for (const [id, top] of [["decoded", 0], ["filtered", pair.offset]]) {
    const canvas = $(id);
    if (canvas.width !== pair.width || canvas.height !== pair.height) {
      canvas.width = pair.width;
      canvas.height = pair.height;
    }
    canvas.getContext("2d").drawImage(bitmap, 0, top, pair.width, pair.height, 0, 0, pair.width, pair.height);
  }
  $("view").style.setProperty("--shape", pair.shape);
  const milliseconds = Math.round(pair.pts_seconds * 1000);
  const rest = String(milliseconds % 1000).padStart(3, "0");
  $("frame").textContent = `${clock(Math.floor(milliseconds / 1000))}.${rest}, frame ${text(pair.index, 0)}`;
  document.body.dataset.pair = pair.number;
};

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

const follow = async () => {
  let number = 0;
  while (!ended) {
    if (held || document.hidden) {
      await pause(200);
      continue;
    }
    try {
      const answer = await fetch(`pair?after=${number}`);
      if (answer.status === 200) {
        const pair = JSON.parse(answer.headers.get("X-Pair"));
        const bitmap = await createImageBitmap(await answer.blob());
        if (!held) paint(bitmap, pair);
        bitmap.close();
        number = pair.number;
      }
    } catch {
      await pause(1000);
    }
  }
};
follow();

$("hold").addEventListener("click", () => {
  held = !held;
  $("hold").setAttribute("aria-pressed", held);
});
$("zoom").addEventListener("click", () => {
  const actual = document.querySelector(".scroll").classList.toggle("actual");
  $("zoom").setAttribute("aria-pressed", actual);
});
