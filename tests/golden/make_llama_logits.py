#!/usr/bin/env python3
"""Small Qwen2 checkpoints with odd shapes, twice: as Hugging Face stores them and as fp32 GGUF for llama.cpp.

    python3 tests/golden/make_llama_logits.py [--out tests/golden/llama_logits] --gguf /tmp/llama_gguf
    npm install --prefix /tmp/llama --ignore-scripts node-llama-cpp@3.22.1
    NODE_PATH=/tmp/llama/node_modules node tests/golden/make_llama_logits.js --gguf /tmp/llama_gguf [--out ...]

Needs Python alone. Each model becomes OUT/NAME/config.json with bf16 safetensors, which are committed, and under --gguf
NAME.gguf (the same values, widened) with NAME.prompt.json; make_llama_logits.js turns the latter into
OUT/NAME/golden.json. Weights are random, with scales at which attention is neither uniform nor a single token and
logits spread over several units. They depend on the seed, and on libm through Python's random.gauss; golden.json also
on the instruction set, for which llama.cpp picks its kernels: make both anew together.

llama.cpp pairs the halves of a head in Qwen2's RoPE, as Hugging Face does: q and k need no permutation. It wants
hidden == heads * head_dim, so the GGUF of a narrower model is padded with zeros to 4 times its hidden size. The mean of
squares is then a quarter of what it was: norm weights halve and eps is divided by 4, both exact in fp32.
"""

import argparse
import array
import json
import math
import pathlib
import random
import shutil
import struct

VOCAB = 192
RMS_NORM_EPS = 1e-6
MAX_TOTAL_BYTES = 2_500_000

# config: "parameters" writes rope_parameters and dtype as transformers 5 does, not the keys of the published files.
MODELS = {
    "gqa7_dim64_tied": {
        "hidden": 112, "heads": 7, "kv_heads": 1, "head_dim": 64, "intermediate": 72, "layers": 2, "tied": True,
        "theta": 1e6, "prompt_tokens": 150,
    },
    "gqa2_dim128_untied": {
        "hidden": 64, "heads": 2, "kv_heads": 1, "head_dim": 128, "intermediate": 112, "layers": 2, "tied": False,
        "theta": 1e6, "prompt_tokens": 97, "config": "parameters",
    },
    "gqa3_dim64_untied_sharded": {
        "hidden": 192, "heads": 3, "kv_heads": 1, "head_dim": 64, "intermediate": 40, "layers": 2, "tied": False,
        "theta": 1e4, "prompt_tokens": 200, "shards": 3,
    },
    "gqa2_dim64_tied_four_layers": {
        "hidden": 64, "heads": 4, "kv_heads": 2, "head_dim": 64, "intermediate": 56, "layers": 4, "tied": True,
        "theta": 1e4, "prompt_tokens": 300,
    },
    "gqa2_dim64_tied_yarn": {
        "hidden": 64, "heads": 4, "kv_heads": 2, "head_dim": 64, "intermediate": 80, "layers": 2, "tied": True,
        "theta": 1e4, "prompt_tokens": 180, "max_positions": 256,
        "yarn": {"factor": 4.0, "original_max_position_embeddings": 64},
    },
}


def to_bf16(value):
    """The nearest bfloat16, ties to even: its 16 bits."""
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


class Tensor:
    """Row-major; `shape` outermost first, as safetensors counts and GGUF does not."""

    def __init__(self, shape, words):
        self.shape = shape
        self.words = words

    @classmethod
    def random(cls, generator, shape, centre, spread):
        return cls(shape, array.array("H", (to_bf16(generator.gauss(centre, spread)) for _ in range(math.prod(shape)))))

    def bf16_bytes(self):
        return self.words.tobytes()

    def padded_fp32(self, shape, halve):
        """The bytes of a larger tensor: widened, with zeros after each row and after the last."""
        columns, padding = self.shape[-1], bytes(4 * (shape[-1] - self.shape[-1]))
        values = array.array("f", array.array("I", (word << 16 for word in self.words)).tobytes())
        if halve:
            values = array.array("f", (0.5 * value for value in values))
        rows = (values[at:at + columns].tobytes() + padding for at in range(0, len(values), columns))
        return b"".join(rows).ljust(4 * math.prod(shape), b"\0")


