// Emotion over time: a lane a speaker, with its stretches, and the probabilities under them.

// The hues of the picture of 'gemoclap timeline', lighter, so that dark letters can be read on them.
const KNOWN = {
  neutral: "#a6a6a6", calm: "#4cc49a", happy: "#f2b632", excited: "#ffb3c0", sad: "#4a9be0", angry: "#ee7161",
  fearful: "#ab83e0", disgusted: "#bdab3c", surprised: "#94d3f7", bored: "#8a8a8a", unknown: "#d6d9e0",
};
const OTHERS = ["#e0985a", "#8ea0ff", "#bfcc3f", "#e070ac", "#58b0e0", "#c7a77f", "#7fd18f", "#d98f8f"];

/** Return label -> colour. */
export function coloursOf(labels) {
  const free = OTHERS.filter(Boolean);
  let next = 0;
  return new Map([...labels, "unknown"].map((label) => [label, KNOWN[label] ?? free[next++ % free.length]]));
}

/** Return 3:07.5, or 1:03:07.5 from an hour on. */
export function clock(seconds) {
  const tenths = Math.round(10 * seconds), hours = Math.floor(tenths / 36000), minutes = Math.floor(tenths / 600) % 60;
  const rest = ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

/** Return what is said of a stretch; one without an answer has no confidence. */
export const shareOf = ({ confidence }) => (confidence === null ? "no answer" : percent(confidence));

export const percent = (share) => `${Math.round(100 * share)}\u00a0%`;

export class Lanes {
  /**
   * @param {HTMLElement} box gets the lanes.
   * @param {HTMLElement} tip shows probabilities.
   * @param {function(number)} seek is called with seconds.
   */
  constructor(box, tip, seek) {
    Object.assign(this, { box, tip, seek });
    addEventListener("scroll", () => this.scrolled(), true);
  }

  show(data) {
    this.data = data;
    this.colours = coloursOf(data.emotions);
    this.box.replaceChildren(...data.speakers.map((speaker) => this.lane(speaker, data.speakers.length > 1)));
    this.draw();
  }

  lane(speaker, named) {
    const lane = document.createElement("section");
    lane.className = "lane";
    lane.setAttribute("aria-label", `Emotions of ${speaker.speaker}`);
    if (named) {
      const title = document.createElement("h3");
      title.textContent = speaker.speaker;
      lane.append(title);
    }
    const band = document.createElement("div");
    band.className = "band";
    band.setAttribute("role", "group");
    band.setAttribute("aria-label", speaker.segments.length ? `${speaker.segments.length} stretches` : "no speech");
    band.append(...speaker.segments.map((segment) => this.stretch(segment)));
    if (band.firstChild) band.firstChild.tabIndex = 0;
    band.addEventListener("keydown", (event) => this.walk(event, band));
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", "Probabilities over time; the table below has them for each stretch");
    for (const part of [band, canvas]) {
      part.addEventListener("pointermove", (event) => this.hover(event, speaker, canvas));
      part.addEventListener("pointerleave", () => this.hide());
    }
    canvas.addEventListener("click", (event) => this.seek(this.secondAt(event, canvas)));
    lane.append(band, canvas);
    return lane;
  }

  stretch(segment) {
    const button = document.createElement("button");
    const { start, end, emotion } = segment;
    button.type = "button";
    button.tabIndex = -1;
    button.textContent = emotion;
    button.setAttribute("aria-label", `${emotion}, ${shareOf(segment)}, from ${clock(start)} to ${clock(end)}`);
    button.style.left = `${(100 * start) / this.data.duration}%`;
    button.style.width = `${(100 * (end - start)) / this.data.duration}%`;
    button.style.background = this.colours.get(emotion);
    button.addEventListener("click", () => this.seek(start));
    const tell = () => {
      const { left, bottom } = button.getBoundingClientRect();
      this.tell(`${clock(start)} to ${clock(end)}: ${emotion}`, segment.probabilities, left, bottom + 8);
    };
    button.addEventListener("focus", () => {
      if (!button.matches(":focus-visible")) return;
      tell();
      this.focused = tell;
    });
    button.addEventListener("blur", () => this.hide());
    return button;
  }

  /** Move the focus within a lane, so that Tab goes past all of it at once. */
  walk(event, band) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const next = event.key === "Home" ? band.firstChild : event.key === "End" ? band.lastChild
      : step === 1 ? event.target.nextSibling : step === -1 ? event.target.previousSibling : null;
    if (!next) return;
    event.preventDefault();
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  /** Draw the probabilities anew, as when the width has changed. */
  draw() {
    if (!this.data) return;
    [...this.box.querySelectorAll(".lane")].forEach((lane, number) => {
      const canvas = lane.querySelector("canvas"), width = canvas.clientWidth, height = canvas.clientHeight;
      const scale = Math.min(devicePixelRatio || 1, 32000 / Math.max(1, width));
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
      const pen = canvas.getContext("2d");
      pen.scale(canvas.width / this.data.duration, canvas.height);
      for (const { start, end, smoothed } of owned(this.data.speakers[number])) {
        let top = 0;
        for (const label of this.data.emotions) {
          pen.fillStyle = this.colours.get(label);
          pen.fillRect(start, top, end - start, smoothed[label] ?? 0);
          top += smoothed[label] ?? 0;
        }
      }
      for (const button of lane.querySelectorAll(".band button")) button.classList.toggle("narrow", button.scrollWidth > button.clientWidth);
    });
  }

  secondAt(event, canvas) {
    const { left, width } = canvas.getBoundingClientRect();
    return Math.max(0, Math.min(1, (event.clientX - left) / width)) * this.data.duration;
  }

  hover(event, speaker, canvas) {
    const second = this.secondAt(event, canvas);
    const here = owned(speaker).find(({ start, end }) => start <= second && second < end);
    if (!here) return this.hide();
    const who = this.data.speakers.length > 1 ? `, ${speaker.speaker}` : "";
    this.tell(`${clock(second)}${who}`, here.smoothed, event.clientX + 14, event.clientY + 14);
  }

  tell(title, probabilities, left, top) {
    const rows = Object.entries(probabilities).sort(([, one], [, other]) => other - one).slice(0, 8);
    const head = document.createElement("b");
    head.textContent = title;
    this.tip.replaceChildren(head, ...rows.map(([label, share]) => {
      const row = document.createElement("div"), name = document.createElement("span"), bar = document.createElement("i"),
        number = document.createElement("span");
      name.textContent = label;
      bar.style.width = `${100 * share}%`;
      bar.style.background = this.colours.get(label);
      number.textContent = percent(share);
      row.append(name, bar, number);
      return row;
    }));
    this.tip.hidden = false;
    this.focused = null;
    this.shownAt = this.place();
    const { width, height } = this.tip.getBoundingClientRect();
    this.tip.style.left = `${Math.max(8, Math.min(left, innerWidth - width - 8))}px`;
    this.tip.style.top = `${top + height > innerHeight - 8 ? Math.max(8, top - height - 28) : top}px`;
  }

  place() {
    return `${scrollX} ${scrollY} ${this.box.closest(".scroll").scrollLeft}`;
  }

  /** What the mouse pointed at has gone; what has the focus takes its probabilities along. */
  scrolled() {
    if (this.tip.hidden || this.shownAt === this.place()) return;
    const tell = this.focused;
    if (!tell) return this.hide();
    tell();
    this.focused = tell;
  }

  hide() {
    this.tip.hidden = true;
    this.focused = null;
  }
}

/** Return the windows with the stretch of speech that each is the nearest to, as the server divides it. */
function owned(speaker) {
  if (speaker.owned) return speaker.owned;
  speaker.owned = [];
  let next = 0;
  for (const [start, end] of speaker.speech) {
    const inside = [];
    while (next < speaker.windows.length && speaker.windows[next].start < end) inside.push(speaker.windows[next++]);
    const middles = inside.map((window) => (window.start + window.end) / 2);
    inside.forEach((window, number) => speaker.owned.push({
      start: number ? (middles[number - 1] + middles[number]) / 2 : start,
      end: number + 1 < inside.length ? (middles[number] + middles[number + 1]) / 2 : end,
      smoothed: window.smoothed,
    }));
  }
  return speaker.owned;
}
