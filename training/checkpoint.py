"""Writes a Decoder as Hugging Face publishes Qwen2 checkpoints, and reads it back."""
import json
import math
import pathlib
import struct

import torch

import vocabulary as words
from decoder import Decoder, Shape


def named_weights(model):
    yield "model.embed_tokens.weight", model.embed.weight
    for index, layer in enumerate(model.layers):
        for name, parameter in layer.named_parameters():
            part = name.split(".")[0]
            folder = "" if part.endswith("layernorm") else "self_attn." if part in ("q_proj", "k_proj", "v_proj", "o_proj") else "mlp."
            yield f"model.layers.{index}.{folder}{name}", parameter
    yield "model.norm.weight", model.norm.weight


def write_safetensors(path, tensors):
    header, data, offset = {}, [], 0
    for name, tensor in tensors:
        raw = tensor.detach().to(torch.bfloat16).contiguous().cpu().view(torch.int16).numpy().tobytes()
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [offset, offset + len(raw)]}
        offset += len(raw)
        data.append(raw)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data))


def shards_of(model, count):
    """Weights in order, cut into `count` files of about the same size."""
    tensors = list(named_weights(model))
    per_shard = math.ceil(sum(tensor.numel() for _, tensor in tensors) / count)
    shards, filled = [[]], 0
    for name, tensor in tensors:
        if filled + tensor.numel() > per_shard * 1.02 and len(shards) < count:
            shards.append([])
            filled = 0
        shards[-1].append((name, tensor))
        filled += tensor.numel()
    return shards


def save(model, out, num_shards=2):
    out, s = pathlib.Path(out), model.s
    out.mkdir(parents=True, exist_ok=True)
    index, total, shards = {}, 0, shards_of(model, num_shards)
    for number, shard in enumerate(shards):
        file = f"model-{number + 1:05}-of-{len(shards):05}.safetensors"
        write_safetensors(out / file, shard)
        index.update({name: file for name, _ in shard})
        total += sum(2 * tensor.numel() for _, tensor in shard)
    write = lambda name, value: (out / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    write("model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": index})
    end = words.Vocabulary().end_id
    write("config.json", {
        "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": end, "eos_token_id": end,
        "hidden_act": "silu", "hidden_size": s.hidden, "initializer_range": 0.02, "intermediate_size": s.ffn,
        "max_position_embeddings": s.max_positions, "max_window_layers": s.layers, "model_type": "qwen2",
        "num_attention_heads": s.heads, "num_hidden_layers": s.layers, "num_key_value_heads": s.kv_heads,
        "rms_norm_eps": s.eps, "rope_theta": s.theta, "sliding_window": None, "tie_word_embeddings": True,
        "torch_dtype": "bfloat16", "use_cache": True, "use_sliding_window": False, "vocab_size": s.vocab})
    write("generation_config.json", {"bos_token_id": end, "eos_token_id": end, "do_sample": False})
    write("tokenizer.json", words.build_tokenizer())
    write("tokenizer_config.json", {"model_max_length": s.max_positions, "tokenizer_class": "PreTrainedTokenizerFast",
                                    "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"})


def read_safetensors(path):
    raw = path.read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    for name, entry in json.loads(raw[8:8 + size]).items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        flat = torch.frombuffer(bytearray(raw[8 + size + begin:8 + size + end]), dtype=torch.int16)
        yield name, flat.view(torch.bfloat16).view(entry["shape"])


def load(folder):
    """A Decoder with the (bf16) weights of a folder that save() wrote, in fp32."""
    folder = pathlib.Path(folder)
    config = json.loads((folder / "config.json").read_text())
    shape = Shape(config["vocab_size"])
    shape.layers, shape.hidden, shape.ffn = config["num_hidden_layers"], config["hidden_size"], config["intermediate_size"]
    shape.heads, shape.kv_heads, shape.theta = (
        config["num_attention_heads"], config["num_key_value_heads"], config["rope_theta"])
    model = Decoder(shape)
    files = sorted(set(json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"].values()))
    stored = {name: tensor for file in files for name, tensor in read_safetensors(folder / file)}
    with torch.no_grad():
        for name, parameter in named_weights(model):
            parameter.copy_(stored.pop(name).float())
    assert not stored, f"unknown weights: {sorted(stored)}"
    return model
