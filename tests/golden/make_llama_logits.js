#!/usr/bin/env node
// What llama.cpp computes from the checkpoints of make_llama_logits.py, whose head says how to run both.
//
//   node make_llama_logits.js --gguf FOLDER [--out FOLDER] [--modules FOLDER]
//
// --modules is the node_modules that holds node-llama-cpp (default: $NODE_PATH). Writes OUT/NAME/golden.json:
//
//   made_with   versions
//   prompt      token ids
//   positions   places in the prompt whose logits are kept
//   rms         root mean square of all logits of the prompt, each row less its mean: how far logits spread
//   logits      [positions][vocab]; K and V in fp32, no flash attention, fp32 weights, on the CPU
//   top         at every place of the prompt, the id of the highest logit
//   top_margins of each, the highest logit less the second
//   greedy      ids of the continuation, one after the other, decoded with llama.cpp's own KV cache
//   greedy_margins
const fs = require("node:fs");
const path = require("node:path");
const {pathToFileURL} = require("node:url");

const NUM_GREEDY = 48;

function options() {
  const found = {out: path.join(__dirname, "llama_logits"), modules: process.env.NODE_PATH};
  for (let i = 2; i < process.argv.length; i += 2) found[process.argv[i].replace(/^--/, "")] = process.argv[i + 1];
  if (!found.gguf || !found.modules) throw new Error("needs --gguf FOLDER and --modules FOLDER (or NODE_PATH)");
  return found;
}

const withLogits = (id) => [id, {generateNext: {logits: true, options: {temperature: 0}}}];

function toRow(output) {
  const row = new Array(output.next.logits.size);
  for (const [id, logit] of output.next.logits) row[id] = logit;
  if (!row.every(Number.isFinite)) throw new Error("a logit is missing or not finite");
  return row;
}

function rmsAroundRowMeans(rows) {
  let squares = 0;
  for (const row of rows) {
    const mean = row.reduce((sum, x) => sum + x, 0) / row.length;
    for (const x of row) squares += (x - mean) ** 2;
  }
  return Math.sqrt(squares / (rows.length * rows[0].length));
}

function topTwo(row) {
  let best = 0;
  for (let id = 1; id < row.length; ++id) if (row[id] > row[best]) best = id;
  const second = Math.max(...row.filter((_, id) => id !== best));
  return {best, margin: row[best] - second};
}

async function computeGolden(llama, ggufPath, {prompt, seed}, versions) {
  const model = await llama.loadModel({modelPath: ggufPath, gpuLayers: 0, useMmap: false});
  const context = await model.createContext({
    contextSize: prompt.length + NUM_GREEDY + 8, batchSize: 512, sequences: 1, threads: 1, flashAttention: false,
    experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32",
  });
  const sequence = context.getSequence();
  const rows = (await sequence.controlledEvaluate(prompt.map(withLogits))).map(toRow);
  const greedy = [];
  for (let row = rows.at(-1); greedy.length < NUM_GREEDY;) {
    const {best, margin} = topTwo(row);
    greedy.push({best, margin});
    row = toRow((await sequence.controlledEvaluate([withLogits(best)]))[0]);
  }
  await context.dispose();
  await model.dispose();
  const count = prompt.length;
  const positions = [0, 1, 15, Math.floor(count / 2), count - 2, count - 1];
  const short = (x) => Number(x.toPrecision(9));  // exact for fp32
  const top = rows.map(topTwo);
  return {
    made_with: {...versions, seed}, prompt, positions, rms: short(rmsAroundRowMeans(rows)),
    logits: positions.map((position) => rows[position].map(short)),
    top: top.map(({best}) => best), top_margins: top.map(({margin}) => short(margin)),
    greedy: greedy.map(({best}) => best), greedy_margins: greedy.map(({margin}) => short(margin)),
  };
}

async function main() {
  const {gguf, out, modules} = options();
  const packageFolder = path.join(path.resolve(modules), "node-llama-cpp");
  const {getLlama} = await import(pathToFileURL(path.join(packageFolder, "dist", "index.js")));
  const llama = await getLlama({gpu: false, build: "never", skipDownload: true, logLevel: "error", maxThreads: 1});
  const versions = {
    "node-llama-cpp": JSON.parse(fs.readFileSync(path.join(packageFolder, "package.json"))).version,
    "llama.cpp": llama.llamaCppRelease.release,
  };
  for (const file of fs.readdirSync(gguf).filter((name) => name.endsWith(".gguf")).sort()) {
    const name = path.basename(file, ".gguf");
    const input = JSON.parse(fs.readFileSync(path.join(gguf, `${name}.prompt.json`)));
    const golden = await computeGolden(llama, path.join(gguf, file), input, versions);
    fs.writeFileSync(path.join(out, name, "golden.json"), JSON.stringify(golden) + "\n");
    console.log(`${name}: rms ${golden.rms}, margins ${Math.min(...golden.greedy_margins)} to ` +
                `${Math.max(...golden.greedy_margins)}, ${new Set(golden.top).size} distinct tops, ` +
                `${new Set(golden.greedy).size} distinct greedy tokens`);
  }
  await llama.dispose();
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
