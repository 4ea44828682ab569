"""export.py: the trained model as a Hugging Face folder: python export.py RUN OUT

Reads RUN/checkpoint.pt and RUN/tokenizer.json as train.py leaves them and writes OUT/config.json,
generation_config.json, model.safetensors (packed ternary weights, each with its weight_scale),
tokenizer.json and tokenizer_config.json, in the form of microsoft/bitnet-b1.58-2B-4T.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

import corpus
from network import Network, Shape, trits_of

TERNARY = {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj",
           "o": "self_attn.o_proj", "gate": "mlp.gate_proj", "up": "mlp.up_proj",
           "down": "mlp.down_proj"}
NORMS = {"attn_norm": "input_layernorm", "attn_sub_norm": "self_attn.attn_sub_norm",
         "ffn_norm": "post_attention_layernorm", "ffn_sub_norm": "mlp.ffn_sub_norm"}
CHAT = ("{% set loop_messages = messages %}{% for message in loop_messages %}"
        "{% set content = message['role'] | capitalize + ': '+ message['content'] | trim + "
        "'<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
        "{{ content }}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}")


def pack(trits):
    """[M, K] of -1, 0, 1 as [M / 4, K] bytes: bits 2i of row r hold row i * M / 4 + r, plus 1."""
    quarters = (trits + 1).to(torch.uint8).chunk(4)
    return quarters[0] | quarters[1] << 2 | quarters[2] << 4 | quarters[3] << 6


def load(run):
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    network = Network(Shape(vocab=state["network"]["embed"].shape[0]))
    network.load_state_dict(state["network"])
    with torch.no_grad():
        network.embed.copy_(network.embed.half().float())  # as a file with an F16 head has it
    return network.eval()


@torch.no_grad()
def tensors_of(network):
    tensors = {"model.embed_tokens.weight": network.embed.clone(),
               "model.norm.weight": network.norm.weight.clone()}
    for i, layer in enumerate(network.layers):
        prefix = f"model.layers.{i}."
        for ours, theirs in NORMS.items():
            tensors[f"{prefix}{theirs}.weight"] = getattr(layer, ours).weight.clone()
        for ours, theirs in TERNARY.items():
            trits, scale = trits_of(getattr(layer, ours))
            tensors[f"{prefix}{theirs}.weight"] = pack(trits).contiguous()
            tensors[f"{prefix}{theirs}.weight_scale"] = scale.reshape(1)
    return tensors


def config_of(shape):
    return {
        "architectures": ["BitNetForCausalLM"],
        "bos_token_id": corpus.BOS,
        "eos_token_id": corpus.EOS,
        "hidden_act": "relu2",
        "hidden_size": shape.hidden,
        "initializer_range": 0.02,
        "intermediate_size": shape.ffn,
        "max_position_embeddings": shape.context,
        "model_type": "bitnet",
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "rms_norm_eps": shape.eps,
        "rope_theta": shape.rope_theta,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "use_cache": True,
        "vocab_size": shape.vocab,
        "quantization_config": {"linear_class": "autobitlinear", "quant_method": "bitnet",
                                "quantization_mode": "offline"},
    }


def tokenizer_config_of(shape):
    special = {str(i): {"content": text, "lstrip": False, "normalized": False, "rstrip": False,
                        "single_word": False, "special": True}
               for i, text in enumerate(corpus.SPECIALS)}
    return {
        "added_tokens_decoder": special,
        "bos_token": corpus.SPECIALS[corpus.BOS],
        "chat_template": CHAT,
        "clean_up_tokenization_spaces": False,
        "eos_token": corpus.SPECIALS[corpus.EOS],
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": shape.context,
        "pad_token": corpus.SPECIALS[corpus.PAD],
        "tokenizer_class": "PreTrainedTokenizerFast",
    }


def main():
    run, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    network = load(run)
    save_file(tensors_of(network), str(out / "model.safetensors"), metadata={"format": "pt"})
    files = {
        "config.json": config_of(network.shape),
        "generation_config.json": {
            "_from_model_config": True, "bos_token_id": corpus.BOS,
            "eos_token_id": [corpus.EOS, corpus.EOT], "pad_token_id": corpus.PAD},
        "tokenizer_config.json": tokenizer_config_of(network.shape),
    }
    for name, content in files.items():
        (out / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    shutil.copyfile(run / "tokenizer.json", out / "tokenizer.json")


if __name__ == "__main__":
    main()
