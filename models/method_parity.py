#!/usr/bin/env python3
"""Compares whyline's methods with the programs that people know, on digits-cnn.

    method_parity.py --whyline target/release/whyline

The model is rebuilt in PyTorch from the ONNX file, in float64. Maps of the sample images are compared with Captum's,
with pytorch-grad-cam's (before it stretches a map to 0..1), with PAIR saliency's and, for IDGI, with its formula. A
method passes where the largest difference, in the median over the images, is at most 1e-3 of the largest magnitude: a
unit or a pool's winner within rounding of a tie may fall to the other side in one image.

    pip install torch onnx captum grad-cam saliency pillow
"""

import argparse
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from PIL import Image
from torch import nn

HERE = Path(__file__).resolve().parent
MEAN, STD = 0.5, 0.25
BOUND = 1e-3
# Of a constant image all windows are ties, so paths start at noise.
BASELINE = np.random.default_rng(0).normal(0, 0.5, (1, 48, 48)).astype(np.float32)
CAM_LAYER = "/blocks/blocks.8/Relu_1_output_0"


class Rebuilt(nn.Module):
    """A network of an ONNX file's nodes, each Relu a module of its own as Captum wants them."""

    def __init__(self, path):
        super().__init__()
        graph = onnx.load(path).graph
        self.weights = {w.name: torch.from_numpy(numpy_helper.to_array(w).copy()).double() for w in graph.initializer}
        self.nodes = list(graph.node)
        self.input, self.output = graph.input[0].name, graph.output[0].name
        self.relus = nn.ModuleDict({str(i): nn.ReLU() for i, n in enumerate(self.nodes) if n.op_type == "Relu"})
        self.values = {}

    def forward(self, x):
        values = {self.input: x, **self.weights}
        for i, node in enumerate(self.nodes):
            a = [values[name] for name in node.input]
            flags = {f.name: onnx.helper.get_attribute_value(f) for f in node.attribute}
            if node.op_type == "Conv":
                y = F.conv2d(a[0], *a[1:], stride=flags["strides"], padding=flags["pads"][:2], groups=flags["group"])
            elif node.op_type == "BatchNormalization":
                y = F.batch_norm(a[0], a[3], a[4], a[1], a[2], eps=flags["epsilon"])
            elif node.op_type == "Relu":
                y = self.relus[str(i)](a[0])
            elif node.op_type == "MaxPool":
                y = F.max_pool2d(a[0], flags["kernel_shape"], flags["strides"], flags["pads"][:2])
            elif node.op_type == "Add":
                y = a[0] + a[1]
            elif node.op_type == "GlobalAveragePool":
                y = a[0].mean((2, 3), keepdim=True)
            elif node.op_type == "Flatten":
                y = a[0].flatten(1)
            elif node.op_type == "Gemm":
                y = F.linear(a[0], a[1], a[2])
            else:
                sys.exit(f"{node.op_type} is not rebuilt")
            values[node.output[0]] = y
        self.values = values
        return values[self.output]

    def value_and_gradient(self, x, target):
        x = torch.as_tensor(x, dtype=torch.float64).detach().requires_grad_()
        value = self(x)[:, target].sum()
        return value.item(), torch.autograd.grad(value, x)[0]


# ---------------------------------------------------------------- references

NOISE = torch.from_numpy(BASELINE)[None].double()


def captum_of(name, **options):
    def run(model, x, target):
        import captum.attr

        found = getattr(captum.attr, name)(model)
        return found.attribute(x.clone().requires_grad_(), target=target, **options).detach()

    return run


def cam_of(name):
    def run(model, x, target):
        import pytorch_grad_cam

        x = x.clone().requires_grad_()
        logits = model(x)
        layer = model.values[CAM_LAYER]
        gradient = torch.autograd.grad(logits[0, target], layer)[0].numpy()
        cam = getattr(pytorch_grad_cam, name).__new__(getattr(pytorch_grad_cam, name))
        cam.uses_gradients, cam.activations_and_grads = True, types.SimpleNamespace(release=lambda: None)
        map = cam.get_cam_image(x, None, [target], layer.detach().numpy(), gradient, False)
        if name == "EigenCAM" and -map.min() > map.max():
            map = -map  # the sign is anybody's; ours makes the larger extreme positive
        map = torch.from_numpy(np.maximum(map, 0))[None]
        return F.interpolate(map, x.shape[2:], mode="bilinear", align_corners=False)[0]

    return run