def make_tensors(model, seed):
    """(Hugging Face's name, llama.cpp's name, tensor), in the order in which the generator is used."""
    generator = random.Random(seed)
    hidden, inner = model["hidden"], model["intermediate"]
    query, kv = model["heads"] * model["head_dim"], model["kv_heads"] * model["head_dim"]
    tensors = []

    def add(name, gguf_name, shape, centre, spread):
        tensors.append((name, gguf_name, Tensor.random(generator, shape, centre, spread)))

    def linear(name, gguf_name, rows, columns, bias):
        add(name + ".weight", gguf_name + ".weight", [rows, columns], 0, 1.2 / columns ** 0.5)
        if bias:
            add(name + ".bias", gguf_name + ".bias", [rows], 0, 0.5)

    # A tied model of large embeddings mostly repeats its input: these are small, and the final norm makes up for it.
    add("model.embed_tokens.weight", "token_embd.weight", [VOCAB, hidden], 0, 0.15 if model["tied"] else 0.5)
    for layer in range(model["layers"]):
        at, blk = f"model.layers.{layer}.", f"blk.{layer}."
        add(at + "input_layernorm.weight", blk + "attn_norm.weight", [hidden], 1, 0.2)
        linear(at + "self_attn.q_proj", blk + "attn_q", query, hidden, True)
        linear(at + "self_attn.k_proj", blk + "attn_k", kv, hidden, True)
        linear(at + "self_attn.v_proj", blk + "attn_v", kv, hidden, True)
        linear(at + "self_attn.o_proj", blk + "attn_output", hidden, query, False)
        add(at + "post_attention_layernorm.weight", blk + "ffn_norm.weight", [hidden], 1, 0.2)
        linear(at + "mlp.gate_proj", blk + "ffn_gate", inner, hidden, False)
        linear(at + "mlp.up_proj", blk + "ffn_up", inner, hidden, False)
        linear(at + "mlp.down_proj", blk + "ffn_down", hidden, inner, False)
    final_scale = 4 if model["tied"] else 1
    add("model.norm.weight", "output_norm.weight", [hidden], final_scale, 0.2 * final_scale)
    if not model["tied"]:
        add("lm_head.weight", "output.weight", [VOCAB, hidden], 0, 4 / hidden ** 0.5)
    return tensors


def make_config(model):
    config = {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu", "attention_dropout": 0.0,
        "eos_token_id": 0, "hidden_size": model["hidden"], "intermediate_size": model["intermediate"],
        "max_position_embeddings": model.get("max_positions", 1024), "num_attention_heads": model["heads"],
        "num_hidden_layers": model["layers"], "num_key_value_heads": model["kv_heads"], "rms_norm_eps": RMS_NORM_EPS,
        "tie_word_embeddings": model["tied"], "use_cache": True, "use_sliding_window": False, "vocab_size": VOCAB,
    }
    if model["heads"] * model["head_dim"] != model["hidden"]:
        config["head_dim"] = model["head_dim"]
    if model.get("config") == "parameters":
        config["dtype"] = "bfloat16"
        config["rope_parameters"] = {"rope_theta": model["theta"], "rope_type": "default"}
        return config
    config["torch_dtype"] = "bfloat16"
    config["rope_theta"] = model["theta"]
    if "yarn" in model:
        config["rope_scaling"] = {"type": "yarn", **model["yarn"]}
    return config


def write_safetensors(path, tensors):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, tensor in tensors:
        size = len(tensor.bf16_bytes())
        header[name] = {"dtype": "BF16", "shape": tensor.shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(t.bf16_bytes() for _, t in tensors))


