// What the page does: take a recording, ask the server, show what it says.

import { Lanes, clock, coloursOf, percent, shareOf } from "./lanes.js";
import { Player } from "./player.js";
import { Recorder } from "./recorder.js";

const $ = (id) => document.getElementById(id);
let about = null; // what the server says of itself
let key = "";
let file = null; // the recording that was asked for last, and not refused
let shown = null; // the one whose answer is shown
let answer = null;
let request = null;
let recorder = null;

const player = new Player(() => lanes.draw());
const lanes = new Lanes($("lanes"), $("tip"), (second) => player.seek(second));

// The server.

async function ask() {
  $("host").textContent = location.host;
  try {
    const found = await fetch("v1/model", { headers: headers() });
    if (found.status === 401) return wantKey();
    if (!found.ok) throw new Error();
    about = await found.json();
  } catch {
    $("model").textContent = "";
    return fail("The server does not answer. Look whether it still runs, then load this page again.");
  }
  $("key-box").hidden = true;
  $("model").textContent = `The model “${about.model}” knows: ${about.emotions.join(", ")}.`;
  const { megabytes, seconds } = about.limits;
  $("formats").textContent = `WAV, FLAC, MP3, Ogg or Opus, up to ${megabytes} MB and ${Math.round(seconds / 60)} minutes.`;
  $("labels").disabled = $("any-words").disabled = !about.takes_any_labels;
  $("adapt").disabled = !about.can_be_adapted;
  if (!about.can_be_adapted) $("adapt-help").textContent = "This model cannot be adapted.";
  if (!about.takes_any_labels) $("labels-help").textContent = "This model can only tell the labels that it was trained on.";
}

function headers() {
  return key ? { Authorization: `Bearer ${key}` } : {};
}

function wantKey() {
  $("model").textContent = key ? "That is not the key." : "";
  $("key-box").hidden = false;
  $("key").focus();
}

$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key = $("key").value.trim();
  if (!/^[\x21-\x7e]+$/.test(key)) key = "-";
  ask();
});

// Which recording.

$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => {
  if ($("file").files[0]) look($("file").files[0]);
  $("file").value = "";
});
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", name === "dragover");
    if (name === "drop" && event.dataTransfer.files[0]) look(event.dataTransfer.files[0]);
  });
}

$("record").addEventListener("click", () => (recorder ? stopRecording() : startRecording()));

async function startRecording() {
  clearError();
  const heard = (text) => ($("heard").textContent = text);
  recorder = new Recorder({
    level: (level) => ($("level").value = level),
    seconds: (seconds) => ($("clock").textContent = clock(seconds).replace(/\.\d$/, "")),
    remarks: (remarks) => showRemarks("live-remarks", remarks),
    window: ({ emotion, confidence, error }) => heard(error ?? `${emotion}, ${percent(confidence)}`),
    trouble: heard,
    full: () => stopRecording(),
  }, about?.limits.seconds ?? 600, 0.99e6 * (about?.limits.megabytes ?? 50)); // the rest is for the form
  const mine = recorder;
  $("record").classList.add("recording");
  $("record-text").textContent = "Stop";
  $("choose").disabled = true;
  showRemarks("live-remarks", []);
  heard("Speak. The first emotion comes after a pause or a few seconds.");
  try {
    await mine.start(key, [...fields()].filter(([name]) => name !== "channel"));
    if (recorder === mine) $("live").hidden = false;
    else mine.stop();
  } catch (error) {
    mine.stop();
    if (recorder === mine) recorder = null;
    notRecording();
    fail(error.message);
  }
}

function stopRecording() {
  const found = recorder.stop();
  recorder = null;
  notRecording();
  if (found) look(found);
  else fail("Nothing was recorded. Try again.");
}

function notRecording() {
  $("record").classList.remove("recording");
  $("record-text").textContent = "Record";
  $("choose").disabled = false;
  $("live").hidden = true;
}

// The answer.

function* fields() {
  const labels = $("labels").value.split(",").map((one) => one.trim()).filter(Boolean).join(",");
  if (labels) yield ["labels", labels];
  if (labels && $("any-words").checked) yield ["any_words", "true"];
  if ($("adapt").checked) yield ["adapt", "speaker"];
  yield ["channel", $("channel").value];
}

function look(chosen) {
  cancel(); // the answer for another recording would be shown as that of this one
  keep(chosen);
  clearError();
  if (about && file.size > 1e6 * about.limits.megabytes) {
    return refused(`${file.name} has ${(file.size / 1e6).toFixed(1)} MB; the server takes ${about.limits.megabytes} MB. Send a shorter recording, or compress it.`);
  }
  const form = new FormData();
  for (const [name, value] of fields()) form.append(name, value);
  for (const part of ["envelope", "csv", "vtt"]) form.append("include", part);
  form.append("file", file, file.name);
  const mine = (request = new XMLHttpRequest()); // fetch does not tell how much was sent
  mine.open("POST", "v1/timeline");
  for (const [name, value] of Object.entries(headers())) mine.setRequestHeader(name, value);
  mine.upload.onprogress = ({ loaded, total }) => busy(loaded < total ? `Sending ${file.name}…` : `Listening to ${file.name}…`, loaded < total ? loaded / total : null);
  mine.onload = () => done(mine);
  mine.onerror = () => done(mine);
  busy(`Sending ${file.name}…`, 0);
  mine.send(form);
}

