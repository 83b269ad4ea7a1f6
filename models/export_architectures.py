#!/usr/bin/env python3
"""Writes architectures/*.onnx: torchvision networks at their real size, without weights.

The graphs are for timing and for tests on real structures, for which trained weights
do not matter. They are made small like this:

- Weights stay initializers with name, type and shape, but hold no data. Weights are
  the network's parameters and buffers, under their PyTorch names (layer1.0.conv1.weight),
  and other float initializers of more than 1,024 elements, which are parameters that
  the exporter transposed.
- Constants that the exporter made, such as shapes and scalars, keep their data.
- The model's metadata has why.weightless = 1.

Such a file is not valid until a runtime has filled in the weights; variances (the last
input of BatchNormalization, which is not folded into convolutions) must be positive.
"""

import math
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torchvision

FOLDER = Path(__file__).resolve().parent / "architectures"
NAMES = (
    "resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_large",
    "squeezenet1_1", "efficientnet_b0", "vit_tiny",
)  # fmt: skip


def build(name):
    torch.manual_seed(0)
    if name == "vit_tiny":  # the sizes of DeiT-Tiny
        model = torchvision.models.VisionTransformer(
            image_size=224, patch_size=16, num_layers=12, num_heads=3, hidden_dim=192, mlp_dim=768
        )
    else:
        model = torchvision.models.get_model(name, weights=None)
    # The exporter merges equal tensors, and freshly made biases and normalisations are
    # equal: random values keep every parameter an initializer of its own.
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.8, 1.2)
        for value in model.parameters():
            if value.ndim <= 1 or value.min() == value.max():
                value.normal_(0.5, 0.1)
    return model.eval()


def export(name, model, path):
    named = {"input_names": ["image"], "output_names": ["logits"], "opset_version": 18}
    example = (torch.zeros(2, 3, 224, 224),)
    if name == "vit_tiny":
        # The other exporter would spend 2,000 nodes, mostly on shapes, on the attention.
        torch.onnx.export(
            model, example, str(path), dynamo=True, external_data=False, verbose=False,
            dynamic_shapes=({0: torch.export.Dim("N")},), **named,
        )  # fmt: skip
    else:
        # And this one would fold the normalisation, or its weights, in other modes.
        torch.onnx.export(
            model, example, str(path), dynamo=False,
            dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}},
            training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False, **named,
        )  # fmt: skip


def check(proto, model):
    """The graph must compute what the network does, for more than one batch size."""
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    worst = 0.0
    for batch in (1, 3):
        image = torch.randn(batch, 3, 224, 224, generator=torch.Generator().manual_seed(batch))
        with torch.no_grad():
            expected = model(image).numpy()
        got = session.run(None, {"image": image.numpy()})[0]
        worst = max(worst, float(np.linalg.norm(got - expected) / np.linalg.norm(expected)))
    assert worst < 1e-4, worst
    return worst


def drop_weights(proto, model):
    weights = {key: v.numel() for key, v in model.state_dict().items() if v.is_floating_point()}
    dropped = 0
    for tensor in proto.graph.initializer:
        elements = math.prod(tensor.dims)
        is_float = tensor.data_type == onnx.TensorProto.FLOAT
        if is_float and (tensor.name in weights or elements > 1024):
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.DEFAULT
            dropped += elements
    assert dropped == sum(weights.values()), "a weight was kept, lost or merged"
    proto.metadata_props.add(key="why.weightless", value="1")


def drop_notes(proto):
    """Where in the Python code a node comes from: more bytes than the graph itself."""
    for node in proto.graph.node:
        del node.metadata_props[:]
        node.ClearField("doc_string")
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del value.metadata_props[:]
    del proto.graph.value_info[:], proto.graph.metadata_props[:], proto.metadata_props[:]


def main():
    torch.set_num_threads(1)
    torch.backends.mha.set_fastpath_enabled(False)  # its fused operator has no ONNX form
    warnings.simplefilter("ignore")
    FOLDER.mkdir(exist_ok=True)
    for name in NAMES:
        model, path = build(name), FOLDER / f"{name}.onnx"
        export(name, model, path)
        proto = onnx.load(path)
        proto.graph.name = name
        error = check(proto, model)
        drop_notes(proto)
        drop_weights(proto, model)
        onnx.save(proto, path)
        parameters = sum(value.numel() for value in model.parameters())
        print(f"{name}: {parameters:,} parameters, {len(proto.graph.node)} nodes, "
              f"{path.stat().st_size:,} bytes, relative error {error:.1e}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
