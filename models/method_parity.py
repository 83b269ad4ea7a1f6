#!/usr/bin/env python3
"""Compares whyline's methods with the programs that people know, on digits-cnn.

    method_parity.py --whyline target/release/whyline [--goldens tests/goldens]

The model is rebuilt in PyTorch from the ONNX file, in float64. Maps of the sample images are compared with Captum's,
with pytorch-grad-cam's (before it stretches a map to 0..1), zennit's, PAIR saliency's and, for IDGI, with its formula. A
method passes where the largest difference, in the median over the images, is at most 1e-3 of the largest magnitude: a
unit or a pool's winner within rounding of a tie may fall to the other side in one image. With --goldens some values of each
reference's map of the median image are written for tests/parity.rs.

    pip install torch onnx captum grad-cam saliency zennit pillow
"""

import argparse
import json
import math
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
    """A network of an ONNX file's nodes, each a module of its own as Captum and zennit want them, with batch
    normalisations folded into the convolutions before them, as LRP's rules want it."""

    def __init__(self, path):
        super().__init__()
        graph = onnx.load(path).graph
        weights = {w.name: torch.from_numpy(numpy_helper.to_array(w).copy()).double() for w in graph.initializer}
        self.input, self.output = graph.input[0].name, graph.output[0].name
        self.layers, self.steps, self.values = nn.ModuleList(), [], {}
        for node in graph.node:
            flags = {f.name: onnx.helper.get_attribute_value(f) for f in node.attribute}
            if node.op_type == "BatchNormalization":
                self.fold([weights[name] for name in node.input[1:]], flags["epsilon"])
                self.steps[-1] = (*self.steps[-1][:2], node.output[0])
                continue
            self.layers.append(self.layer(node, flags, [weights[name] for name in node.input if name in weights]))
            self.steps.append((len(self.layers) - 1, [n for n in node.input if n not in weights], node.output[0]))
        self.double()

    @staticmethod
    def layer(node, flags, weights):
        import zennit.layer

        if node.op_type == "Conv":
            outputs, inputs, *kernel = weights[0].shape
            made = nn.Conv2d(inputs * flags["group"], outputs, kernel, flags["strides"], flags["pads"][:2], groups=flags["group"])
            made.weight.data = weights[0]
            made.bias.data = weights[1] if len(weights) > 1 else torch.zeros(outputs)
            return made
        if node.op_type == "Gemm":
            made = nn.Linear(weights[0].shape[1], weights[0].shape[0])
            made.weight.data, made.bias.data = weights
            return made
        if node.op_type == "AveragePool":
            return nn.AvgPool2d(flags["kernel_shape"], flags["strides"], flags["pads"][:2])
        if node.op_type == "MaxPool":
            return nn.MaxPool2d(flags["kernel_shape"], flags["strides"], flags["pads"][:2])
        others = {"Relu": nn.ReLU, "Add": zennit.layer.Sum, "Flatten": nn.Flatten, "Softplus": nn.Softplus}
        if node.op_type == "GlobalAveragePool":
            return nn.AdaptiveAvgPool2d(1)
        return others[node.op_type]()

    def fold(self, statistics, eps):
        scale, shift, mean, variance = statistics
        conv, slope = self.layers[-1], scale / (variance + eps).sqrt()
        conv.weight.data = conv.weight.data * slope[:, None, None, None]
        conv.bias.data = (conv.bias.data - mean) * slope + shift

    def forward(self, x):
        values = {self.input: x}
        for layer, inputs, output in self.steps:
            a = [values[name] for name in inputs]
            values[output] = self.layers[layer](torch.stack(a, -1) if len(a) > 1 else a[0])
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
        given = {"x_baseline": BASELINE.transpose(1, 2, 0)} if name != "BlurIG" else {}
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


def guided_grad_cam(model, x, target):
    import captum.attr

    found = captum.attr.GuidedGradCam(model, layer_of(model, CAM_LAYER))
    return found.attribute(x.clone().requires_grad_(), target=target).detach()


def layer_of(model, name):
    return next(model.layers[layer] for layer, _, output in model.steps if output == name)