function keep(chosen) {
  file = chosen;
  $("again").disabled = !file;
}

/** Say why nothing can be made of the recording, and go back to the one that is shown: to send the same again is of no use. */
function refused(message) {
  fail(message);
  keep(shown);
}

function busy(text, share) {
  $("busy").hidden = false;
  $("busy-text").textContent = text;
  if (share === null) $("progress").removeAttribute("value");
  else $("progress").value = share;
}

function cancel() {
  request?.abort();
  request = null;
  $("busy").hidden = true;
}

$("cancel").addEventListener("click", cancel);

const ABOUT_THE_FILE = ["not_audio", "too_large", "too_long", "unusable_file"]; // codes of errors

function done(mine) {
  if (mine !== request) return;
  request = null;
  $("busy").hidden = true;
  let data = null;
  try {
    data = JSON.parse(mine.responseText);
  } catch { /* no answer, or that of something between */ }
  if (mine.status === 200 && data) return show(data);
  if (mine.status === 401) return wantKey();
  if (ABOUT_THE_FILE.includes(data?.error?.code)) return refused(data.error.message);
  const again = mine.status === 429 || mine.status === 503 || mine.status === 0;
  fail(data?.error?.message ?? "The server does not answer. Look whether it still runs.", again);
}

function fail(message, again = false) {
  const text = file && message.startsWith(file.name) ? message : message.charAt(0).toUpperCase() + message.slice(1);
  const line = document.createElement("p");
  line.textContent = /[.!?]$/.test(text) ? text : `${text}.`;
  $("error").replaceChildren(line);
  if (again && file) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Try again";
    button.addEventListener("click", () => look(file));
    $("error").append(button);
  }
  $("error").hidden = false;
  $("error").scrollIntoView({ block: "nearest" }); // on a phone, open options push it out of sight
}

function clearError() {
  $("error").hidden = true;
}

function show(data) {
  answer = data;
  shown = file;
  $("results").hidden = $("skip").hidden = false;
  $("results-title").textContent = `Emotion over time in ${data.file}`;
  $("summary").textContent = summary(data);
  const several = data.speakers.length > 1;
  const remarks = [...data.remarks, ...data.speakers.flatMap((one) => one.remarks.map((remark) => (several ? `${one.speaker}: ${remark}` : remark)))];
  showRemarks("remarks", remarks);
  player.show(file, data);
  lanes.show(data);
  const used = new Set(data.speakers.flatMap((one) => one.segments.map((segment) => segment.emotion)));
  const colours = [...coloursOf(data.emotions)].filter(([label]) => label !== "unknown" || used.has(label));
  $("legend").replaceChildren(...colours.map(([label, colour]) => {
    const entry = item(label), patch = document.createElement("i");
    patch.style.background = colour;
    entry.prepend(patch);
    return entry;
  }));
  table(data, several);
  $("results").focus({ preventScroll: true });
  $("results").scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}

function showRemarks(id, remarks) {
  $(id).replaceChildren(...remarks.map((remark) => item(inPage(remark))));
  $(id).hidden = !remarks.length;
}

/** Say a remark in the words of this page. */
function inPage(remark) {
  const text = remark.replace("set channel to each for a lane a channel", "the options can give each a lane");
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

function item(text) {
  const entry = document.createElement("li");
  entry.append(text);
  return entry;
}

function summary(data) {
  const seconds = new Map();
  for (const segment of data.speakers.flatMap((one) => one.segments)) {
    seconds.set(segment.emotion, (seconds.get(segment.emotion) ?? 0) + segment.end - segment.start);
  }
  const total = [...seconds.values()].reduce((sum, one) => sum + one, 0);
  if (!total) return `No speech was found in ${data.duration.toFixed(1)} s.`;
  const shares = [...seconds].sort(([, one], [, other]) => other - one).map(([label, one]) => `${label} ${percent(one / total)}`);
  const adapted = data.settings.adapt === "speaker" ? ` Adapted to ${data.speakers.length > 1 ? "each voice" : "this recording"}.` : "";
  const lanes = data.speakers.length > 1 ? `${data.speakers.length} channels of ` : "";
  return `${total.toFixed(1)} s of speech in ${lanes}${data.duration.toFixed(1)} s: ${shares.join(", ")}.${adapted}`;
}

function table(data, several) {
  const rows = data.speakers.flatMap((one) => one.segments.map((segment) => ({ who: one.speaker, ...segment })));
  rows.sort((one, other) => one.start - other.start);
  document.querySelector("#table .who").hidden = !several;
  document.querySelector("#table tbody").replaceChildren(...rows.map((row) => {
    const line = document.createElement("tr"), jump = document.createElement("button");
    jump.type = "button";
    jump.textContent = clock(row.start);
    jump.setAttribute("aria-label", `Go to ${clock(row.start)}`);
    jump.addEventListener("click", () => player.seek(row.start));
    const cells = [jump, clock(row.end), ...(several ? [row.who] : []), row.emotion, shareOf(row)];
    for (const cell of cells) line.insertCell().append(cell);
    return line;
  }));
}

$("options-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (file) look(file);
});

for (const [form, type] of [["csv", "text/csv"], ["vtt", "text/vtt"]]) {
  $(form).addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([answer[form]], { type }));
    link.download = `${answer.file.replace(/\.[^.]*$/, "")}.${form}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}

ask();
