"use strict";
// Opens a host to play its voices and draw them. table.js, which runs first, finds, filters and sorts.
// Text from a host stays text: nothing here makes HTML of a string.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const text = (place) => data.texts[place];
  const table = document.getElementById("hosts");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const details = new Map();

  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children.filter((child) => child !== null && child !== ""));
    return element;
  }
  const number = (value, unit = "") => (value === null || value === undefined ? "-" : value.toFixed(2) + unit);

  // --- open a host ---------------------------------------------------------------------------------------------------

  const isOpen = (row) => row.querySelector(".fold").getAttribute("aria-expanded") === "true";

  function open(row, wanted) {
    row.querySelector(".fold").setAttribute("aria-expanded", String(wanted));
    if (wanted && !details.has(row)) {
      const place = Number(row.id.slice(1));
      const under = make("tr", { class: "open", id: `d${place}` }, make("td", { colspan: table.tHead.rows[0].cells.length }, ...host(data.hosts[place])));
      details.set(row, under);
      row.after(under);
    }
    if (details.has(row)) details.get(row).hidden = !wanted;
  }
  for (const row of rows) row.querySelector(".fold").addEventListener("click", () => open(row, !isOpen(row)));

  function follow() {
    const row = document.getElementById(location.hash.slice(1));
    if (!row || row.parentElement !== body) return;
    open(row, true);
    row.scrollIntoView({ block: "start" });
  }
  addEventListener("hashchange", follow);

  function host(of) {
    const parts = [];
    const said = text(of.text);
    if (said) parts.push(make("p", {}, `\u201c${said}\u201d `, make("span", { class: "soft" }, of.proved ? `Proved at ${of.proved}.` : "", of.alive ? " The model was alive in this run." : "")));
    if (of.source) parts.push(make("p", { class: "odd" }, `! ${text(of.said)}.`));
    if (!of.cards.length) return [...parts, make("p", { class: "bad" }, "✗ No proof of speech was made on this host. Its own output says why.")];
    parts.push(ladder(of));
    const more = of.findings.filter((finding) => finding[1] !== true);
    parts.push(...more.map(finding));
    if (of.findings.length) parts.push(measured(of.findings, of.findings.length, "on the host"));
    const load = performance(of.performance);
    if (load) parts.push(load);
    const versions = Object.entries(of.versions).map(([name, place]) => `${name} ${text(place)}`).join(", ");
    parts.push(make("p", { class: "soft" }, "Manifest ", make("code", {}, of.manifest ?? "-"), versions ? `; ${versions}` : "", of.record ? "; " : "",
      of.record ? make("a", { href: encodeURI(of.record) }, "the whole proof as JSON") : ""));
    parts.push(make("div", { class: "cards" }, ...of.cards.map((card) => voice(of, card))));
    return parts;
  }

  const signs = { passed: "✓", failed: "✗", UNVERIFIED: "?" };
  const kinds = { passed: "good", failed: "bad", UNVERIFIED: "open-level" };

  function ladder(of) {
    return make("ul", { class: "ladder", "aria-label": "Levels" }, ...of.levels.map(([level, state, why]) => {
      // Green only if all files are the published ones.
      const kind = of.source && text(state) === "passed" ? "odd" : kinds[text(state)];
      const word = text(state) === "passed" ? "" : text(state) === "failed" ? " failed" : " UNVERIFIED";
      const required = text(level) === of.required ? make("span", { class: "soft" }, " (required)") : "";
      return make("li", { class: kind, title: text(why) }, `${signs[text(state)]} ${text(level)}${word}`, required, text(state) === "UNVERIFIED" ? make("span", { class: "soft" }, ` ${text(why)}`) : "");
    }));
  }

  function finding([name, ok, , , sentence]) {
    const kind = ok === false ? "bad" : "odd";
    const word = ok === false ? "✗ " : "? UNVERIFIED ";
    return make("p", { class: `finding ${kind}` }, make("strong", {}, word + text(name)), `: ${text(sentence).replace(/^UNVERIFIED: /, "")}`);
  }

  function measured(findings, looked, what) {
    const checks = `${looked} ${looked === 1 ? "check" : "checks"} ${what}`;
    if (!data.measured) return make("p", { class: "soft" }, `${checks}. The host\u2019s JSON has the measurements.`);
    const lines = findings.map(([name, ok, value, limit, sentence]) => make("tr", {},
      make("td", {}, ok === true ? "✓" : ok === false ? "✗" : "?"), make("td", {}, text(name)),
      make("td", {}, value === null ? "" : String(value)), make("td", {}, text(limit)),
      make("td", {}, ok === true && typeof value === "string" ? text(sentence) : "")));
    const head = make("tr", {}, ...["", "Check", "Measured", "Limit", ""].map((name) => make("th", {}, name)));
    return make("details", {}, make("summary", {}, checks), make("table", { class: "numbers" }, head, ...lines));
  }

  function performance(found) {
    const loads = Object.entries((found && found.parallel) || {});
    if (!loads.length) return null;
    const measures = [["first_byte", "First byte", " s"], ["latency", "Last byte", " s"], ["real_time_factor", "Real-time factor", ""]];
    const head = make("tr", {}, make("th", {}, "Requests at once"), make("th", {}, "Requests"),
      ...measures.map(([, name]) => make("th", {}, `${name} p50 / p95`)));
    const lines = loads.map(([load, values]) => make("tr", {}, make("td", {}, load), make("td", {}, `${values.requests ?? "-"}${values.errors ? `, ${values.errors} failed` : ""}`),
      ...measures.map(([name, , unit]) => make("td", {}, values[name] ? `${number(values[name].p50, unit)} / ${number(values[name].p95, unit)}` : "-"))));
    return make("table", { class: "numbers performance" }, head, ...lines);
  }

  function voice(of, card) {
    const parts = [make("h3", {}, card.voice, of.source ? make("small", { class: "odd" }, ` ${of.source}`) : "")];
    if (card.wav !== undefined) parts.push(...player(card.wav, `${card.voice} on ${of.host}`));
    else if (card.path) parts.push(make("p", {}, make("a", { href: encodeURI(card.path) }, "Listen"), " (the sound is beside this page, because the page is large)"));
    else parts.push(make("p", { class: "soft" }, "No WAV file of this voice was copied to the controller."));
    const like = data.reference.wavs[card.voice];
    if (card.wav !== undefined && like !== undefined && like !== card.wav) {
      const fold = make("details", { class: "compare" }, make("summary", {}, `Compare with ${data.reference.host}`));
      fold.addEventListener("toggle", () => {
        if (fold.open && fold.children.length === 1) fold.append(...player(like, `${card.voice} on ${data.reference.host}`));
      });
      parts.push(fold);
    }
    for (const sample of card.samples) {
      const numbers = sample.latency === null ? "" : ` ${number(sample.seconds, " s")} of audio in ${number(sample.latency, " s")} (${number(sample.rtf)})`;
      parts.push(make("p", {}, make("strong", {}, text(sample.format)), ` ${text(sample.level)},${numbers}`));
      parts.push(...sample.findings.filter((one) => one[1] !== true).map(finding), measured(sample.findings, sample.looked, "of this sample"));
    }
    return make("div", { class: "card" }, ...parts);
  }

  // --- sound and its pictures ----------------------------------------------------------------------------------------

  const COLUMNS = 600, BANDS = 128, POINTS = 512, RANGE = 70;
  // From nearly black over violet and orange to pale yellow.
  const STOPS = [[4, 5, 22], [66, 15, 117], [148, 38, 110], [221, 81, 58], [252, 165, 10], [252, 253, 191]];

  function player(place, name) {
    const base64 = document.getElementById(`wav${place}`).textContent;
    const audio = make("audio", { controls: "", preload: "metadata", src: `data:audio/wav;base64,${base64}`, "aria-label": name });
    const wave = make("canvas", { class: "wave", role: "img", width: COLUMNS, height: 120, "aria-label": `Waveform of ${name}` });
    const spec = make("canvas", { class: "spec", role: "img", width: COLUMNS, height: BANDS, "aria-label": `Spectrogram of ${name}` });
    const head = make("span", { class: "head", hidden: "" });
    const top = make("span", { class: "axis top" }), low = make("span", { class: "axis low" }, "0"), end = make("span", { class: "axis end" });
    const picture = make("div", { class: "picture" }, wave, spec, top, low, end, head);
    // Draw a picture only when it becomes visible, because a host may have fifty voices.
    new IntersectionObserver((entries, watcher) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      watcher.disconnect();
      const sound = decode(base64);
      if (!sound) return;
      top.textContent = `${Math.round(sound.rate / 2000)} kHz`;
      end.textContent = `${(sound.samples.length / sound.rate).toFixed(2)} s`;
      drawWave(wave, sound.samples);
      drawSpectrogram(spec, sound.samples);
    }, { rootMargin: "200px" }).observe(picture);
    audio.addEventListener("timeupdate", () => {
      head.hidden = audio.currentTime === 0;
      head.style.left = `${(100 * audio.currentTime) / (audio.duration || 1)}%`;
    });
    picture.addEventListener("click", (event) => {
      const box = picture.getBoundingClientRect();
      audio.currentTime = ((event.clientX - box.left) / box.width) * (audio.duration || 0);
      audio.play();
    });
    return [picture, audio];
  }

  // Returns the samples (first channel) and the rate of a 16-bit WAV file, or null for another file.
  function decode(base64) {
    const raw = atob(base64);
    const bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i += 1) bytes[i] = raw.charCodeAt(i);
    const view = new DataView(bytes.buffer);
    let at = 12, rate = 0, channels = 1;
    while (at + 8 <= bytes.length) {
      const name = String.fromCharCode(...bytes.subarray(at, at + 4));
      const size = view.getUint32(at + 4, true);
      at += 8;
      if (name === "fmt ") {
        channels = view.getUint16(at + 2, true) || 1;
        rate = view.getUint32(at + 4, true);
      } else if (name === "data") {
        const streamed = size === 0 || size >= 0x7fff0000;
        const count = Math.floor((streamed ? bytes.length - at : Math.min(size, bytes.length - at)) / 2 / channels);
        const samples = new Float32Array(count);
        for (let i = 0; i < count; i += 1) samples[i] = view.getInt16(at + 2 * channels * i, true) / 32768;
        return rate && count ? { samples, rate } : null;
      }
      at += size + (size & 1);
    }
    return null;
  }

  function drawWave(canvas, samples) {
    const pen = canvas.getContext("2d");
    const style = getComputedStyle(canvas);
    const middle = canvas.height / 2;
    pen.fillStyle = style.getPropertyValue("--line");
    pen.fillRect(0, middle, canvas.width, 1);
    pen.fillStyle = style.getPropertyValue("--wave");
    for (let x = 0; x < canvas.width; x += 1) {
      const from = Math.floor((x * samples.length) / canvas.width);
      const to = Math.max(from + 1, Math.floor(((x + 1) * samples.length) / canvas.width));
      let low = samples[from], high = samples[from];
      for (let i = from + 1; i < to && i < samples.length; i += 1) {
        if (samples[i] < low) low = samples[i];
        if (samples[i] > high) high = samples[i];
      }
      pen.fillRect(x, middle - high * middle, 1, Math.max(1, (high - low) * middle));
    }
  }

  // Time runs to the right. 0 Hz is at the bottom, half the sample rate at the top. RANGE dB go from dark to light.
  function drawSpectrogram(canvas, samples) {
    const pen = canvas.getContext("2d");
    const image = pen.createImageData(canvas.width, BANDS);
    const levels = new Float32Array(canvas.width * BANDS);
    const real = new Float32Array(POINTS), imaginary = new Float32Array(POINTS);
    let loudest = -Infinity;
    for (let x = 0; x < canvas.width; x += 1) {
      const from = Math.round((Math.max(0, samples.length - POINTS) * x) / (canvas.width - 1));
      for (let i = 0; i < POINTS; i += 1) {
        real[i] = (samples[from + i] || 0) * (0.5 - 0.5 * Math.cos((2 * Math.PI * i) / POINTS));
        imaginary[i] = 0;
      }
      transform(real, imaginary);
      for (let band = 0; band < BANDS; band += 1) {
        let power = 1e-12;
        for (let k = 2 * band; k < 2 * band + 2; k += 1) power = Math.max(power, real[k] * real[k] + imaginary[k] * imaginary[k]);
        const level = 10 * Math.log10(power);
        levels[x * BANDS + band] = level;
        loudest = Math.max(loudest, level);
      }
    }
    for (let x = 0; x < canvas.width; x += 1) {
      for (let band = 0; band < BANDS; band += 1) {
        const part = Math.min(1, Math.max(0, (levels[x * BANDS + band] - loudest + RANGE) / RANGE)) * (STOPS.length - 1);
        const low = Math.min(STOPS.length - 2, Math.floor(part));
        const at = 4 * ((BANDS - 1 - band) * canvas.width + x);
        for (let colour = 0; colour < 3; colour += 1) {
          image.data[at + colour] = STOPS[low][colour] + (STOPS[low + 1][colour] - STOPS[low][colour]) * (part - low);
        }
        image.data[at + 3] = 255;
      }
    }
    pen.putImageData(image, 0, 0);
  }

  // Makes the discrete Fourier transform in place. The length must be a power of two.
  function transform(real, imaginary) {
    const size = real.length;
    for (let i = 1, j = 0; i < size; i += 1) {
      let bit = size >> 1;
      for (; j & bit; bit >>= 1) j ^= bit;
      j ^= bit;
      if (i < j) {
        [real[i], real[j]] = [real[j], real[i]];
        [imaginary[i], imaginary[j]] = [imaginary[j], imaginary[i]];
      }
    }
    for (let length = 2; length <= size; length *= 2) {
      const angle = (-2 * Math.PI) / length;
      for (let k = 0; k < length / 2; k += 1) {
        const cosine = Math.cos(angle * k), sine = Math.sin(angle * k);
        for (let i = k; i < size; i += length) {
          const j = i + length / 2;
          const a = real[j] * cosine - imaginary[j] * sine, b = real[j] * sine + imaginary[j] * cosine;
          real[j] = real[i] - a;
          imaginary[j] = imaginary[i] - b;
          real[i] += a;
          imaginary[i] += b;
        }
      }
    }
  }

  follow();
  // Open the details if there is only one host.
  if (rows.length === 1) open(rows[0], true);
})();
