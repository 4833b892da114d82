// The waveform, the place in it, and what moves the two.

import WaveSurfer from "./wavesurfer.js";
import { clock } from "./lanes.js";

const $ = (id) => document.getElementById(id);
const WIDEST = 30000; // pixels; browsers draw no wider canvas

export class Player {
  /** @param {function()} redraw is called when the width has changed. */
  constructor(redraw) {
    this.redraw = redraw;
    this.audio = new Audio();
    this.audio.preload = "auto";
    this.audio.addEventListener("error", () => this.cannotPlay());
    for (const name of ["play", "pause", "ended"]) this.audio.addEventListener(name, () => this.told());
    for (const name of ["timeupdate", "seeked", "loadedmetadata"]) this.audio.addEventListener(name, () => this.moved());
    $("play").addEventListener("click", () => this.toggle());
    $("zoom").addEventListener("input", () => this.zoom());
    $("wave").addEventListener("keydown", (event) => this.key(event));
    addEventListener("resize", () => this.zoom());
    addEventListener("keydown", (event) => {
      const busy = event.target.closest?.("button, input, select, summary, a, textarea");
      if (event.key === " " && !busy && !$("results").hidden) {
        event.preventDefault();
        this.toggle();
      }
    });
    const follow = () => {
      if (!this.audio.paused) this.moved();
      requestAnimationFrame(follow);
    };
    follow();
  }

  /** Show a recording: the file to play, and the outline that the server has made of it. */
  show(file, data) {
    this.duration = data.duration;
    this.canPlay = true;
    $("silent").hidden = true;
    $("play").disabled = false;
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = URL.createObjectURL(file);
    this.audio.src = this.url;
    this.waves?.destroy();
    const style = getComputedStyle(document.documentElement);
    this.waves = WaveSurfer.create({
      container: $("wave"),
      height: 96,
      media: this.audio,
      peaks: outline(data.speakers),
      duration: data.duration,
      normalize: true,
      barWidth: 2,
      barGap: 1,
      cursorWidth: 0,
      waveColor: style.getPropertyValue("--wave").trim(),
      progressColor: style.getPropertyValue("--played").trim(),
      hideScrollbar: true,
      dragToSeek: true,
      cspNonce: document.querySelector("meta[name=style-nonce]").content,
    });
    this.waves.on("interaction", (second) => this.seek(second));
    $("wave").setAttribute("aria-valuemax", data.duration.toFixed(1));
    $("zoom").value = 0;
    this.second = 0;
    this.zoom();
    this.moved();
  }

  get place() {
    return this.canPlay ? this.audio.currentTime : this.second;
  }

  seek(second) {
    this.second = Math.max(0, Math.min(second, this.duration));
    if (this.canPlay) this.audio.currentTime = this.second;
    this.moved();
  }

  toggle() {
    if (!this.canPlay) return;
    if (this.audio.paused) this.audio.play().catch(() => this.cannotPlay());
    else this.audio.pause();
  }

  told() {
    const playing = !this.audio.paused && !this.audio.ended;
    $("play").textContent = playing ? "Pause" : "Play";
    $("play").setAttribute("aria-label", playing ? "Pause" : "Play");
  }

  cannotPlay() {
    if (!this.audio.src) return;
    this.canPlay = false;
    $("silent").hidden = false;
    $("play").disabled = true;
  }

  moved() {
    const share = Math.min(1, this.place / this.duration || 0), width = $("wide").clientWidth;
    $("cursor").style.transform = `translateX(${share * width}px)`;
    $("time").textContent = clock(this.place);
    $("wave").setAttribute("aria-valuenow", this.place.toFixed(1));
    $("wave").setAttribute("aria-valuetext", `${clock(this.place)} of ${clock(this.duration || 0)}`);
    const box = $("scroll"), left = share * width - box.scrollLeft;
    if (!this.audio.paused && (left < 0 || left > 0.9 * box.clientWidth)) box.scrollLeft = share * width - 0.1 * box.clientWidth;
  }

  /** Make all as wide as the slider says: from what fits up to 100 pixels a second. */
  zoom() {
    if (!this.duration) return;
    const least = $("scroll").clientWidth, most = Math.max(least, Math.min(WIDEST, 100 * this.duration));
    const before = this.place / this.duration;
    $("wide").style.width = `${Math.round(least * (most / least) ** Number($("zoom").value))}px`;
    $("scroll").scrollLeft = before * $("wide").clientWidth - least / 2;
    this.ticks();
    this.redraw();
    this.moved();
  }

  ticks() {
    const width = $("wide").clientWidth, steps = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800];
    const step = steps.find((one) => (one * width) / this.duration >= 64) ?? 3600;
    const marks = [];
    for (let second = 0; second < this.duration; second += step) {
      const mark = document.createElement("span");
      mark.textContent = step < 1 ? clock(second) : clock(second).replace(/\.\d$/, "");
      mark.style.left = `${(100 * second) / this.duration}%`;
      marks.push(mark);
    }
    $("axis").replaceChildren(...marks);
  }

  key(event) {
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (!step && event.key !== "Home" && event.key !== "End") return;
    event.preventDefault();
    if (step) this.seek(this.place + step * (event.shiftKey ? 10 : 1));
    else this.seek(event.key === "Home" ? 0 : this.duration);
  }
}

/** Return the outline of all lanes together: above the middle, and below it. */
function outline(speakers) {
  const all = speakers.map((one) => one.envelope);
  const largest = (name, sign) => all[0][name].map((_, place) => Math.max(0, ...all.map((one) => sign * (one[name][place] ?? 0))));
  return [largest("high", 1), largest("low", -1)];
}
