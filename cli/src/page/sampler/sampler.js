"use strict";
// Draws in the browser what `fewstep sample` draws with the same seed: the same noise, the same calls of the same network.
(function () {
  const byId = (id) => document.getElementById(id);
  const model = JSON.parse(byId("model").textContent);
  const status = byId("status");
  const numbers = model.shape.reduce((a, b) => a * b);
  const tell = (text) => { status.textContent = text; };

  // ChaCha8 under a key that says what the numbers are for, as the library's `noise::Stream`.
  const LATENT = 1;
  const LABEL = 2;
  class Stream {
    constructor(seed, use) {
      const key = new DataView(new ArrayBuffer(32));
      key.setBigUint64(0, seed, true);
      key.setUint32(24, use, true);
      [..."few1"].forEach((letter, i) => key.setUint8(28 + i, letter.charCodeAt(0)));
      this.state = new Uint32Array(16);
      this.state.set([0x61707865, 0x3320646e, 0x79622d32, 0x6b206574]);
      for (let i = 0; i < 8; i++) { this.state[4 + i] = key.getUint32(4 * i, true); }
      this.block = new Uint32Array(16);
      this.at = 16;
    }
    refill() {
      const x = this.block;
      x.set(this.state);
      const turn = (value, by) => (value << by) | (value >>> (32 - by));
      const quarter = (a, b, c, d) => {
        x[a] += x[b]; x[d] = turn(x[d] ^ x[a], 16);
        x[c] += x[d]; x[b] = turn(x[b] ^ x[c], 12);
        x[a] += x[b]; x[d] = turn(x[d] ^ x[a], 8);
        x[c] += x[d]; x[b] = turn(x[b] ^ x[c], 7);
      };
      for (let round = 0; round < 4; round++) {
        quarter(0, 4, 8, 12); quarter(1, 5, 9, 13); quarter(2, 6, 10, 14); quarter(3, 7, 11, 15);
        quarter(0, 5, 10, 15); quarter(1, 6, 11, 12); quarter(2, 7, 8, 13); quarter(3, 4, 9, 14);
      }
      for (let i = 0; i < 16; i++) { x[i] += this.state[i]; }
      this.state[12] += 1;
      if (this.state[12] === 0) { this.state[13] += 1; }
      this.at = 0;
    }
    word() {
      if (this.at === 16) { this.refill(); }
      return this.block[this.at++];
    }
    uniform() {
      const low = this.word();
      return (this.word() * 2 ** 21 + (low >>> 11)) * 2 ** -53;
    }
    normals(count) {
      const values = new Float32Array(count + 1);
      for (let i = 0; i < count; i += 2) {
        const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
        const angle = 2 * Math.PI * this.uniform();
        values[i] = radius * Math.cos(angle);
        values[i + 1] = radius * Math.sin(angle);
      }
      return values.subarray(0, count);
    }
    below(n) {
      const all = 1n << 64n;
      const range = BigInt(n);
      for (;;) {
        const low = BigInt(this.word());
        const product = ((BigInt(this.word()) << 32n) | low) * range;
        if (product % all >= (all - range) % range) { return Number(product / all); }
      }
    }
  }

  // The sum of known values, each times its weight.
  function sum(known, weights) {
    const values = new Float32Array(numbers);
    for (let i = 0; i < numbers; i++) {
      let total = 0;
      for (let k = 0; k < weights.length; k++) { total += known[k][i] * weights[k]; }
      values[i] = total;
    }
    return values;
  }

  let ort = null;
  const sessions = {};

  async function denoise(session, noisy, sigma, label, plan) {
    const tensor = (values, dims) => new ort.Tensor("float32", Float32Array.from(values), dims);
    const feeds = { noisy: tensor(noisy, [1, ...model.shape]), sigma: tensor([sigma], [1]) };
    if (plan.timestamps) { feeds.timestamps = tensor([plan.timestamps], [1]); }
    if (model.classes > 0) {
      const row = new Float32Array(model.classes);
      if (label !== null) { row[label] = 1; }
      feeds.labels = tensor(row, [1, model.classes]);
    }
    const answer = await session.run(feeds);
    return answer.denoised.data;
  }

  async function sample(session, plan, noise, label) {
    const known = [noise];
    for (const call of plan.calls) {
      const noisy = sum(known, call.weights);
      const answer = await denoise(session, noisy, call.sigma, label, plan);
      if (plan.guidance === 1 || model.classes === 0) { known.push(answer); continue; }
      const plain = await denoise(session, noisy, call.sigma, null, plan);
      known.push(sum([plain, answer], [1 - plan.guidance, plan.guidance]));
    }
    return sum(known, plan.images);
  }

  function show(figure, values) {
    const [channels, height, width] = model.shape;
    const canvas = figure.querySelector("canvas");
    const place = canvas.getContext("2d");
    const image = place.createImageData(width, height);
    const area = width * height;
    for (let i = 0; i < area; i++) {
      for (let c = 0; c < 3; c++) {
        const value = Math.fround(Math.fround(values[(channels === 1 ? 0 : c) * area + i] * 127.5) + 128);
        image.data[4 * i + c] = Math.trunc(Math.min(255, Math.max(0, value)));
      }
      image.data[4 * i + 3] = 255;
    }
    place.putImageData(image, 0, 0);
    figure.querySelector("a").href = canvas.toDataURL("image/png");
  }

  // What was asked for: in the form, and in the address, so that it can be sent.
  const field = { seed: byId("seed"), class: byId("class"), calls: () => document.querySelector("input[name=calls]:checked") };
  function asked() {
    const typed = field.seed.value.trim();
    const right = /^[0-9]+$/.test(typed) && BigInt(typed) < (1n << 64n);
    field.seed.setAttribute("aria-invalid", String(!right));
    if (!right) { tell("The seed is a whole number from 0 to 18446744073709551615."); return null; }
    return { seed: BigInt(typed), class: field.class ? field.class.value : "", calls: field.calls().value };
  }
  function fromAddress() {
    const said = new URLSearchParams(location.hash.slice(1));
    if (said.has("seed")) { field.seed.value = said.get("seed"); }
    if (field.class && [...field.class.options].some((o) => o.value === said.get("class"))) { field.class.value = said.get("class"); }
    document.querySelectorAll("input[name=calls]").forEach((input) => { if (input.value === said.get("calls")) { input.checked = true; } });
  }

  let latest = 0;
  let busy = Promise.resolve();
  function draw() {
    const wish = asked();
    if (!wish) { return; }
    const mine = ++latest;
    document.body.dataset.state = "busy";
    const said = new URLSearchParams({ seed: wish.seed, class: wish.class, calls: wish.calls });
    history.replaceState(null, "", "#" + said);
    busy = busy.then(() => mine === latest ? drawNow(wish, mine) : undefined).catch(failed);
  }
  async function drawNow(wish, mine) {
    const noise = new Stream(wish.seed, LATENT).normals(numbers);
    let label = null;
    if (model.classes > 0) { label = wish.class === "" ? new Stream(wish.seed, LABEL).below(model.classes) : Number(wish.class); }
    const name = label === null ? "" : (model.names[label] || "class " + label);
    const about = (name ? name + ", " : "") + "seed " + wish.seed;
    for (const [at, picture] of model.pictures.entries()) {
      const figure = document.querySelectorAll("[data-picture]")[at];
      const plan = picture.plans[wish.calls] || picture.plans.own;
      figure.hidden = !plan;
      if (!plan) { continue; }
      sessions[picture.model] = sessions[picture.model] || await load(picture.model);
      const start = performance.now();
      const values = await sample(sessions[picture.model], plan, noise, label);
      if (mine !== latest) { return; }
      show(figure, values);
      const calls = plan.calls.length;
      const time = Math.max(1, Math.round(performance.now() - start));
      const what = picture.title + ", " + calls + (calls === 1 ? " network call" : " network calls");
      figure.querySelector("b").textContent = what;
      figure.querySelector("output").textContent = time + " ms";
      figure.querySelector("canvas").setAttribute("aria-label", what + ": " + about);
      figure.querySelector("a").download = picture.model + "-" + calls + "-" + String(wish.seed).padStart(6, "0") + ".png";
      tell(about);
      // Lets the browser show it before the next one.
      await new Promise((done) => setTimeout(done, 0));
    }
    if (mine === latest) { document.body.dataset.state = "done"; }
  }
  async function load(name) {
    tell("Loading " + model.files[name].name + " (" + model.files[name].size + ")");
    return ort.InferenceSession.create(new URL(model.files[name].name, document.baseURI).href, { executionProviders: ["wasm"] });
  }
  function failed(error) {
    document.body.dataset.state = "failed";
    tell("This did not work: " + (error && error.message ? error.message : error));
  }

  async function begin() {
    if (location.protocol === "file:") {
      document.body.dataset.state = "failed";
      tell("Browsers give a page from the disk no WebAssembly: run `python3 -m http.server` in its folder, and open http://localhost:8000/");
      return;
    }
    tell("Loading onnxruntime-web");
    ort = await import(new URL("onnxruntime-web/ort.wasm.min.mjs", document.baseURI).href);
    // More threads would need a server that sends headers for cross-origin isolation.
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = new URL("onnxruntime-web/", document.baseURI).href;
    fromAddress();
    byId("form").addEventListener("submit", (event) => { event.preventDefault(); draw(); });
    byId("form").addEventListener("input", draw);
    window.addEventListener("hashchange", () => { fromAddress(); draw(); });
    document.querySelectorAll("button[data-by]").forEach((button) => button.addEventListener("click", () => {
      const by = button.dataset.by;
      const typed = /^[0-9]+$/.test(field.seed.value.trim()) ? BigInt(field.seed.value.trim()) : 0n;
      const next = by === "any" ? BigInt(crypto.getRandomValues(new Uint32Array(1))[0]) : typed + BigInt(by);
      field.seed.value = String(next < 0n ? 0n : next);
      draw();
    }));
    byId("form").querySelector("fieldset").disabled = false;
    draw();
  }
  begin().catch(failed);
})();
