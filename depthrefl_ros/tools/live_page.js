// SPDX-License-Identifier: Apache-2.0
"use strict";
// The live page, after live_settings.js: one WebSocket brings frames (binary) and news (JSON); see live_frame.packed.

const RETRY_MS = 1000;
const STALE_MS = 2000; // without a frame, pictures are veiled
const BEYOND_MM = 65535;

let socket = null;
let hello = null;
let status = null;
let distances = null; // {rows, columns, millimetres}
let aboveNow = null;
let lastFrame = 0;
let lastDepth = 0;

// --- connection ---------------------------------------------------------------------------------

function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  socket = new WebSocket(`${scheme}://${location.host}/live`);
  socket.binaryType = "arraybuffer";
  socket.onmessage = ({ data }) => (typeof data === "string" ? take(JSON.parse(data)) : show(data));
  socket.onclose = () => {
    status = null;
    setHealth("waiting", "not connected");
    notice("error", "The connection to depthrefl view is lost; trying again.");
    setTimeout(connect, RETRY_MS);
  };
}

function ask(message) {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function take(news) {
  if (news.kind === "hello") greet(news);
  else if (news.kind === "status") tell(news);
  else if (news.kind === "values") follow(news.values);
  else if (news.kind === "answer") answer(news.name, news.problem);
}

// --- frames -------------------------------------------------------------------------------------

async function show(buffer) {
  try {
    const length = new DataView(buffer).getUint32(0);
    const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
    const parts = {};
    let place = 4 + length;
    for (const [name, size] of Object.entries(head.parts)) {
      parts[name] = buffer.slice(place, place + size);
      place += size;
    }
    lastFrame = performance.now();
    if (parts.camera) await paint("camera", parts.camera);
    if (parts.depth) {
      await paint("depth", parts.depth);
      lastDepth = lastFrame;
      const { rows, columns } = head.depth;
      distances = { rows, columns, millimetres: new Uint16Array(parts.distances) };
      drawTicks(head.depth.near, head.depth.far);
      aboveNow = head.above;
      drawAbove();
      measure();
    }
  } finally {
    veil();
    ask({ kind: "ready" });
  }
}

async function paint(id, jpeg) {
  const picture = await createImageBitmap(new Blob([jpeg]));
  const canvas = $(id);
  if (canvas.width !== picture.width || canvas.height !== picture.height) {
    canvas.width = picture.width;
    canvas.height = picture.height;
    canvas.style.aspectRatio = `${picture.width} / ${picture.height}`;
  }
  canvas.getContext("2d").drawImage(picture, 0, 0);
  picture.close();
}

function veil() {
  const now = performance.now();
  const cover = (id, since, text) => {
    const isStale = !since || now - since > STALE_MS;
    const frame = $(id);
    frame.classList.toggle("stale", isStale);
    const words = frame.querySelector(".veil");
    words.hidden = !isStale;
    if (isStale) words.textContent = since ? `${text} for ${Math.round((now - since) / 1000)} s` : `${text} yet`;
  };
  cover("camera-frame", lastFrame, "no picture");
  cover("depth-frame", lastDepth, "no depth");
  const words = $("above-frame").querySelector(".veil");
  const isStale = !lastDepth || now - lastDepth > STALE_MS;
  $("above-frame").classList.toggle("stale", isStale);
  words.hidden = isStale || aboveNow !== null;
  words.textContent = "The node does not know where the camera stands: give it TF, or camera_height and camera_pitch below.";
}

function drawTicks(near, far) {
  const key = `${near} ${far}`;
  const ticks = $("ticks");
  if (ticks.dataset.key === key) return;
  ticks.dataset.key = key;
  ticks.textContent = "";
  const steps = [0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 80, 120];
  let last = -1;
  for (const metres of steps) {
    const exact = Math.log(metres / near) / Math.log(far / near);
    const share = Math.min(Math.max(exact, 0.03), 0.96);
    if (exact < 0 || exact > 1 || share - last < 0.1) continue;
    last = share;
    const tick = document.createElement("span");
    tick.textContent = `${metres} m`;
    tick.style.left = `${100 * share}%`;
    ticks.append(tick);
  }
}

// --- the view from above ------------------------------------------------------------------------

function drawAbove() {
  if (hello === null) return;
  const { ahead, aside, behind, cell } = hello.above;
  const canvas = $("above");
  const width = Math.round(canvas.clientWidth * devicePixelRatio);
  const height = Math.round((width * (ahead + behind)) / (2 * aside));
  if (!width) return;
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
    canvas.style.aspectRatio = `${2 * aside} / ${ahead + behind}`;
  }
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`);
  const unit = width / (2 * aside);
  const pen = canvas.getContext("2d");
  const x = (left) => (aside - left) * unit; // metres to the left of the robot
  const y = (forward) => (ahead - forward) * unit;
  pen.fillStyle = colour("card");
  pen.fillRect(0, 0, width, height);
  if (aboveNow) {
    const [cameraX, cameraY] = aboveNow.camera;
    pen.strokeStyle = colour("cleared");
    pen.lineWidth = 0.035 * unit;
    pen.beginPath();
    for (let i = 0; i < aboveNow.ends.length; i += 2) {
      pen.moveTo(x(cameraY / 100), y(cameraX / 100));
      pen.lineTo(x(aboveNow.ends[i + 1] / 100), y(aboveNow.ends[i] / 100));
    }
    pen.stroke();
  }
  pen.strokeStyle = colour("grid");
  pen.lineWidth = devicePixelRatio;
  pen.beginPath();
  for (let metres = 0; metres <= ahead; metres++) {
    pen.moveTo(0, y(metres));
    pen.lineTo(width, y(metres));
  }
  for (let metres = -Math.floor(aside); metres <= aside; metres++) {
    pen.moveTo(x(metres), 0);
    pen.lineTo(x(metres), height);
  }
  pen.stroke();
  if (aboveNow) {
    pen.fillStyle = colour("mark");
    const size = cell * unit;
    for (let i = 0; i < aboveNow.marks.length; i += 2)
      pen.fillRect(x((aboveNow.marks[i + 1] + 1) * cell), y((aboveNow.marks[i] + 1) * cell), size, size);
  }
  pen.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
  pen.strokeStyle = colour("card");
  pen.lineWidth = 3 * devicePixelRatio;
  pen.fillStyle = colour("faint");
  for (let metres = 0; metres < ahead; metres++) {
    const place = [`${metres} m`, 6 * devicePixelRatio, y(metres) - 5 * devicePixelRatio];
    pen.strokeText(...place);
    pen.fillText(...place);
  }
  pen.fillStyle = colour("robot");
  pen.beginPath();
  pen.moveTo(x(0), y(0.2));
  pen.lineTo(x(0.14), y(-0.15));
  pen.lineTo(x(-0.14), y(-0.15));
  pen.fill();
  $("marks").textContent = aboveNow ? `${aboveNow.marks.length / 2} marks` : "";
}

// --- distances under a pointer ------------------------------------------------------------------

let pointed = null; // shares of width and height
const probes = ["camera-frame", "depth-frame"].map((id) => {
  const probe = document.createElement("div");
  probe.className = "probe";
  probe.hidden = true;
  probe.append(document.createElement("b"));
  const frame = $(id);
  frame.append(probe);
  frame.onpointermove = frame.onpointerdown = (event) => {
    const box = frame.getBoundingClientRect();
    pointed = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    measure();
  };
  frame.onpointerleave = (event) => {
    if (event.pointerType !== "mouse") return; // a finger's last point stays
    pointed = null;
    measure();
  };
  return probe;
});

function measure() {
  const isShown = pointed !== null && distances !== null;
  for (const probe of probes) probe.hidden = !isShown;
  if (!isShown) return;
  const { rows, columns, millimetres } = distances;
  const [across, down] = pointed.map((share) => Math.min(Math.max(share, 0), 0.9999));
  const value = millimetres[Math.floor(down * rows) * columns + Math.floor(across * columns)];
  const text = value === 0 ? "not believed" : value === BEYOND_MM ? "beyond range" : `${(value / 1000).toFixed(2)} m`;
  for (const probe of probes) {
    probe.style.left = `${100 * across}%`;
    probe.style.top = `${100 * down}%`;
    probe.classList.toggle("low", down < 0.15);
    probe.firstChild.textContent = text;
  }
}

// --- figures ------------------------------------------------------------------------------------

const number = (value, digits, unit) => (value === null || value === undefined ? "–" : `${value.toFixed(digits)}${unit}`);
const percent = (value) => number(value, value !== null && value > 0 && value < 9.95 ? 1 : 0, "\u00a0%");
const list = (object, text) => Object.entries(object).map(text).join(", ");
const seen = (shares) => Object.fromEntries(Object.entries(shares).filter((item) => item[1] >= 0.5));
const FIGURES = [
  ["Depth", (s) => number(s.rate_hz, 1, "\u00a0Hz"), (s) => `camera ${number(s.input_hz, 1, "\u00a0Hz")}`],
  ["Latency", (s) => number(s.latency_ms, 0, "\u00a0ms"), (s) => `p99 ${number(s.latency_ms_p99, 0, "")}, engine ${number(s.engine_ms, 0, "\u00a0ms")}`],
  ["Dropped", (s) => percent(s.dropped_percent), (s) => list(s.dropped, ([reason, count]) => `${reason.replaceAll("_", " ")} ${count}`)],
  ["Believed", (s) => percent(s.believed_percent), (s) => list(seen(s.gated_percent), ([gate, share]) => `${gate.replaceAll("_", " ")} ${number(share, 0, "\u00a0%")}`)],
  ["Confidence", (s) => number(s.confidence, 2, ""), () => "median of the marks"],
  ["Scale factor", (s) => number(s.scale_factor, 2, ""), (s) => s.scale || ""],
];

function tell(news) {
  status = news;
  const level = news.node ? news.level : "waiting";
  setHealth(level, news.node ? { ok: "healthy", warning: "warning", error: "error" }[level] : "waiting");
  $("node").textContent = news.node ? `${news.node} · ${news.state || "?"}` : "";
  $("engine").textContent = [news.model, news.engine].filter(Boolean).join(" · ");
  $("camera-pose").textContent = news.camera_pose || "";
  $("camera-source").textContent = news.camera ? `intrinsics from ${news.camera}` : "";
  const words = news.waiting || news.problem || (level === "ok" ? "" : news.message);
  notice(level === "ok" && news.problem ? "warning" : level, words);
  FIGURES.forEach(([, value, note], index) => {
    const tile = $("figures").children[index];
    tile.querySelector("dd").firstChild.data = news.node ? value(news) : "–";
    tile.querySelector("small").textContent = news.node ? note(news) : "";
  });
  for (const one of controls.values()) one.enable(Boolean(news.node) && !hello.readOnly);
  veil();
}

function setHealth(level, text) {
  $("health").dataset.level = level;
  $("health").textContent = text;
}

function notice(level, text) {
  $("notice").hidden = !text;
  $("notice").dataset.level = level;
  $("notice").textContent = text;
}

function greet(news) {
  hello = news;
  $("legend").style.background = `linear-gradient(to right, ${news.legend.join(", ")})`;
  $("figures").textContent = "";
  for (const [title] of FIGURES) {
    const tile = document.createElement("div");
    tile.innerHTML = "<dt></dt><dd>–<small></small></dd>";
    tile.firstChild.textContent = title;
    $("figures").append(tile);
  }
  makeControls(news);
  drawAbove();
}

addEventListener("resize", drawAbove);
setInterval(veil, 500);
connect();
