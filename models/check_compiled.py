"""Compiles models with `whyline compile` and runs the gradient graphs in ONNX Runtime.

    python models/check_compiled.py target/release/whyline MODEL.onnx [MODEL.onnx ...] [-- --rule guided ...]

For each model: onnx.checker must accept the file, and ONNX Runtime's logits and gradient on a random input
must agree with what `whyline explain` gives on the compiled file, to 1e-4 of the largest value in the
median over three inputs (a ReLU near zero may flip between two correct engines). Arguments after `--` go
to `whyline compile`.
"""
import pathlib
import statistics
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort


def compare(whyline, model, flags, folder):
    graph = folder / "gradient.onnx"
    subprocess.run([whyline, "compile", model, "-o", graph, "-q", *flags], check=True)
    onnx.checker.check_model(graph, full_check=True)
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    image = next(i for i in session.get_inputs() if i.name != "why.seed")
    seed = next(i for i in session.get_inputs() if i.name == "why.seed")
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(3):
        x = rng.standard_normal(image.shape).astype(np.float32)
        np.save(folder / "x.npy", x)
        target = int(rng.integers(np.prod(seed.shape)))
        cotangent = np.zeros(seed.shape, np.float32)
        cotangent.flat[target] = 1
        theirs = session.run([f"why.grad.{image.name}"], {image.name: x, "why.seed": cotangent})[0]
        method = "guided-backprop" if "guided" in flags else "vanilla"
        command = [whyline, "explain", graph, folder / "x.npy", "-m", method, "--target", str(target)]
        subprocess.run([*command, "--npy", folder / "map.npy", "-q"], check=True)
        ours = np.load(folder / "map.npy")
        errors.append(float(np.abs(ours - theirs).max() / np.abs(theirs).max()))
    return errors


def main():
    arguments, flags = sys.argv[1:], []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, flags = arguments[:at], arguments[at + 1 :]
    whyline, models = arguments[0], arguments[1:]
    failed = False
    for model in models:
        with tempfile.TemporaryDirectory() as folder:
            errors = compare(whyline, model, flags, pathlib.Path(folder))
        bad = statistics.median(errors) > 1e-4
        failed |= bad
        print(f"{'FAIL' if bad else 'ok  '} {' '.join(f'{e:.1e}' for e in errors)}  {model}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