def pair_of(name, **options):
    def run(model, x, target):
        import saliency.core as saliency

        quantile = np.quantile
        # The package still passes an argument by its old name.
        np.quantile = lambda *a, interpolation=None, **k: quantile(*a, **k, **({"method": interpolation} if interpolation else {}))

        def call(images, call_model_args=None, expected_keys=None):
            pairs = [model.value_and_gradient(i.transpose(2, 0, 1)[None], target)[1][0].numpy() for i in np.asarray(images)]
            return {saliency.INPUT_OUTPUT_GRADIENTS: np.stack([g.transpose(1, 2, 0) for g in pairs])}

        image = x[0].numpy().transpose(1, 2, 0)
        given = {"x_baseline": BASELINE.transpose(1, 2, 0)} if name == "GuidedIG" else {}
        map = getattr(saliency, name)().GetMask(image, call, None, **given, **options)
        np.quantile = quantile
        return torch.from_numpy(map.transpose(2, 0, 1))[None]

    return run


def idgi(model, x, target, steps=50):
    total, start = torch.zeros_like(x), NOISE
    for j in range(steps):
        value, gradient = model.value_and_gradient(start + (x - start) * j / steps, target)
        after, _ = model.value_and_gradient(start + (x - start) * (j + 1) / steps, target)
        total += (after - value) * gradient.square() / gradient.square().sum()
    return total


CASES = [
    ("vanilla", [], captum_of("Saliency", abs=False)),
    ("saliency", [], captum_of("Saliency")),
    ("gradient-x-input", [], captum_of("InputXGradient")),
    ("integrated-gradients", [], captum_of("IntegratedGradients", n_steps=50)),
    ("integrated-gradients", ["baseline=noise"], captum_of("IntegratedGradients", n_steps=50, baselines=NOISE)),
    ("guided-backprop", [], captum_of("GuidedBackprop")),
    ("deconvnet", [], captum_of("Deconvolution")),
    ("grad-cam", [], cam_of("GradCAM")),
    ("grad-cam++", [], cam_of("GradCAMPlusPlus")),
    ("xgrad-cam", [], cam_of("XGradCAM")),
    ("hires-cam", [], cam_of("HiResCAM")),
    ("layer-cam", [], cam_of("LayerCAM")),
    ("eigen-cam", [], cam_of("EigenCAM")),
    # Where the distance is a whole number of steps, rounding decides who has arrived: in PAIR's program too, float32
    # and float64 then differ by 5e-2.
    ("guided-ig", ["steps=40", "baseline=noise"], pair_of("GuidedIG", x_steps=40, fraction=0.25, max_dist=0.02)),
    ("blur-ig", ["steps=30", "max-sigma=8", "compat=pair"], pair_of("BlurIG", max_sigma=8, steps=30)),
    ("idgi", ["baseline=noise"], idgi),
]

# ---------------------------------------------------------------- comparison


def whyline_map(binary, image, method, params, target):
    with tempfile.TemporaryDirectory() as folder:
        map = Path(folder) / "map.npy"
        np.save(Path(folder) / "noise.npy", BASELINE[None])
        given = [word for p in params if p != "baseline=noise" for word in ("-p", p)]
        given += ["--baseline", Path(folder) / "noise.npy"] if "baseline=noise" in params else []
        command = [binary, "explain", HERE / "digits-cnn.onnx", image, "-m", method, "--target", str(target), *given]
        subprocess.run([*map_str(command), "--npy", str(map), "--quiet"], check=True)
        return torch.from_numpy(np.load(map)).double()


def map_str(words):
    return [str(word) for word in words]


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--whyline", required=True)
    args.add_argument("--only", nargs="*", help="methods")
    args = args.parse_args()
    model = Rebuilt(HERE / "digits-cnn.onnx").eval()
    images = sorted(p for p in (HERE / "samples").glob("digit-*.png") if "mask" not in p.name)
    failed = False
    print("| method | parameters | reference | median, largest difference / largest magnitude | |\n|---|---|---|---|---|")
    for method, params, reference in CASES:
        if args.only and method not in args.only:
            continue
        differences = []
        for image in images:
            pixels = np.asarray(Image.open(image).convert("L"), dtype=np.float32) / 255
            x = torch.from_numpy((pixels - MEAN) / STD)[None, None].double()
            target = model(x).argmax().item()
            expected = reference(model, x, target)
            got = whyline_map(args.whyline, image, method, params, target).reshape(expected.shape)
            differences.append(((got - expected).abs().max() / expected.abs().max()).item())
        median = float(np.median(differences))
        failed |= not median <= BOUND
        name = reference.__qualname__.split("_")[0].split(".")[0]
        verdict = "pass" if median <= BOUND else "FAIL"
        print(f"| {method} | {' '.join(params)} | {name} | {median:.1e}, {max(differences):.1e} | {verdict} |", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