def score_cam(model, x, target):
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model(x)
    activations = model.values[CAM_LAYER].detach().numpy()
    cam = pytorch_grad_cam.ScoreCAM.__new__(pytorch_grad_cam.ScoreCAM)
    cam.model, cam.batch_size, cam.device = model, 16, torch.device("cpu")
    cam.activations_and_grads = types.SimpleNamespace(release=lambda: None)
    with torch.no_grad():
        weights = cam.get_cam_weights(x, None, [ClassifierOutputTarget(target)], activations, None)
    weights = torch.as_tensor(weights)[0, :, None, None]
    # Channels that are the same everywhere have a share of the weights here; ours leaves them out, as the authors do.
    weights = weights / weights[torch.from_numpy(activations[0]).flatten(1).std(1) > 0].sum()
    map = torch.relu((weights * torch.from_numpy(activations)[0]).sum(0))[None, None]
    return F.interpolate(map, x.shape[2:], mode="bilinear", align_corners=True)[0]


def biased(model):
    """Every value that a bias is added to, with that bias, as it stands in the file: convolutions have none of their own."""
    for layer, _, output in model.steps:
        if isinstance(model.layers[layer], nn.Conv2d):
            yield output, model.layers[layer].bias.detach()


def bias_gradients(model, x, target):
    x = x.clone().requires_grad_()
    score = model(x)[0, target]
    values = list(biased(model))
    gradients = torch.autograd.grad(score, [x, *(model.values[name] for name, _ in values)])
    return gradients[0].detach(), [(g, bias) for g, (_, bias) in zip(gradients[1:], values)]


def fullgrad(model, x, target):
    def stretched(v):
        v = v.abs() - v.abs().min()
        return v / (v.max() + 1e-6)

    gradient, biases = bias_gradients(model, x, target)
    map = stretched(gradient * x).sum(1, keepdim=True)
    for g, bias in biases:
        part = stretched(g * bias[None, :, None, None])
        map = map + F.interpolate(part, x.shape[2:], mode="bilinear", align_corners=True).sum(1, keepdim=True)
    return map[0]


def fullgrad_of_channels(model, x, target):
    from pytorch_grad_cam.utils.image import scale_accross_batch_and_channels

    gradient, biases = bias_gradients(model, x, target)
    size = (x.shape[3], x.shape[2])
    map = scale_accross_batch_and_channels((gradient * x).abs().numpy(), size).sum(1)
    for g, bias in biases:
        map = map + scale_accross_batch_and_channels((g * bias[None, :, None, None]).abs().numpy(), size).sum(1)
    return torch.from_numpy(map)


def rectgrad(model, x, target, percentile=98):
    class Rectified(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z):
            ctx.save_for_backward(z.relu())
            return z.relu()

        @staticmethod
        def backward(ctx, g):
            product = ctx.saved_tensors[0] * g
            threshold = product.flatten().sort()[0][round((product.numel() - 1) * percentile / 100)]
            return g * (product > threshold)

    before = list(model.layers)
    for i, layer in enumerate(before):
        if isinstance(layer, nn.ReLU):
            model.layers[i] = Applied(Rectified)
    _, gradient = model.value_and_gradient(x, target)
    model.layers = nn.ModuleList(before)
    return gradient * x


class Rescale(torch.autograd.Function):
    """DeepLIFT's Rescale rule for a Relu, on a batch of an input and its baseline."""

    @staticmethod
    def forward(ctx, z):
        ctx.save_for_backward(z)
        return z.relu()

    @staticmethod
    def backward(ctx, g):
        (z,) = ctx.saved_tensors
        dz, dy = z[0] - z[1], z[0].relu() - z[1].relu()
        return g * torch.where(dz.abs() < 1e-10, (z[1] > 0).double(), dy / dz)


class RescalePool(torch.autograd.Function):
    """The same for 2 by 2 max pooling."""

    @staticmethod
    def forward(ctx, z):
        y, places = F.max_pool2d(z, 2, 2, return_indices=True)
        ctx.save_for_backward(z, y, places)
        return y

    @staticmethod
    def backward(ctx, g):
        z, y, places = ctx.saved_tensors
        most = y.max(0, keepdim=True)[0]
        change = F.max_unpool2d(g * torch.cat([most - y[1:], y[:1] - most]), places, 2, 2, output_size=z.shape).sum(0)
        dz = z[0] - z[1]
        multiplier = torch.where(dz.abs() < 1e-10, torch.zeros_like(dz), change / dz)
        return torch.stack([multiplier, multiplier])