def write_checkpoint(folder, model, tensors):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(make_config(model), indent=2, sort_keys=True) + "\n")
    named = sorted((name, tensor) for name, _, tensor in tensors)
    shards = model.get("shards", 1)
    if shards == 1:
        write_safetensors(folder / "model.safetensors", named)
        return
    weight_map = {}
    per_shard = -(-len(named) // shards)
    for shard in range(shards):
        part = named[shard * per_shard:(shard + 1) * per_shard]
        file_name = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        write_safetensors(folder / file_name, part)
        weight_map.update({name: file_name for name, _ in part})
    total = sum(len(tensor.bf16_bytes()) for _, tensor in named)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


# GGUF version 3: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
GGUF_UINT32, GGUF_INT32, GGUF_FLOAT32, GGUF_STRING, GGUF_ARRAY = 4, 5, 6, 8, 9
GGUF_ALIGNMENT = 32
GGML_TYPE_F32 = 0


def gguf_string(text):
    return struct.pack("<Q", len(text.encode())) + text.encode()


def gguf_value(value):
    if isinstance(value, str):
        return struct.pack("<I", GGUF_STRING) + gguf_string(value)
    if isinstance(value, list):
        is_text = isinstance(value[0], str)
        items = b"".join(gguf_string(item) if is_text else struct.pack("<i", item) for item in value)
        return struct.pack("<IIQ", GGUF_ARRAY, GGUF_STRING if is_text else GGUF_INT32, len(value)) + items
    if isinstance(value, float):
        return struct.pack("<If", GGUF_FLOAT32, value)
    return struct.pack("<II", GGUF_UINT32, value)


def pads_hidden(model):
    query = model["heads"] * model["head_dim"]
    assert query in (model["hidden"], 4 * model["hidden"])
    assert model["hidden"] not in (model["kv_heads"] * model["head_dim"], model["intermediate"], VOCAB) or \
        query == model["hidden"], "write_gguf tells the hidden extent by its size"
    return query != model["hidden"]


def gguf_keys(name, model):
    eps = RMS_NORM_EPS / 4 if pads_hidden(model) else RMS_NORM_EPS
    keys = {
        "general.architecture": "qwen2", "general.name": name, "general.alignment": GGUF_ALIGNMENT,
        "general.file_type": 0,
        "qwen2.block_count": model["layers"], "qwen2.context_length": model.get("max_positions", 1024),
        "qwen2.embedding_length": model["heads"] * model["head_dim"],
        "qwen2.feed_forward_length": model["intermediate"],
        "qwen2.attention.head_count": model["heads"], "qwen2.attention.head_count_kv": model["kv_heads"],
        "qwen2.attention.key_length": model["head_dim"], "qwen2.attention.value_length": model["head_dim"],
        "qwen2.rope.dimension_count": model["head_dim"], "qwen2.rope.freq_base": float(model["theta"]),
        "qwen2.attention.layer_norm_rms_epsilon": eps, "qwen2.vocab_size": VOCAB,
        # Never used for text, but llama.cpp and node-llama-cpp insist on a tokenizer that works.
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "qwen2", "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.tokens": ["<|endoftext|>", "\u010a"] + [chr(0x4E00 + id) for id in range(2, VOCAB)],
        "tokenizer.ggml.token_type": [3] + [1] * (VOCAB - 1),  # control, normal
        "tokenizer.ggml.merges": ["\u010a \u010a"],
    }
    if "yarn" in model:
        keys["qwen2.rope.scaling.type"] = "yarn"
        keys["qwen2.rope.scaling.factor"] = model["yarn"]["factor"]
        keys["qwen2.rope.scaling.original_context_length"] = model["yarn"]["original_max_position_embeddings"]
    return keys


def write_gguf(path, name, model, tensors):
    keys = gguf_keys(name, model)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    head += b"".join(gguf_string(key) + gguf_value(value) for key, value in keys.items())
    data = b""
    for _, gguf_name, tensor in tensors:
        padded = pads_hidden(model)
        shape = [model["heads"] * model["head_dim"] if extent == model["hidden"] else extent for extent in tensor.shape]
        dims = list(reversed(shape))
        head += gguf_string(gguf_name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, GGML_TYPE_F32, len(data))
        data += tensor.padded_fp32(shape, halve=padded and gguf_name.endswith("norm.weight"))
        data += bytes(-len(data) % GGUF_ALIGNMENT)
    path.write_bytes(head + bytes(-len(head) % GGUF_ALIGNMENT) + data)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "llama_logits")
    parser.add_argument("--gguf", type=pathlib.Path, required=True, help="folder for what only llama.cpp reads")
    arguments = parser.parse_args()
    arguments.gguf.mkdir(parents=True, exist_ok=True)
    if arguments.out.exists():
        shutil.rmtree(arguments.out)
    for seed, (name, model) in enumerate(MODELS.items(), start=1):
        tensors = make_tensors(model, seed)
        write_checkpoint(arguments.out / name, model, tensors)
        write_gguf(arguments.gguf / f"{name}.gguf", name, model, tensors)
        ids = random.Random(1000 + seed)
        prompt = [ids.randrange(VOCAB) for _ in range(model["prompt_tokens"])]
        (arguments.gguf / f"{name}.prompt.json").write_text(json.dumps({"prompt": prompt, "seed": seed}) + "\n")
    total = sum(path.stat().st_size for path in arguments.out.rglob("*") if path.is_file())
    print(f"{total} bytes of checkpoints")
    if total > MAX_TOTAL_BYTES:
        raise SystemExit(f"more than the {MAX_TOTAL_BYTES} bytes that may be committed")


if __name__ == "__main__":
    main()
