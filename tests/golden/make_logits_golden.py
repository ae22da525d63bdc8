#!/usr/bin/env python3
"""Small Qwen2 checkpoints with odd shapes, and what Hugging Face transformers computes from them.

    python3 tests/golden/make_logits_golden.py [--out tests/golden/logits]

Needs torch and transformers (made with torch 2.11 and transformers 5); runs on the CPU in seconds. For each model it
writes a folder with config.json and bf16 safetensors as transformers saves them, and golden.json:

    prompt      token ids
    positions   places in the prompt whose logits are kept
    logits      [positions][vocab], fp32, eager attention
    rms         root mean square of all logits of the prompt: the unit of the test's bounds
    greedy      ids of the continuation, one after the other
    margins     of each, the highest logit less the second
    made_with   versions

Read by tests/engine/executor/golden_logits_test.cpp. Weights are random, with scales at which attention is neither
uniform nor a single token and logits spread over several units.
"""

import argparse
import json
import pathlib
import shutil

import torch
import transformers
from transformers import Qwen2Config, Qwen2ForCausalLM

NUM_LAYERS = 2
VOCAB = 192
NUM_GREEDY = 32
MAX_TOTAL_BYTES = 3_000_000

# config: what the published files spell differently. published: rope_theta and torch_dtype at the top level.
MODELS = {
    "gqa7_dim64_tied": {
        "hidden_size": 96, "num_attention_heads": 7, "num_key_value_heads": 1, "head_dim": 64,
        "intermediate_size": 160, "tie_word_embeddings": True, "rope_theta": 1e6, "prompt_tokens": 150,
    },
    "gqa2_dim128_untied": {
        "hidden_size": 128, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 128,
        "intermediate_size": 112, "tie_word_embeddings": False, "rope_theta": 1e6, "prompt_tokens": 97,
        "published_config": True,
    },
    "gqa3_dim64_untied_sharded": {
        "hidden_size": 192, "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 64,
        "intermediate_size": 120, "tie_word_embeddings": False, "rope_theta": 1e4, "prompt_tokens": 200,
        "max_shard_size": "300KB",
    },
    "gqa2_dim64_tied_yarn": {
        "hidden_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64,
        "intermediate_size": 96, "tie_word_embeddings": True, "rope_theta": 1e4, "prompt_tokens": 180,
        "yarn": {"factor": 4.0, "original_max_position_embeddings": 64}, "max_position_embeddings": 256,
    },
}


def make_config(shape):
    rope = {"rope_type": "default", "rope_theta": shape["rope_theta"]}
    if "yarn" in shape:
        rope = {"rope_type": "yarn", "rope_theta": shape["rope_theta"], **shape["yarn"]}
    config = Qwen2Config(
        vocab_size=VOCAB, num_hidden_layers=NUM_LAYERS, hidden_size=shape["hidden_size"],
        num_attention_heads=shape["num_attention_heads"], num_key_value_heads=shape["num_key_value_heads"],
        head_dim=shape["head_dim"], intermediate_size=shape["intermediate_size"],
        max_position_embeddings=shape.get("max_position_embeddings", 1024), rms_norm_eps=1e-6,
        tie_word_embeddings=shape["tie_word_embeddings"], use_sliding_window=False, hidden_act="silu",
        bos_token_id=None, eos_token_id=0, pad_token_id=None, rope_parameters=rope)
    return config


def randomise(model, generator):
    """In order of name, so that the values depend on the seed and the shapes alone."""
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            values = torch.randn(parameter.shape, generator=generator)
            if name.endswith("norm.weight"):
                values = 1 + 0.2 * values
            elif name.endswith("bias"):
                values = 0.5 * values
            elif "embed_tokens" in name:
                values = 0.5 * values
            elif "lm_head" in name:
                values = 4 * values / parameter.shape[1] ** 0.5
            else:
                values = 1.2 * values / parameter.shape[1] ** 0.5
            parameter.copy_(values)
    model.tie_weights()


def write_published_config(folder):
    """The same configuration with the keys of the published Qwen2.5 files."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters", {})
    config["rope_theta"] = rope.get("rope_theta", config.get("rope_theta"))
    config["torch_dtype"] = config.pop("dtype", "bfloat16")
    config["sliding_window"] = 131072
    config["max_window_layers"] = NUM_LAYERS
    config.pop("layer_types", None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def greedy_continuation(model, prompt):
    """By whole forward passes, without a cache: nothing of transformers' generation is trusted."""
    ids = list(prompt)
    margins = []
    for _ in range(NUM_GREEDY):
        logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        top = torch.topk(logits, 2)
        margins.append(float(top.values[0] - top.values[1]))
        ids.append(int(top.indices[0]))
    return ids[len(prompt):], margins


def make_model(folder, shape, seed):
    generator = torch.Generator().manual_seed(seed)
    model = Qwen2ForCausalLM(make_config(shape))
    randomise(model, generator)
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size=shape.get("max_shard_size", "1GB"))
    (folder / "generation_config.json").unlink(missing_ok=True)
    if shape.get("published_config"):
        write_published_config(folder)

    # From the files, so that what is expected belongs to what is committed.
    model = Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    assert all(p.dtype == torch.float32 for p in model.parameters())
    count = shape["prompt_tokens"]
    prompt = torch.randint(0, VOCAB, (count,), generator=generator).tolist()
    positions = sorted({0, 1, 15, count // 2, count - 2, count - 1})
    with torch.no_grad():
        logits = model(torch.tensor([prompt]), use_cache=False).logits[0]
        greedy, margins = greedy_continuation(model, prompt)
    assert torch.isfinite(logits).all()
    golden = {
        "made_with": {"torch": torch.__version__, "transformers": transformers.__version__, "seed": seed},
        "prompt": prompt,
        "positions": positions,
        "rms": float(logits.double().square().mean().sqrt()),
        "logits": [[float(f"{x:.9g}") for x in logits[p].tolist()] for p in positions],
        "greedy": greedy,
        "margins": margins,
    }
    (folder / "golden.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
    distinct = len(set(greedy))
    print(f"{folder.name}: rms {golden['rms']:.3f}, margins {min(margins):.3g} to {max(margins):.3g}, "
          f"{distinct} distinct greedy tokens, files {sorted(p.name for p in folder.iterdir())}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "logits")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.backends.mkldnn.enabled = False  # plain fp32 products: no bf16 or TF32 inside
    if arguments.out.exists():
        shutil.rmtree(arguments.out)
    for seed, (name, shape) in enumerate(MODELS.items(), start=1):
        folder = arguments.out / name
        folder.mkdir(parents=True)
        make_model(folder, shape, seed)
    total = sum(path.stat().st_size for path in arguments.out.rglob("*") if path.is_file())
    print(f"{total} bytes in all")
    if total > MAX_TOTAL_BYTES:
        raise SystemExit(f"more than the {MAX_TOTAL_BYTES} bytes that may be committed")


if __name__ == "__main__":
    main()
