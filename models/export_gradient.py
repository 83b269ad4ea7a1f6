#!/usr/bin/env python3
"""Writes digits-cnn-gradient.onnx: the network and its input gradient in one graph.

It shows that a gradient graph can come from PyTorch alone, and gives one to compare
with: reverse mode is traced into plain operators, which then become plain ONNX.

    image [1, 1, 48, 48], cotangent [1, 10]  ->  logits [1, 10], gradient [1, 1, 48, 48]

The gradient is that of the sum of cotangent * logits: with a cotangent that is 1 for
one class and 0 elsewhere, it is the gradient of that class's logit. The weights are
those of digits-cnn.onnx; its sizes are fixed, for a batch of one.
"""

import collections
import warnings

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from torch._decomp import core_aten_decompositions
from torch.fx.experimental.proxy_tensor import make_fx

from train_digits import HERE, SIZE, DigitsCnn, load, normalise, render, seed_for

aten = torch.ops.aten


def conv_backward(
    grad, x, weight, bias_sizes, stride, padding, dilation, transposed, output_padding, groups, mask
):
    """With respect to the input only, which a transposed convolution gives."""
    assert not transposed and list(mask) == [True, False, False]
    missing = [
        size - ((g - 1) * s - 2 * p + d * (k - 1) + 1)
        for size, g, s, p, d, k in zip(
            x.shape[2:], grad.shape[2:], stride, padding, dilation, weight.shape[2:]
        )
    ]
    dx = aten.convolution(
        grad, weight, None, stride, padding, dilation, True, missing, groups
    )  # fmt: skip
    return dx, None, None


def max_pool_backward(grad, x, kernel, stride, padding, dilation, ceil_mode, indices):
    """Puts each value where its maximum came from; windows must not overlap."""
    assert list(stride or kernel) == list(kernel), "overlapping windows would have to add up"
    flat = (*x.shape[:2], -1)
    zeros = torch.zeros_like(x).reshape(flat)
    return zeros.scatter(2, indices.reshape(flat), grad.reshape(flat)).reshape(x.shape)


DECOMPOSITIONS = core_aten_decompositions() | {
    aten.convolution_backward.default: conv_backward,
    aten.max_pool2d_with_indices_backward.default: max_pool_backward,
}


def load_network():
    """digits-cnn in PyTorch, with the weights that its ONNX file holds."""
    tensors = {
        t.name: torch.from_numpy(numpy_helper.to_array(t).copy())
        for t in onnx.load(HERE / "digits-cnn.onnx").graph.initializer
    }
    model = DigitsCnn()
    state = model.state_dict()
    model.load_state_dict({key: tensors.get(key, state[key]) for key in state})
    used = {key for key in state if not key.endswith("num_batches_tracked")}
    assert used <= set(tensors), f"not in the file: {used - set(tensors)}"
    return model.eval().requires_grad_(False)


def export(model, path):
    def both(image, cotangent):
        logits, pull_back = torch.func.vjp(model, image)
        return logits, pull_back(cotangent)[0]

    example = torch.zeros(1, 1, SIZE, SIZE), torch.zeros(1, 10)
    traced = make_fx(both, decomposition_table=DECOMPOSITIONS)(*example)
    torch.onnx.export(
        traced, example, str(path), dynamo=True, external_data=False, opset_version=18,
        input_names=["image", "cotangent"], output_names=["logits", "gradient"], verbose=False,
    )  # fmt: skip


def tidy(path):
    """Drops the exporter's notes and insists on nothing but standard operators."""
    proto = onnx.load(path)
    for node in proto.graph.node:
        assert node.domain == "", f"{node.domain}::{node.op_type}"
        del node.metadata_props[:]
        node.ClearField("doc_string")
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del value.metadata_props[:]
    del proto.graph.value_info[:], proto.graph.metadata_props[:], proto.metadata_props[:]
    assert not proto.functions
    proto.graph.name = "digits-cnn-gradient"
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)
    counts = collections.Counter(node.op_type for node in proto.graph.node)
    print(f"{path.stat().st_size:,} bytes, {len(proto.graph.node)} nodes:",
          ", ".join(f"{count} {op}" for op, count in sorted(counts.items())))  # fmt: skip


def verify(model, path, count=50):
    """Against autograd in double precision, with the float32 of PyTorch for scale."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    digits, labels = load("held-out")
    images = normalise(render(digits[:count], seed_for("samples"))[0])

    def reference(network, image, cotangent):
        image = image.clone().requires_grad_(True)
        logits = network(image)
        return logits.detach().numpy(), torch.autograd.grad(logits, image, cotangent)[0].numpy()

    def relative(a, b):
        return float(np.linalg.norm(a - b) / np.linalg.norm(b))

    double = load_network().double()
    errors = collections.defaultdict(list)
    for image, label in zip(images.split(1), labels):
        cotangent = torch.eye(10)[label][None]
        logits, gradient = reference(model, image, cotangent)
        exact = reference(double, image.double(), cotangent.double())[1]
        feed = {"image": image.numpy(), "cotangent": cotangent.numpy()}
        got_logits, got = session.run(["logits", "gradient"], feed)
        errors["logits to torch's float32"].append(relative(got_logits, logits))
        errors["gradient to torch's float32"].append(relative(got, gradient))
        errors["gradient to torch's float64"].append(relative(got, exact))
        errors["torch's float32 gradient to its float64"].append(relative(gradient, exact))
    for what, values in errors.items():
        print(f"{what}: median {np.median(values):.1e}, largest {max(values):.1e}")
    assert np.median(errors["gradient to torch's float32"]) < 1e-5
    return errors


def main():
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    model, path = load_network(), HERE / "digits-cnn-gradient.onnx"
    export(model, path)
    tidy(path)
    verify(model, path)


if __name__ == "__main__":
    main()