class Applied(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function.apply(x)


def rescale(model, x, target, baseline=NOISE):
    rules = {nn.ReLU: Rescale, nn.MaxPool2d: RescalePool}
    before = list(model.layers)
    for i, layer in enumerate(before):
        if type(layer) in rules:
            model.layers[i] = Applied(rules[type(layer)])
    both = torch.cat([x, baseline]).requires_grad_()
    multipliers = torch.autograd.grad(model(both)[:, target].sum(), both)[0][:1]
    model.layers = nn.ModuleList(before)
    return multipliers * (x - baseline)


def rescale_from_zero(model, x, target):
    """Of a baseline that is the same everywhere: its windows' maxima are their first places, if all are added up alike."""
    return rescale(model, x, target, torch.zeros_like(x))


def adjoint(function, like, cotangent):
    """Of a linear function."""
    like = torch.zeros_like(like).requires_grad_()
    return torch.autograd.grad(function(like), like, cotangent)[0]


def reveal_cancel(layers):
    """Both parts of every difference forwards, a multiplier for each of them backwards."""

    def by_sign(d):
        return d.clamp(min=0), d.clamp(max=0)

    def weighed(layer, keep):
        """The layer with those of its weights alone that have a sign, and no bias."""
        weight = layer.weight * keep(layer.weight)
        if isinstance(layer, nn.Linear):
            return lambda x: nn.functional.linear(x, weight)
        return lambda x: nn.functional.conv2d(x, weight, None, layer.stride, layer.padding, groups=layer.groups)

    def signs(layer):
        return weighed(layer, lambda w: w > 0), weighed(layer, lambda w: w < 0)

    def run(model, x, target):
        model(torch.cat([x, NOISE]))
        at, before = ({name: v[i : i + 1] for name, v in model.values.items()} for i in range(2))
        parts = {name: by_sign(at[name] - before[name]) for name in at}
        told = set()
        for i, inputs, output in model.steps:
            layer, first = model.layers[i], inputs[0]
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                if layers == "dense" and isinstance(layer, nn.Conv2d):
                    continue
                (up, down), (positive, negative) = signs(layer), by_sign(at[first] - before[first])
                parts[output] = up(positive) + down(negative), down(positive) + up(negative)
            elif isinstance(layer, nn.ReLU) and first in told:
                (plus, minus), start = parts[first], before[first]
                f = torch.relu
                mean = lambda a, b: (f(start + a) - f(start) + f(start + a + b) - f(start + b)) / 2
                parts[output] = mean(plus, minus), mean(minus, plus)
            elif told.intersection(inputs) and not isinstance(layer, (nn.MaxPool2d, nn.ReLU)):
                both = [torch.stack([parts[name][i] for name in inputs], -1) for i in range(2)]
                parts[output] = tuple(layer(p if len(inputs) > 1 else p[..., 0]) for p in both)
            else:
                continue
            told.add(output)
        start = torch.zeros_like(at[model.output])
        start[0, target] = 1
        multipliers = {model.output: (start, start)}
        for i, inputs, output in reversed(model.steps):
            layer, first = model.layers[i], inputs[0]
            plus, minus = multipliers[output]
            moved = at[first] - before[first]
            if output not in told:
                d = at[output] - before[output]
                plus = minus = torch.where(d > 0, plus, torch.where(d < 0, minus, (plus + minus) / 2))
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                up, down = signs(layer)
                of_gain = adjoint(up, moved, plus) + adjoint(down, moved, minus)
                of_loss = adjoint(down, moved, plus) + adjoint(up, moved, minus)
                one = torch.where(moved > 0, of_gain, torch.where(moved < 0, of_loss, (of_gain + of_loss) / 2))
                given = [(one, one)]
            elif isinstance(layer, nn.ReLU) and output in told:
                slope = (before[first] > 0).double()
                ratio = lambda a, b: torch.where(b.abs() > 1e-12, a / b, slope)
                given = [tuple(m * ratio(a, b) for m, a, b in zip((plus, minus), parts[output], parts[first]))]
            elif isinstance(layer, (nn.ReLU, nn.MaxPool2d)):
                rule = {nn.ReLU: Rescale, nn.MaxPool2d: RescalePool}[type(layer)]
                both = torch.cat([at[first], before[first]]).requires_grad_()
                one = torch.autograd.grad(Applied(rule)(both), both, torch.cat([plus, plus]))[0][:1]
                given = [(one, one)]
            elif len(inputs) > 1:
                given = [(plus, minus)] * len(inputs)
            else:
                given = [tuple(adjoint(layer, moved, m) for m in (plus, minus))]
            for name, more in zip(inputs, given):
                earlier = multipliers.get(name, (0, 0))
                multipliers[name] = tuple(a + b for a, b in zip(earlier, more))
        moved = x - NOISE
        plus, minus = multipliers[model.input]
        return torch.where(moved > 0, plus, minus) * moved

    run.__name__ = "reveal_cancel"
    return run


def zennit_of(name, epsilon=1e-6):
    def run(model, x, target):
        import zennit.composites as known
        import zennit.rules as rules
        from zennit.types import Activation, AvgPool, Convolution, Linear

        def everywhere(rule):
            rest = [(Activation, rules.Pass()), (zennit_sum(), rules.Norm()), (AvgPool, rules.Norm())]
            return known.LayerMapComposite([*rest, (Convolution, rule), (Linear, rule)])

        composite = {
            "epsilon": lambda: everywhere(rules.Epsilon(epsilon)),
            "gamma": lambda: everywhere(rules.Gamma(0.25)),
            "z-plus": lambda: everywhere(rules.ZPlus()),
            "alpha-beta": lambda: everywhere(rules.AlphaBeta(2, 1)),
            "flat": lambda: everywhere(rules.Flat()),
            "w-squared": lambda: everywhere(rules.WSquare()),
            "epsilon-plus": lambda: known.EpsilonPlus(epsilon=epsilon),
            "epsilon-plus-flat": known.EpsilonPlusFlat,
            "epsilon-alpha2-beta1": known.EpsilonAlpha2Beta1,
            "epsilon-alpha2-beta1-flat": known.EpsilonAlpha2Beta1Flat,
            "epsilon-gamma-box": lambda: known.EpsilonGammaBox(low=(0 - MEAN) / STD, high=(1 - MEAN) / STD),
        }[name]()
        x = x.clone().requires_grad_()
        with composite.context(model) as hooked:
            logits = hooked(x)
            start = torch.zeros_like(logits)
            start[0, target] = logits[0, target].detach()
            return torch.autograd.grad(logits, x, start)[0]

    return run


def zennit_sum():
    import zennit.layer

    return zennit.layer.Sum


def captum_lrp(model, x, target):
    from captum.attr import LRP
    from captum.attr._utils.lrp_rules import EpsilonRule

    for layer in model.layers:
        # Captum knows neither; in its own program they would have this rule, too.
        if isinstance(layer, (nn.Flatten, zennit_sum())):
            layer.rule = EpsilonRule(1e-9)
    return LRP(model).attribute(x.clone().requires_grad_(), target=target).detach()


def bits(draw, element=0, seed=0):
    """The random bits of an element of a draw, as whyline has them."""
    keep, golden = (1 << 64) - 1, 0x9E3779B97F4A7C15

    def mix(z):
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & keep
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & keep
        return z ^ (z >> 31)

    key = mix((mix((seed + golden) & keep) + draw * golden) & keep)
    return mix((key + (element + 1) * golden) & keep)


def uniform(draw):
    """The first uniform number of a draw."""
    return (bits(draw) >> 40) / (1 << 24)


def turns(count, draws):
    """Which baseline each draw takes: all in a random order, round after round."""
    taken = []
    for number in range(-(-draws // count)):
        order = list(range(count))
        for i in reversed(range(1, count)):
            other = (bits(number, i, 0xBB67AE8584CAA73B) * (i + 1)) >> 64
            order[i], order[other] = order[other], order[i]
        taken += order
    return np.array(taken[:draws])


def gradient_shap(model, x, target, samples=30):
    import captum.attr

    baselines = torch.stack([tensor_of(path)[0] for path in BASELINES])
    choice, drawn = np.random.choice, np.random.uniform
    # The same draws, by the counter-based generator.
    np.random.choice = turns
    np.random.uniform = lambda low, high, count: np.array([uniform(draw) for draw in range(count)])
    map = captum.attr.GradientShap(model).attribute(x, baselines, n_samples=samples, stdevs=0.0, target=target)
    np.random.choice, np.random.uniform = choice, drawn
    return map.detach()


REFERENCES = {
    **dict.fromkeys(["captum_lrp", "gradient_shap"], "captum"),
    "guided_grad_cam": "captum",
    "score_cam": "pytorch-grad-cam",
    "fullgrad_of_channels": "pytorch-grad-cam",
    **dict.fromkeys(["idgi", "fullgrad", "rectgrad", "rescale", "rescale_from_zero", "reveal_cancel"], "its formula"),
}
PLAIN, AVERAGED, CHAIN = "", "(average pools)", "(without shortcuts)"
LRP = ["epsilon", "gamma", "z-plus", "alpha-beta", "flat", "w-squared", "epsilon-plus", "epsilon-plus-flat",
       "epsilon-alpha2-beta1", "epsilon-alpha2-beta1-flat", "epsilon-gamma-box"]  # fmt: skip

BASELINES = sorted((HERE / "samples").glob("digit-[012].png"))

CASES = [
    ("vanilla", [], captum_of("Saliency", abs=False)),
    ("saliency", [], captum_of("Saliency")),
    ("gradient-x-input", [], captum_of("InputXGradient")),
    ("integrated-gradients", [], captum_of("IntegratedGradients", n_steps=50)),
    ("integrated-gradients", ["rule=trapezoid", "compat=captum", "steps=20", "baseline=noise"],
     captum_of("IntegratedGradients", n_steps=20, method="riemann_trapezoid", baselines=NOISE)),
    ("integrated-gradients", ["compat=pair", "steps=25", "baseline=noise"], pair_of("IntegratedGradients", x_steps=25)),
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
    ("blur-ig", ["steps=30", "max-sigma=8", "schedule=variance", "compat=pair"],
     pair_of("BlurIG", max_sigma=8, steps=30, sqrt=True)),
    ("idgi", ["baseline=noise"], idgi),
    ("rectgrad", [], rectgrad),
    ("guided-grad-cam", ["upsampling=nearest"], guided_grad_cam),
    ("score-cam", ["upsampling=corners"], score_cam),
    ("fullgrad", [], fullgrad),
    ("fullgrad", ["scale=channel"], fullgrad_of_channels),
    ("deeplift-rescale", ["baseline=noise"], rescale),
    ("deeplift-rescale", ["baseline=zero"], rescale_from_zero),
    ("deeplift-revealcancel", ["baseline=noise"], reveal_cancel("all")),
    ("deeplift-revealcancel", ["baseline=noise", "layers=dense"], reveal_cancel("dense")),
    # Captum's maps do not add up where max pools are (-0.68 of 4.85 are missing for digit 3), so there is a model without.
    ("deeplift-rescale", ["baseline=noise", AVERAGED], captum_of("DeepLift", baselines=NOISE)),
    ("gradient-shap", ["samples=30", "baseline=samples"], gradient_shap),
    ("expected-gradients", ["samples=30", "baseline=samples"], gradient_shap),
    # Captum's hooks count a value twice that two layers read, so there is a model where none does.
    ("lrp", ["rules=epsilon", "epsilon=1e-9", CHAIN], captum_lrp),
    *(("lrp", [f"rules={name}"], zennit_of(name)) for name in LRP),
    *(("lrp", [f"rules={name}", "epsilon=0.25"], zennit_of(name, 0.25)) for name in ("epsilon", "epsilon-plus")),
]

# ---------------------------------------------------------------- comparison


def averaged(graph):
    """Average pools in place of max pools."""
    for node in graph.node:
        if node.op_type == "MaxPool":
            node.op_type = "AveragePool"
            kept = [a for a in node.attribute if a.name in ("kernel_shape", "strides", "pads")]
            del node.attribute[:]
            node.attribute.extend(kept)


def chained(graph):
    """Nothing added up: what a shortcut skips goes on alone."""
    instead = {node.output[0]: node.input[1] for node in graph.node if node.op_type == "Add"}
    kept = [node for node in graph.node if node.op_type != "Add"]
    del graph.node[:]
    graph.node.extend(kept)
    for node in graph.node:
        node.input[:] = [instead.get(name, name) for name in node.input]


def variants(folder):
    """The model and two others made of it, by what their cases are marked with."""
    paths = {PLAIN: HERE / "digits-cnn.onnx"}
    for mark, change in [(AVERAGED, averaged), (CHAIN, chained)]:
        model = onnx.load(HERE / "digits-cnn.onnx")
        change(model.graph)
        paths[mark] = Path(folder) / f"{change.__name__}.onnx"
        onnx.save(model, paths[mark])
        paths[mark].with_suffix(".toml").write_text((HERE / "digits-cnn.toml").read_text())
    return paths


def whyline_map(binary, path, image, method, params, target):
    with tempfile.TemporaryDirectory() as folder:
        map = Path(folder) / "map.npy"
        np.save(Path(folder) / "noise.npy", BASELINE[None])
        given = [word for p in params if p not in ("baseline=noise", "baseline=samples", AVERAGED, CHAIN) for word in ("-p", p)]
        given += ["--baseline", Path(folder) / "noise.npy"] if "baseline=noise" in params else []
        if "baseline=samples" in params:
            (Path(folder) / "set").mkdir()
            for file in BASELINES:
                (Path(folder) / "set" / file.name).write_bytes(file.read_bytes())
            given += ["--baseline", Path(folder) / "set"]
        command = [binary, "explain", path, image, "-m", method, "--target", str(target), *given]
        subprocess.run([*map_str(command), "--npy", str(map), "--quiet"], check=True)
        return torch.from_numpy(np.load(map)).double()


def tensor_of(image):
    pixels = np.asarray(Image.open(image).convert("L"), dtype=np.float32) / 255
    return torch.from_numpy((pixels - MEAN) / STD)[None, None].double()


# Of a map, every so many-th value is kept.
STRIDE = 37


def golden(method, params, name, image, target, map):
    map = map.flatten()
    return {
        "method": method,
        "params": params,
        "reference": name,
        "image": image.name,
        "target": target,
        "largest": map.abs().max().item(),
        "sum": map.sum().item(),
        "values": [float(f"{v:.6g}") for v in map[::STRIDE].tolist()],
    }


def map_str(words):
    return [str(word) for word in words]


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--whyline", required=True)
    args.add_argument("--only", nargs="*", help="methods")
    args.add_argument("--goldens", type=Path, help="folder to write values of the references to")
    args = args.parse_args()
    folder = tempfile.TemporaryDirectory()
    paths = variants(folder.name)
    models = {mark: Rebuilt(path).eval() for mark, path in paths.items()}
    images = sorted(p for p in (HERE / "samples").glob("digit-*.png") if "mask" not in p.name)
    failed, goldens = False, []
    print("| method | parameters | reference | median, largest difference / largest magnitude | |\n|---|---|---|---|---|")
    for method, params, reference in CASES:
        if args.only and method not in args.only:
            continue
        mark = params[-1] if params and params[-1] in paths else PLAIN
        found, model = [], models[mark]
        name = REFERENCES.get(reference.__name__, reference.__qualname__.split("_")[0].split(".")[0])
        for image in images:
            x = tensor_of(image)
            target = model(x).argmax().item()
            expected = reference(model, x, target)
            got = whyline_map(args.whyline, paths[mark], image, method, params, target).reshape(expected.shape)
            difference = ((got - expected).abs().max() / expected.abs().max()).item()
            found.append((difference, golden(method, params, name, image, target, expected)))
        found.sort(key=lambda f: math.inf if math.isnan(f[0]) else f[0])
        differences = [difference for difference, _ in found]
        median = float(np.median(differences))
        failed |= not median <= BOUND
        verdict = "pass" if median <= BOUND else "FAIL"
        print(f"| {method} | {' '.join(params)} | {name} | {median:.1e}, {max(differences):.1e} | {verdict} |", flush=True)
        if mark == PLAIN:
            goldens.append(found[(len(found) - 1) // 2][1])
    if args.goldens:
        args.goldens.mkdir(exist_ok=True)
        np.save(args.goldens / "noise.npy", BASELINE[None])
        lines = ",\n".join(json.dumps(g) for g in goldens)
        (args.goldens / "methods.json").write_text(f"[\n{lines}\n]\n")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
