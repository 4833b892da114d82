// The microphone: its samples as a WAV file, and meanwhile as a stream to the server.

export class Recorder {
  /**
   * @param {object} on level(0 to 1), seconds(number), remarks(texts), window(object), trouble(text), full(): what the page shows meanwhile.
   * @param {number} longest seconds after which recording stops by itself.
   * @param {number} largest bytes of the file before which it stops, too: a larger one could not be sent.
   */
  constructor(on, longest, largest) {
    this.on = on;
    this.longest = longest;
    this.largest = largest;
    this.parts = [];
    this.count = 0;
  }

  /** Begin; throws where the browser gives no microphone. */
  async start(key, query) {
    if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorklet) {
      throw new Error("Browsers give the microphone only to pages at https or at localhost. Open this page there, or choose a file.");
    }
    try {
      // The model learnt from sound as it is: what makes calls clearer takes emotion out of the voice.
      const audio = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
      this.media = await navigator.mediaDevices.getUserMedia({ audio });
    } catch (error) {
      const missing = error.name === "NotFoundError";
      throw new Error(missing ? "No microphone was found. Plug one in, or choose a file."
        : "The browser may not use the microphone. Allow it for this page, or choose a file.");
    }
    this.context = new AudioContext();
    await this.context.audioWorklet.addModule("worklet.js");
    this.node = new AudioWorkletNode(this.context, "samples", { numberOfOutputs: 0 });
    this.node.port.onmessage = ({ data }) => this.take(data);
    this.context.createMediaStreamSource(this.media).connect(this.node);
    this.listen(key, query);
  }

  listen(key, query) {
    const url = new URL("v1/stream", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.search = new URLSearchParams([["sample_rate", this.context.sampleRate], ["format", "f32le"], ...query]);
    this.socket = new WebSocket(url, key ? ["gemoclap", key] : ["gemoclap"]);
    this.socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.type === "ready") this.on.remarks(message.remarks);
      if (message.type === "window") this.on.window(message);
      if (message.type === "error") this.on.trouble(message.message);
    };
    this.socket.onerror = () => this.on.trouble("Nothing is shown while you speak, since the server takes no stream. The recording goes on.");
  }

  take(samples) {
    this.parts.push(samples);
    this.count += samples.length;
    if (this.socket.readyState === WebSocket.OPEN && this.socket.bufferedAmount < 2 ** 20) this.socket.send(samples);
    this.on.level(Math.max(...samples.map(Math.abs)));
    const seconds = this.count / this.context.sampleRate;
    this.on.seconds(seconds);
    const next = 44 + 2 * (this.count + samples.length); // bytes of the file
    if (seconds >= this.longest || next >= this.largest) this.on.full();
  }

  /** End, and return the recording as a file; null if nothing was heard. */
  stop() {
    this.media?.getTracks().forEach((track) => track.stop());
    if (this.node) this.node.port.onmessage = null;
    const rate = this.context?.sampleRate;
    this.context?.close();
    if (this.socket) {
      this.socket.onerror = this.socket.onmessage = null;
      if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ type: "end" }));
      else this.socket.close();
    }
    return this.count ? new File([wav(this.parts, this.count, rate)], "recording.wav", { type: "audio/wav" }) : null;
  }
}

/** Return 16-bit mono PCM with a header. */
function wav(parts, count, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * count));
  const words = (place, text) => [...text].forEach((letter, number) => view.setUint8(place + number, letter.charCodeAt(0)));
  words(0, "RIFF"); view.setUint32(4, 36 + 2 * count, true); words(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true); view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  words(36, "data"); view.setUint32(40, 2 * count, true);
  let place = 44;
  for (const part of parts) {
    for (const sample of part) {
      view.setInt16(place, Math.round(32767 * Math.max(-1, Math.min(1, sample))), true);
      place += 2;
    }
  }
  return view.buffer;
}
