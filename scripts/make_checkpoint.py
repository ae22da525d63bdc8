#!/usr/bin/env python3
"""Writes a Qwen2 checkpoint of a published size with random weights, in the format of the real ones.

    scripts/make_checkpoint.py --shape 7b OUT [--tokenizer tokenizer.json]

For measuring: what a forward pass costs does not depend on its weights' values. Attention of random weights selects noise,
so runs take their selections from a trace (`reprefill run --selections`). Needs torch and safetensors; uses a GPU where
there is one. The tokenizer defaults to the shipped model's, whose ids are a part of any Qwen2 vocabulary.
"""
import argparse
import json
import pathlib
import shutil

import torch
from safetensors.torch import save_file

# hidden, layers, query heads, KV heads, intermediate, vocab, tied: config.json of Qwen/Qwen2.5-*-Instruct.
SHAPES = {
    "0.5b": (896, 24, 14, 2, 4864, 151936, True),
    "1.5b": (1536, 28, 12, 2, 8960, 151936, True),
    "3b": (2048, 36, 16, 2, 11008, 151936, True),
    "7b": (3584, 28, 28, 4, 18944, 152064, False),
    "14b": (5120, 48, 40, 8, 13824, 152064, False),
    "32b": (5120, 64, 40, 8, 27648, 152064, False),
}
LAYERS_PER_SHARD = 7


def config(shape):
    hidden, layers, heads, kv_heads, intermediate, vocab, tied = shape
    return {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu", "hidden_size": hidden,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
        "intermediate_size": intermediate, "vocab_size": vocab, "tie_word_embeddings": tied,
        "max_position_embeddings": 32768, "max_window_layers": layers, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
        "use_sliding_window": False, "sliding_window": None, "torch_dtype": "bfloat16", "attention_dropout": 0.0,
        "initializer_range": 0.02, "use_cache": True, "bos_token_id": 0, "eos_token_id": vocab - 1,
    }


def layer_tensors(layer, shape, random):
    hidden, _, heads, kv_heads, intermediate, _, _ = shape
    head_dim = hidden // heads
    prefix = f"model.layers.{layer}."
    tensors = {prefix + "input_layernorm.weight": torch.ones(hidden, dtype=torch.bfloat16),
               prefix + "post_attention_layernorm.weight": torch.ones(hidden, dtype=torch.bfloat16)}
    for name, outputs in (("q", heads * head_dim), ("k", kv_heads * head_dim), ("v", kv_heads * head_dim)):
        tensors[f"{prefix}self_attn.{name}_proj.weight"] = random(outputs, hidden)
        tensors[f"{prefix}self_attn.{name}_proj.bias"] = random(outputs)
    tensors[prefix + "self_attn.o_proj.weight"] = random(hidden, heads * head_dim)
    tensors[prefix + "mlp.gate_proj.weight"] = random(intermediate, hidden)
    tensors[prefix + "mlp.up_proj.weight"] = random(intermediate, hidden)
    tensors[prefix + "mlp.down_proj.weight"] = random(hidden, intermediate)
    return tensors


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--shape", choices=SHAPES, default="7b")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tokenizer", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parent.parent / "models/recall-small/tokenizer.json")
    options = parser.parse_args()
    shape = SHAPES[options.shape]
    hidden, layers, _, _, _, vocab, tied = shape
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator(device).manual_seed(options.seed)

    def random(*size):
        return torch.empty(size, dtype=torch.bfloat16, device=device).normal_(0, 0.02, generator=generator).cpu()

    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "config.json").write_text(json.dumps(config(shape), indent=2))
    shutil.copy(options.tokenizer, options.out / "tokenizer.json")
    ends = {"model.embed_tokens.weight": random(vocab, hidden), "model.norm.weight": torch.ones(hidden, dtype=torch.bfloat16)}
    if not tied:
        ends["lm_head.weight"] = random(vocab, hidden)
    groups = [range(first, min(first + LAYERS_PER_SHARD, layers)) for first in range(0, layers, LAYERS_PER_SHARD)]
    places, total = {}, 0
    for number, group in enumerate([*groups, None]):
        tensors = ends if group is None else {}
        for layer in group or ():
            tensors |= layer_tensors(layer, shape, random)
        name = f"model-{number + 1:05}-of-{len(groups) + 1:05}.safetensors"
        save_file(tensors, options.out / name, metadata={"format": "pt"})
        places |= {tensor: name for tensor in tensors}
        total += sum(tensor.numel() * 2 for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (options.out / "model.safetensors.index.json").write_text(json.dumps(index))
    print(f"{options.out}: {options.shape}, {total / 1e9:.1f} GB")


if __name__ == "__main__":
    main()
